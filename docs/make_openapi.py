"""Write down what the HTTP API of predict.py --serve takes and answers.

Writes  docs/openapi.json

    python -m docs.make_openapi
"""

from dataclasses import dataclass
from pathlib import Path

from boneage import cli
from boneage.io.files import write_json
from boneage.layout import REPOSITORY
from boneage.serving import rest_api


@dataclass(frozen=True)
class Options:
    """Where the description goes."""

    out: Path = REPOSITORY / "docs" / "openapi.json"
    """File to write."""


def main(options: Options) -> None:
    """Write the API's own description."""
    write_json(options.out, rest_api.description())
    cli.summary(wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
