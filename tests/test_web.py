"""The served pages: who may see them, and what a proxy in the environment changes."""

import base64
import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from boneage import web
from boneage.errors import InputError
from boneage.web import WebSettings
from tests.conftest import REPOSITORY

QUIET = WebSettings(open_page=False)


async def hello(scope, receive, send):
    """An application that says hello to every request."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def fetch(address: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and content of an answer; with `data`, of a POST."""
    # as a browser: nothing in the environment stands between it and this machine
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(address, data, headers)
        with direct.open(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"host": "0.0.0.0"}, r"--host 0\.0\.0\.0 would .*--auth NAME:PASSWORD"),
        ({"host": ""}, "--host"),
        ({"auth": ("ann",)}, "--auth must be NAME:PASSWORD"),
        ({"auth": (":secret",)}, "--auth must be NAME:PASSWORD"),
        ({"auth": ("ann:a", "")}, "--auth must be NAME:PASSWORD"),
        ({"auth": ("../a:b",)}, r"--auth must have names of letters.*got \.\./a"),
        ({"auth": ("ann:a", "ann:b")}, "--auth must have another name"),
        ({"port": 0}, r"--port must be from 1 to 65535 \(got 0\)"),
    ],
)
def test_unsafe_settings_are_refused(wrong, why):
    with pytest.raises(InputError, match=why):
        WebSettings(**wrong).check_page()


def test_other_hosts_are_served_with_a_password():
    WebSettings(host="0.0.0.0", auth=("ann:secret",)).check_page()


def test_password_is_needed_for_every_request():
    settings = WebSettings(auth=("ann:pa:ss",), open_page=False)
    with web.serve(hello, settings, "{address}") as address:
        assert fetch(address)[0] == 401
        for wrong in ("ann:pa", "pa:ss", ""):
            assert fetch(address, Authorization=basic(wrong))[0] == 401
        for broken in ("Basic %%%", "Bearer x", "Basic"):
            assert fetch(address, Authorization=broken)[0] == 401
        assert fetch(address, Authorization=basic("ann:pa:ss")) == (200, b"hello")


def test_other_websites_reach_nothing():
    with web.serve(hello, QUIET, "{address}") as address:
        assert fetch(address) == (200, b"hello")
        assert fetch(address, Host="localhost:80")[0] == 200
        for host in ("example.org", "127.0.0.1.example.org", "[::1", ""):
            assert fetch(address, Host=host)[0] in (400, 403)
        assert fetch(address, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        assert fetch(address, **{"Sec-Fetch-Site": "same-origin"})[0] == 200
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert fetch(address, **link)[0] == 200
        # a form of another site would look like a link, but it sends something
        assert fetch(address, b"x=1", **link)[0] == 403


def test_taken_port_and_foreign_address_are_named():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        settings = WebSettings(port=port, open_page=False)
        with (
            pytest.raises(InputError, match=rf"--port cannot be opened .*got {port}: "),
            web.serve(hello, settings, "{address}"),
        ):
            pass
    settings = WebSettings(host="no.such.host.invalid", auth=("a:b",), open_page=False)
    with (
        pytest.raises(InputError, match="--host must be an address of this machine"),
        web.serve(hello, settings, "{address}"),
    ):
        pass


def test_two_pages_take_two_ports():
    with (
        web.serve(hello, QUIET, "{address}") as first,
        web.serve(hello, QUIET, "{address}") as second,
    ):
        assert first != second
        assert fetch(first) == fetch(second) == (200, b"hello")
    # another program may have taken the port since
    with contextlib.suppress(urllib.error.URLError):
        assert fetch(first) != (200, b"hello")


GRADIO_PAGE = """
import sys, urllib.request
from boneage import web
with web.own_files("proxy-test"):
    import fastapi, gradio
    with gradio.Blocks() as page:
        gradio.Markdown("hello")
    settings = web.WebSettings(open_page=False)
    app = fastapi.FastAPI()
    web.mount_page(app, page)
    with web.serve(app, settings, "{address}", (), True) as address:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        sys.exit(direct.open(address).status != 200)
"""
OWN_PAGE = """
import sys, urllib.request
from boneage import web
from tests.test_web import QUIET, fetch, hello
with web.serve(hello, QUIET, "{address}") as address:
    sys.exit(fetch(address) != (200, b"hello"))
"""


class _Denying(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(403)

    do_HEAD = do_POST = do_CONNECT = do_GET

    def log_message(self, *_):
        self.server.asked.append(self.path)


@pytest.fixture
def denying_proxy():
    """A proxy that answers 403 to everything, and keeps what it was asked."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Denying) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", [GRADIO_PAGE, OWN_PAGE], ids=["gradio", "own"])
def test_proxy_in_the_environment_does_not_stop_a_page(page, denying_proxy, tmp_path):
    denying = f"http://127.0.0.1:{denying_proxy.server_port}"
    for proxies in (
        {name: denying for name in ("http_proxy", "https_proxy", "all_proxy")},
        {"HTTP_PROXY": denying, "HTTPS_PROXY": denying, "ALL_PROXY": denying},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", page],
            cwd=REPOSITORY,
            env=environment(tmp_path) | proxies,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
    assert denying_proxy.asked == []


def environment(home) -> dict[str, str]:
    """This environment without any proxy, and without exceptions from one."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return kept | {"HOME": str(home)}


def test_environment_is_as_before_once_the_page_is_closed(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    before = dict(os.environ)
    with web.own_files("test"):
        assert "ALL_PROXY" not in os.environ
    assert dict(os.environ) == before
