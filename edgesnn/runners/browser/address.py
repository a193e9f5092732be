"""Where the page is served, ``browser[:onnxruntime][:[https://]HOST[:PORT]]``, and how one gets there."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesnn.errors import RunnerError, UsageError, missing_extra

_GRAMMAR = (
    "browser, browser:HOST, browser:HOST:PORT, browser:https or browser:https://HOST:PORT; "
    "browser:onnxruntime, browser:onnxruntime:HOST and so on for the other engine"
)
#: The word that asks for the ONNX files in ONNX Runtime instead of the program in the C engine.
ONNXRUNTIME = "onnxruntime"
#: An address that documentation owns (RFC 5737). Nothing is sent to it: the routing table is asked.
_ELSEWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens.

    Attributes:
        host: Address or name of one interface of this computer.
        port: TCP port; 0 for a free one.
        tls: Whether it speaks https.
    """

    host: str
    port: int
    tls: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser writes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def parse_place(address: str | None) -> Place:
    """Read what follows ``browser:``.

    Args:
        address: The address, or None for this computer's own address in its network and a free port.

    Raises:
        UsageError: It is no address, or it means every interface at once.
        RunnerError: None is given and this computer has no network.
    """
    text = address or ""
    tls = text == "https" or text.startswith("https://")
    rest = "" if text in ("http", "https") else text.removeprefix("https://").removeprefix("http://")
    host, port = _host_and_port(rest.removesuffix("/"), text)
    host = host or lan_address()
    if _is_ip(host) and ipaddress.ip_address(host).is_unspecified:
        raise UsageError(
            "a page that runs on phones is served at one address, not at every interface",
            actual=host,
            limit="the address of one interface",
            remedy="leave it out, or name the address that the phone reaches",
        )
    return Place(host, port, tls)


def split_engine(address: str | None) -> tuple[bool, str | None]:
    """Which engine an address asks for.

    Args:
        address: What follows ``browser:``, or None.

    Returns:
        Whether it is ONNX Runtime, and the address without that word.
    """
    word, _, rest = (address or "").partition(":")
    return (True, rest or None) if word == ONNXRUNTIME else (False, address)


def with_https(target: str) -> str:
    """The same target, served over https.

    Args:
        target: ``browser`` or ``browser:ADDRESS``.

    Raises:
        UsageError: It is another target.
    """
    name, _, address = target.partition(":")
    if name != "browser":
        raise UsageError("--https is for the page that phones open", actual=target, limit="--target browser")
    onnx, place = split_engine(address)
    place = (place or "").removeprefix("https://").removeprefix("http://")
    engine = f"browser:{ONNXRUNTIME}" if onnx else "browser"
    return f"{engine}:https" if place in ("", "http", "https") else f"{engine}:https://{place}"


def _host_and_port(rest: str, whole: str) -> tuple[str, int]:
    host, colon, port = rest, "", ""
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        colon, port = tail[:1], tail[1:]
    elif rest.count(":") == 1:
        host, colon, port = rest.partition(":")
    number = int(port) if port.isascii() and port.isdigit() else (0 if not colon else -1)
    odd = any(not (c.isalnum() or c in ".-_") for c in host) and not _is_ip(host)
    if odd or not 0 <= number <= 65535 or (colon and not host) or colon not in ("", ":"):
        raise UsageError(f"'{whole}' is no address to serve a page at", limit=_GRAMMAR)
    return host, number


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def lan_address() -> str:
    """This computer's address in its network, as the routing table says.

    Raises:
        RunnerError: There is no network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise RunnerError(
                f"this computer has no address that a phone could reach: {error.strerror or error}",
                remedy="join a network, or name an address: --target browser:HOST",
            ) from None


def qr_lines(url: str, *, colour: bool) -> list[str]:
    """A QR code of half blocks, two modules a character.

    Args:
        url: What it says.
        colour: Whether to set black on white, so that it can be read on a dark terminal too.

    Returns:
        Lines of text.

    Raises:
        MissingExtraError: ``segno`` is not installed.
    """
    try:
        import segno
    except ImportError:
        raise missing_extra("segno", "phone", "the QR code of target 'browser'") from None
    rows = [list(row) for row in segno.make(url, micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    lines = ["".join(_half_blocks(above, below)) for above, below in zip(rows[::2], rows[1::2], strict=True)]
    return [f"\x1b[30;107m{line}\x1b[0m" for line in lines] if colour else lines


def _half_blocks(above: Sequence[int], below: Sequence[int]) -> Iterable[str]:
    for top, bottom in zip(above, below, strict=True):
        yield (" ", "▄", "▀", "█")[2 * bool(top) + bool(bottom)]
