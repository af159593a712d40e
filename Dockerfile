# The page and the HTTP API, or the DICOM node, with the pretrained models.
# How to build and run it: docs/guide/http_api.md#in-a-container
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
# constraints.txt: the versions that the results were made with, for Python 3.11
RUN python -m venv /opt/boneage \
    && /opt/boneage/bin/pip install --no-cache-dir ".[annotate,dicom]" -c constraints.txt

FROM python:3.11-slim
# no rights, no shell, and no home but the folder for its data
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin boneage \
    && mkdir /data \
    && chown boneage /data
COPY --from=build /opt/boneage /opt/boneage
ENV PATH=/opt/boneage/bin:$PATH HOME=/data MPLCONFIGDIR=/tmp PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001
EXPOSE 7860 11112
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener as b; b(ProxyHandler({})).open('http://127.0.0.1:7860/api/health', timeout=8)"]
ENTRYPOINT ["boneage-predict"]
CMD ["--help"]
