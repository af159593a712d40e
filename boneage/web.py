"""Serve a page in the browser: address, password, proxies, temporary files.

The prediction page is a Gradio application (`own_files`, `mount_page`) beside an HTTP
API; the annotator is an ASGI application of this program's own. `serve` serves both.
"""

import base64
import binascii
import contextlib
import importlib.util
import os
import re
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from boneage.cli import NO_DEFAULT
from boneage.errors import InputError, printable
from boneage.io.files import temporary_folder

OWN_ADDRESSES = ("127.0.0.1", "localhost", "::1")
PERSON = re.compile(r"[A-Za-z0-9][\w.@-]{0,39}", re.ASCII)
"""A name to log in with."""
PERSON_KEY = "boneage.person"
FIRST_PORT, PORTS = 7860, 100
"""Where a free port is looked for, and how many are tried."""
START_S = 30
"""Seconds after which a server that does not start has failed."""
STOP_S = 5
"""Seconds that open connections have to finish."""


@dataclass(frozen=True)
class WebSettings:
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    """address to listen on; any but this machine's own needs --auth"""
    port: int | None = None
    """port of the page; by default the first free one from 7860 on"""
    auth: Annotated[tuple[str, ...], NO_DEFAULT] = ()
    """NAME:PASSWORD that the page asks for; one for each person"""
    open_page: bool = True
    """open the page in this machine's browser, if there is a screen"""

    def check_page(self) -> None:
        """Raise InputError if the page would be open to others, or cannot be served."""
        names = self.people
        if any(not (name and password) for name, password in self._logins()):
            raise InputError("--auth must be NAME:PASSWORD (got one part)")
        # they become folders and words of the log
        if odd := [name for name in names if not PERSON.fullmatch(name)]:
            raise InputError(
                "--auth must have names of letters, digits and - _ . @ (got "
                f"{printable(odd[0])})"
            )
        if len(set(names)) < len(names):
            raise InputError("--auth must have another name for each person")
        if self.host not in OWN_ADDRESSES and not self.auth:
            raise InputError(
                f"--host {self.host} would show the radiographs to others; protect the "
                "page with --auth NAME:PASSWORD"
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise InputError(f"--port must be from 1 to 65535 (got {self.port})")

    @property
    def people(self) -> tuple[str, ...]:
        """Names of those who may log in; none where anybody may see the page."""
        return tuple(name for name, _ in self._logins())

    def _logins(self) -> list[tuple[str, str]]:
        """Name and password of each; one is empty where it was not given."""
        parts = [login.partition(":") for login in self.auth]
        return [(name, password) for name, _, password in parts]


def check_installed(package: str) -> None:
    """Raise InputError where a page needs a package that is not installed."""
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"a page in the browser must have {package} installed (got none); run: pip "
            'install "boneage[annotate]"'
        )


ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": "",
    # other programs may set these, and they would open the page or files to everyone
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_SHARE": "False",
    "GRADIO_ROOT_PATH": "",
}
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
"""Gradio would ask these for its own address; they cannot reach it, or refuse to."""


@contextlib.contextmanager
def own_files(name: str) -> Iterator[None]:
    """Give Gradio a private temporary folder, and no proxy, while the block runs."""
    proxies = [*PROXIES, *map(str.upper, PROXIES)]
    before = {key: os.environ.get(key) for key in (*ENVIRONMENT, *proxies)}
    with temporary_folder(name) as folder:
        # by default all Gradio programs of a machine share one folder, whoever runs
        # them, and each serves what it finds there; this one is private
        os.environ |= ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder)}
        for proxy in proxies:
            os.environ.pop(proxy, None)
        try:
            yield
        finally:
            for variable, value in before.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value


def mount_page(parent: Any, page: Any, **more: Any) -> None:
    """Mount a Gradio page at the root of a FastAPI application; it serves no file.

    Args:
        parent: what is mounted there already goes before the page.
        page: built within `own_files`.
        more: further arguments of Gradio's `mount_gradio_app`.
    """
    import gradio

    quiet = {
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
    gradio.mount_gradio_app(parent, page, "/", **(quiet | more))
    # or requests could name any file of this machine as their upload
    page.has_launched = True


def _announce(greeting: str, address: str, settings: WebSettings) -> None:
    print(greeting.format(address=address), flush=True)
    if settings.open_page and _has_screen():
        webbrowser.open(address)


def _has_screen() -> bool:
    """Whether a browser can open here; a text browser would take the terminal."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


Application = Callable[[dict, Callable, Callable], Awaitable[None]]
"""An ASGI application: scope, receive, send."""


@contextlib.contextmanager
def serve(
    application: Application,
    settings: WebSettings,
    greeting: str,
    open_paths: Collection[str] = (),
    has_lifespan: bool = False,
) -> Iterator[str]:
    """Serve an ASGI application while the block runs; yields its address.

    Args:
        application: gets the requests that `Guard` lets through.
        settings: where to serve it, and to whom.
        greeting: printed, with the page's {address} filled in.
        open_paths: those that may be asked for without the password.
        has_lifespan: whether it wants to know when it starts and stops.

    Raises:
        InputError: no such address, or its port is taken.
    """
    import uvicorn

    listening = _listen(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(application, settings, open_paths),
            log_level="error",
            lifespan="on" if has_lifespan else "off",
            timeout_graceful_shutdown=STOP_S,
        )
    )
    thread = threading.Thread(target=server.run, args=[[listening]], daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise InputError("the page's server cannot start; see the lines above")
            time.sleep(0.01)
        host, port = listening.getsockname()[:2]
        # what listens everywhere is reached here by this machine's own address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        address = (
            f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        )
        _announce(greeting, address, settings)
        yield address
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _listen(settings: WebSettings) -> socket.socket:
    """A listening socket on the port asked for, or on the first that is free."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            settings.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as unknown:
        raise InputError(
            f"--host must be an address of this machine (got {settings.host}: "
            f"{unknown.strerror})"
        ) from None
    ports = range(FIRST_PORT, FIRST_PORT + PORTS)
    reason: str | None = None
    for port in ports if settings.port is None else [settings.port]:
        listening = socket.socket(family, kind)
        try:
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((where[0], port, *where[2:]))
            listening.listen(128)
        except OSError as refused:
            listening.close()
            reason = refused.strerror
        else:
            return listening
    wanted = f"{ports[0]} to {ports[-1]}" if settings.port is None else settings.port
    raise InputError(
        f"--port cannot be opened at {settings.host} (got {wanted}: {reason}); "
        "choose another"
    )


class Guard:
    """Lets through only the page's own requests, with the password if there is one.

    Without a password a request must name this machine as its host, so that no website
    can pose as it (DNS rebinding). Requests from another website's page are refused.
    Who has logged in, the application reads from the scope: `scope[PERSON_KEY]`.
    """

    def __init__(
        self,
        application: Application,
        settings: WebSettings,
        open_paths: Collection[str] = (),
    ) -> None:
        """Guard `application` as `settings` ask; `open_paths` need no password."""
        self.application, self.open_paths = application, open_paths
        self.auth = [login.encode() for login in settings.auth]

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Pass a request on, or refuse it: 401 or 403."""
        headers = dict(scope.get("headers", []))
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        login = self._login(headers)
        if self.auth and login is None and scope["path"] not in self.open_paths:
            challenge = (b"www-authenticate", b'Basic realm="bone age"')
            await _refuse(send, 401, challenge)
        elif self._is_foreign(scope["method"], headers):
            await _refuse(send, 403)
        else:
            name = (login or b"").partition(b":")[0].decode()
            await self.application(scope | {PERSON_KEY: name}, receive, send)

    def _is_foreign(self, method: str, headers: dict[bytes, bytes]) -> bool:
        # a link to the page may stand anywhere; following it is no request of that site
        is_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        site = headers.get(b"sec-fetch-site", b"none")
        if site in (b"cross-site", b"same-site") and not is_link:
            return True
        return not self.auth and not _is_own_host(headers.get(b"host", b""))

    def _login(self, headers: dict[bytes, bytes]) -> bytes | None:
        """Which of the logins a request knows; None for none."""
        kind, _, encoded = headers.get(b"authorization", b"").partition(b" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
        if kind.lower() != b"basic":
            return None
        # all are compared, so that the time tells nothing
        known = [each for each in self.auth if secrets.compare_digest(given, each)]
        return known[0] if known else None


def _is_own_host(host: bytes) -> bool:
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname in OWN_ADDRESSES
    except ValueError:
        return False


async def _refuse(send: Callable, status: int, *headers: tuple[bytes, bytes]) -> None:
    start = {"type": "http.response.start", "status": status, "headers": [*headers]}
    await send(start)
    await send({"type": "http.response.body", "body": b""})
