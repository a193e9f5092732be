"""Listening, and ending in order."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from edgesnn.errors import UsageError

#: Time that answers have to end when the server is asked to stop, seconds.
GRACE_S = 5


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: The address cannot be bound.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(256)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}",
            remedy="name an address of this computer and a free port: --host, --port; --port 0 takes any",
        ) from None
    return made


def serve(app: Callable[..., object], where: socket.socket, *, most: int) -> None:
    """Answer requests until SIGINT or SIGTERM; answers that are under way have `GRACE_S` to end.

    Args:
        app: The application.
        where: The socket; closed at the end.
        most: Most connections at once; more get 503.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=most,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=1 << 16,
        lifespan="off",
        ws="none",
    )
    with where:
        uvicorn.Server(config).run(sockets=[where])
