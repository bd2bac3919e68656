"""The server of the page: the standard library's, for one user, on this machine.

Whatever arrives is looked at before it is believed: a page that is open in the same browser may
send requests here as well, under a name of its own that it lets point to this machine (DNS
rebinding).
"""

import errno
import ipaddress
import json
import os
import re
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socketserver import TCPServer
from typing import Any

from xpnet.errors import AddressError, XpnetError, one_line, reason_of, shown
from xpnet.page.answers import Answers
from xpnet.streams import log_warning

_SECONDS = 15.0
"""So long a request may take to arrive; and a reader to take what is sent to it."""
_CONNECTIONS = 100
"""So many there may be at a time; more are closed at once."""
_DISCARDED = 1 << 24
"""So much that was not asked for is read and dropped, so that who sends it can read the answer."""

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PICTURE = "application/octet-stream"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""With every reply: nothing of other hosts is loaded, and the page is in no other page's frame."""


class PageServer(ThreadingHTTPServer):
    """The page of a network, from the time it is made: `serve_forever` answers.

    It is a context: when that is left, the port is free again.

    Parameters
    ----------
    answers
        What is said of the network and of pictures.
    host
        A name or an address of this machine: other machines reach it if it is not a loopback one.
    port
        Where it listens; 0 for a port that is free.

    Raises
    ------
    AddressError
        If it cannot listen there.
    ValueError
        If the port is not from 0 to 65535.
    """

    daemon_threads = True
    # Else a second server could take the port of the first: with some Pythons; on Windows.
    allow_reuse_port = False
    allow_reuse_address = os.name != "nt"
    request_queue_size = 64

    def __init__(self, answers: Answers, host: str = "127.0.0.1", port: int = 0) -> None:
        if not isinstance(port, int) or not 0 <= port < 1 << 16:
            raise ValueError(f"port must be an integer from 0 to 65535, got {shown(port)}")
        self.answers = answers
        self._arriving: dict[Any, float] = {}
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, _, _, _, address = found[0]
            super().__init__(address, _Handler)  # type: ignore[arg-type]
        except (OSError, OverflowError, UnicodeError) as error:
            raise AddressError(_why_not(host, port, error)) from error
        self._names = {"localhost", host.lower()}
        if not self.is_local:
            self._names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address that it listens at."""
        return ipaddress.ip_address(str(self.server_address[0]).partition("%")[0])

    @property
    def is_local(self) -> bool:
        """Whether this machine alone reaches it."""
        return self.address.is_loopback

    @property
    def url(self) -> str:
        """Where the page is, as a browser on this machine finds it."""
        loopback = "127.0.0.1" if self.address.version == 4 else "::1"
        return self._url(loopback if self.address.is_unspecified else str(self.address))

    @property
    def url_for_others(self) -> str:
        """Where the page is, as other machines find it, where they are let in."""
        if not self.address.is_unspecified:
            return self.url
        return self._url(_own_address(self.address_family) or socket.gethostname())

    def _url(self, host: str) -> str:
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def is_named(self, host: str) -> bool:
        """Whether a `Host` header names this server.

        A page of somebody else's whose name was made to point to this machine sends that name. To
        an address that cannot be done, so where others are let in any address will do.
        """
        found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?", host.lower())
        if found is None:
            return False
        name = found[1] or found[2]
        try:
            return ipaddress.ip_address(name).is_loopback or not self.is_local
        except ValueError:
            return name in self._names

    # -- what the parent does otherwise ---------------------------------------------------------

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's asks a name server, which may take seconds
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self._arriving[request] = time.monotonic()
        return len(self._arriving) <= _CONNECTIONS

    def service_actions(self) -> None:
        """Some times a second: cut off what has been arriving for too long, byte by byte."""
        now = time.monotonic()
        for request, began in list(self._arriving.items()):
            if now - began > _SECONDS:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def has_arrived(self, request: Any) -> None:
        """From now on the request may take its time."""
        self._arriving[request] = float("inf")

    def shutdown_request(self, request: Any) -> None:
        self._arriving.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is nobody's fault, and ends nothing."""


class _Refused(Exception):  # noqa: N818 - a reply like others
    """A request that is not answered as it wished."""

    def __init__(self, status: HTTPStatus, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection, which is closed then: HTTP/1.0."""

    server: PageServer
    timeout = _SECONDS
    unread = 0
    default_request_version = "HTTP/1.0"  # what names none is replied to with a status as well

    def version_string(self) -> str:
        return "xpnet"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: some twenty requests a second are no news."""

    def serve(self) -> None:
        """Reply to a request of any method; whatever goes wrong in it is a reply as well."""
        try:
            self._check_sender()
            kind, content = self._content()
        except _Refused as refused:
            self._reply_error(refused.status, str(refused), **refused.headers)
        except XpnetError as error:
            self._reply_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except (ConnectionError, TimeoutError):
            raise  # it broke off, or nothing has come for too long
        except Exception as error:
            why = f"{type(error).__name__}: {one_line(error)}"
            log_warning("the page: %s", why)
            self._reply_error(HTTPStatus.INTERNAL_SERVER_ERROR, why)
        else:
            self._reply(HTTPStatus.OK, kind, content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve  # noqa: N815

    def _check_sender(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.unread = _DISCARDED  # until it is known, if it is said at all
        if "Transfer-Encoding" not in self.headers:
            self.unread = self._length()
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.is_named(hosts[0]):
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                f"this is not {shown(', '.join(hosts))}: open {self.server.url}",
            )
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != hosts[0]:
            raise _Refused(HTTPStatus.FORBIDDEN, "a page of another origin asks")

    def _content(self) -> tuple[str, bytes]:
        """What is asked for, and of which type it is."""
        path = self.path.partition("?")[0]
        if path in _FILES:
            self._allow("GET", "HEAD")
            name, kind = _FILES[path]
            return kind, (files("xpnet.page") / name).read_bytes()
        if path == "/network":
            self._allow("GET", "HEAD")
            return _json(self.server.answers.description)
        if path == "/answer":
            self._allow("POST")
            return _json(self.server.answers.answer(self._picture()))
        raise _Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {shown(path)}")

    def _allow(self, *methods: str) -> None:
        if self.command not in methods:
            allowed = ", ".join(methods)
            raise _Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, f"this is asked for by {allowed}", Allow=allowed
            )

    def _length(self) -> int:
        """How long the body is said to be; 0 where nothing is said."""
        lengths = self.headers.get_all("Content-Length") or ["0"]
        if len(lengths) != 1 or not re.fullmatch("[0-9]{1,18}", lengths[0].strip()):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Content-Length must be one number")
        return int(lengths[0])

    def _picture(self) -> bytes:
        """The body, which is a picture."""
        wanted = self.server.answers.size
        if self.headers.get("Content-Type") != _PICTURE:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a picture comes as {_PICTURE}")
        if "Content-Length" not in self.headers or "Transfer-Encoding" in self.headers:
            raise _Refused(
                HTTPStatus.LENGTH_REQUIRED,
                "Content-Length must be given, and no Transfer-Encoding",
            )
        size = wanted[0] * wanted[1]
        if self.unread != size:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise _Refused(
                status if self.unread > size else HTTPStatus.BAD_REQUEST,
                f"a picture is {wanted[0]} x {wanted[1]} bytes, and not {self.unread:,}",
            )
        body = self.rfile.read(size)
        self.unread -= len(body)
        if self.unread:
            raise ConnectionError("broken off")
        self.server.has_arrived(self.request)
        return body

    # -- replies --------------------------------------------------------------------------------

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parent says of a request that is none."""
        self._reply_error(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _reply_error(self, status: HTTPStatus, why: str, **headers: str) -> None:
        kind, content = _json({"error": why})
        self._reply(status, kind, content, **headers)

    def _reply(self, status: HTTPStatus, kind: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(content))}
        for name, value in {**_HEADERS, **about, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def finish(self) -> None:
        """Close; what was not read is read first: else the sender would lose the reply."""
        with suppress(OSError):
            if self.unread:
                self.request.shutdown(socket.SHUT_WR)
                self.request.settimeout(1)
                left, until = min(self.unread, _DISCARDED), time.monotonic() + 3
                while left > 0 and time.monotonic() < until:
                    got = len(self.request.recv(1 << 16))
                    left = left - got if got else 0
        super().finish()


def _json(content: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(content, allow_nan=False).encode()


def _why_not(host: str, port: int, error: Exception) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"{shown(host)} is no host that is known here: give an address of this machine"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"{one_line(host)} is another machine's: give an address of this one"
    where = f"port {port} of {one_line(host)}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{where} is taken: give another port, or none for one that is free"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"{where} may not be used: give one from 1024 on, or none for one that is free"
    return f"{where} cannot be used: {reason_of(error)}"


def _own_address(family: int) -> str | None:
    """The address of this machine in its network; None without a network."""
    far = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect((far, 9))  # which sends nothing, and chooses the way that it would go
            return str(way.getsockname()[0])
    except OSError:
        return None
