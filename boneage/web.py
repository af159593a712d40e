"""Serve a Gradio application: addresses, password, own files."""

import contextlib
import os
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from boneage.errors import InputError
from boneage.io.files import temporary_folder

OWN_ADDRESSES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class WebSettings:
    """Where the page for annotating in the browser is served, and to whom."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own demands --auth."""
    port: int | None = None
    """Port of the page; by default the first free one from 7860 on."""
    auth: str = ""
    """NAME:PASSWORD that the page asks for."""
    open_page: bool = True
    """Open the page in this machine's browser, if there is a screen."""

    def check_page(self) -> None:
        """Raise InputError where the page would be open to others, or cannot be."""
        name, _, password = self.auth.partition(":")
        if self.auth and not (name and password):
            raise InputError("--auth: expected NAME:PASSWORD")
        if self.host not in OWN_ADDRESSES and not self.auth:
            raise InputError(
                f"--host {self.host}: others could see the radiographs; --auth "
                "NAME:PASSWORD is needed"
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise InputError(f"--port {self.port}: expected 1 to 65535")


ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": "",
    # set by other programs, these would open to all what we keep to ourselves
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_SHARE": "False",
    "GRADIO_ROOT_PATH": "",
}


@contextlib.contextmanager
def own_files(name: str) -> Iterator[None]:
    """Let Gradio work in a folder of this program's own while the block runs."""
    before = {variable: os.environ.get(variable) for variable in ENVIRONMENT}
    with temporary_folder(name) as folder:
        # by default all of a machine's Gradio programs, of all its users, share one
        # folder, and each gives out what it finds there; this one is ours alone
        os.environ |= ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder)}
        try:
            yield
        finally:
            for variable, value in before.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value


@contextlib.contextmanager
def launched(
    page: Any, settings: WebSettings, greeting: str, **more: Any
) -> Iterator[str]:
    """Serve a Gradio page, and no other file, while the block runs.

    Args:
        page: built within `own_files`.
        settings: where to, and to whom.
        greeting: for the screen, with a place for the {address}, which is yielded.
        more: of Gradio's `launch`.
    """
    import gradio

    quiet = {
        "share": False,
        "quiet": True,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "allowed_paths": [],
        "show_error": True,
        "footer_links": [],
        # the themes' own fonts would be fetched from the web
        "theme": gradio.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
        "ssr_mode": False,
        "enable_monitoring": False,
        "mcp_server": False,
    }
    _, address, _ = page.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth=tuple(settings.auth.split(":", 1)) if settings.auth else None,
        **(quiet | more),
    )
    try:
        print(greeting.format(address=address))
        if settings.open_page and _has_screen():
            webbrowser.open(address)
        yield address
    finally:
        page.close(verbose=False)


def _has_screen() -> bool:
    """Whether a browser can open here; a text browser would take the terminal."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
