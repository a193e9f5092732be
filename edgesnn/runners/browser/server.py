"""The page for phones: its files and its socket on one port, behind a random token, for one phone.

Files come from a table made beforehand; a path in a request is only ever looked up in it, so no request
reaches another file. The first page that greets becomes the device; others are told to wait and try again.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from edgesnn.closing import Closing
from edgesnn.errors import RunnerError, missing_extra
from edgesnn.runners.browser.address import Place
from edgesnn.runners.browser.phone import BrowserPhone
from edgesnn.runners.browser.protocol import (
    CLOSE_BUSY,
    CLOSE_REFUSED,
    FRAME_BYTES,
    read_hello,
)

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.protocol import State
    from websockets.sync.server import ServerConnection

PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".snn": "application/octet-stream",
}
_HELLO_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_CONNECTIONS_MAX = 32


@dataclass(frozen=True, slots=True)
class Served:
    """One file of the table.

    Attributes:
        content: What is sent.
        kind: Its media type.
        packed: The same as gzip, or None.
    """

    content: bytes
    kind: str
    packed: bytes | None = None


def read_served(path: Path, packed: Path | None = None) -> Served:
    """Read one file for the table.

    Args:
        path: The file; its ending names its media type.
        packed: Its gzip form, if it is there; texts are packed here.
    """
    content = path.read_bytes()
    kind = _TYPES[path.suffix]
    if packed is not None:
        return Served(content, kind, packed.read_bytes())
    return Served(content, kind, gzip.compress(content, 6) if kind.startswith("text/") else None)


class PhoneServer(Closing):
    """A server for the page, from construction to `close`.

    Args:
        place: Where to listen.
        files: What is served, by path below the token.
        context: TLS, where ``place`` says https.

    Raises:
        MissingExtraError: ``websockets`` is not installed.
        RunnerError: The address cannot be bound.

    Attributes:
        place: Where it listens, with the port that it got.
        url: Address of the page, token included.
    """

    def __init__(
        self, place: Place, files: Mapping[str, Served], context: ssl.SSLContext | None = None
    ) -> None:
        try:
            from websockets.sync.server import ServerConnection, serve
        except ImportError:
            raise missing_extra("websockets", "phone", "target 'browser'") from None
        self._files = files
        self._token = secrets.token_urlsafe(12)
        self._lock = threading.Lock()
        self._taken = self._closed = False
        self._arrived = threading.Condition(self._lock)
        self._phone: BrowserPhone | None = None
        self._phones: list[BrowserPhone] = []
        self._seen: WeakSet[ServerConnection] = WeakSet()
        lock, seen = self._lock, self._seen

        class Remembered(ServerConnection):
            """A connection that `close` can end in every state."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                with lock:
                    seen.add(self)

        logger = logging.Logger("edgesnn.browser")  # of its own: a stranger's bad frame is no news
        logger.addHandler(logging.NullHandler())
        listening = _bound(place)
        self.place = replace(place, port=listening.getsockname()[1])
        self._server = serve(
            self._talk,
            sock=listening,
            ssl=context,
            process_request=self._answer_request,
            create_connection=Remembered,
            compression=None,
            server_header=None,
            open_timeout=5,
            ping_interval=10,
            ping_timeout=60,
            close_timeout=_CLOSE_SECONDS,
            max_size=FRAME_BYTES,
            max_queue=8,
            logger=logger,
        )
        threading.Thread(target=self._server.serve_forever, name="edgesnn-browser", daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"{self.place.origin}/{self._token}/"

    def phone(self, deadline: float) -> BrowserPhone | None:
        """Wait for the next phone.

        Args:
            deadline: By ``time.monotonic``.

        Returns:
            The phone, or None when the deadline passed or the server was closed.
        """
        with self._arrived:
            while self._phone is None:
                # Short waits: a condition that waits for ever does not hear Ctrl-C on every system.
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._arrived.wait(min(left, 0.5))
            found, self._phone = self._phone, None
            return found

    def release(self, phone: BrowserPhone) -> None:
        """Let another phone become the device, because this one left before it began."""
        phone.over.set()
        with self._lock:
            self._taken = False

    def close(self) -> None:
        """Close every connection and stop listening; safe to call twice."""
        from websockets.protocol import State

        with self._lock:
            self._taken = self._closed = True
            phones = list(self._phones)
            self._arrived.notify_all()
        for phone in phones:
            phone.over.set()
        stopper = threading.Thread(target=self._server.shutdown, name="edgesnn-browser-stop", daemon=True)
        stopper.start()
        # Browsers open spare connections, and a stranger may read slowly: neither holds the end up.
        self._cut(State.CONNECTING)
        stopper.join(2 * _CLOSE_SECONDS)
        if stopper.is_alive():
            self._cut(State.CONNECTING, State.OPEN, State.CLOSING, State.CLOSED)
            stopper.join(2 * _CLOSE_SECONDS)

    def _cut(self, *states: State) -> None:
        """End connections in some states without a word."""
        with self._lock:
            found = [connection for connection in self._seen if connection.state in states]
        for connection in found:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """A file of the table, a refusal, or None for the socket."""
        from websockets.protocol import State

        with self._lock:
            crowd = sum(one.state is not State.CLOSED for one in self._seen)
        if crowd > _CONNECTIONS_MAX:
            return self._response(503, Served(b"too many connections\n", "text/plain"))
        path = request.path.partition("?")[0]
        token, slash, name = path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode("utf-8", "surrogateescape"), self._token.encode()):
            what = b"This address belongs to no session that runs now. Scan the code again.\n"
            return self._response(404, Served(what, "text/plain; charset=utf-8"))
        if not slash:
            return self._response(308, Served(b"", "text/plain"), location=f"/{token}/")
        if name == "socket":
            origin = request.headers.get("Origin")
            if origin is not None and origin != self.place.origin:
                return self._response(403, Served(b"another page's socket\n", "text/plain"))
            return None
        found = self._files.get(name or "index.html")
        if found is None:
            return self._response(404, Served(b"no such file\n", "text/plain"))
        packed = found.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
        return self._response(200, found, packed=packed)

    def _response(
        self, status: int, served: Served, *, packed: bool = False, location: str | None = None
    ) -> Response:
        from http import HTTPStatus

        from websockets.datastructures import Headers
        from websockets.http11 import Response

        body = served.packed if packed and served.packed is not None else served.content
        socket_source = self.place.origin.replace("http", "ws", 1)
        headers = Headers(
            {
                "Content-Type": served.kind,
                "Content-Length": str(len(body)),
                "Connection": "close",
                "Cache-Control": "no-store",
                "Content-Security-Policy": (
                    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
                    f"img-src 'self'; worker-src 'self'; connect-src 'self' {socket_source}; "
                    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                ),
                # With both of them a secure page is isolated: threads and the fine timer.
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Embedder-Policy": "require-corp",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )
        if packed:
            headers["Content-Encoding"] = "gzip"
        if location is not None:
            headers["Location"] = location
        return Response(status, HTTPStatus(status).phrase, headers, body)

    def _talk(self, connection: ServerConnection) -> None:
        """One socket, in a thread of its own: greet, then leave it to the runner until it is over."""
        from websockets.exceptions import ConnectionClosed

        with self._lock:
            busy = self._taken
        if busy:
            connection.close(CLOSE_BUSY, "another phone is being measured")
            return
        try:
            facts = read_hello(connection.recv(timeout=_HELLO_SECONDS))
        except RunnerError as error:
            connection.close(CLOSE_REFUSED, error.what.encode()[:100].decode("utf-8", "ignore"))
            return
        except (ConnectionClosed, TimeoutError, OSError):
            return
        near = connection.remote_address[0] == connection.local_address[0]
        phone = BrowserPhone(connection, facts, near=near)
        with self._arrived:
            lost = self._taken
            if not lost:
                self._taken, self._phone = True, phone
                self._phones.append(phone)
                self._arrived.notify_all()
        if lost:
            connection.close(CLOSE_BUSY, "another phone is being measured")
            return
        phone.over.wait()


def _bound(place: Place) -> socket.socket:
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((place.host, place.port), family=family)
    except OSError as error:
        raise RunnerError(
            f"no page can be served at {place.host}, port {place.port}: {error.strerror or error}",
            remedy="name an address of this computer and a free port: --target browser:HOST:PORT",
        ) from None
