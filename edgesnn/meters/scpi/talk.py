"""One question, one answer: SCPI messages over a wire, and what their numbers mean."""

from __future__ import annotations

import math

from edgesnn.errors import MeterError, MeterTimeoutError
from edgesnn.meters.link import MeterLink, drain

#: An overload is 9.9e37, "not a number" 9.91e37 (SCPI-99, volume 1, 7.2.1.4 and 7.2.1.5).
OVERLOAD = 9.9e37
NOT_A_NUMBER = 9.91e37


class Talk:
    """Messages over a wire.

    Args:
        link: The wire.

    Attributes:
        stray_bytes: Bytes that belonged to no answer.
    """

    def __init__(self, link: MeterLink) -> None:
        self.link = link
        self.stray_bytes = 0
        self._late = False

    def send(self, command: str) -> None:
        """Send a command that has no answer."""
        self.link.write(command.encode("ascii") + b"\n")

    def ask(self, query: str, timeout_s: float) -> str:
        """Send a query and wait for its line.

        Raises:
            MeterTimeoutError: No whole line came; what comes late is thrown away before the next query.
        """
        if self._late:
            self.stray_bytes += drain(self.link)
            self._late = False
        self.send(query)
        deadline = self.link.now_ns() + int(timeout_s * 1e9)
        data = b""
        while b"\n" not in data:
            left_s = (deadline - self.link.now_ns()) / 1e9
            if left_s <= 0:
                self._late = True
                raise MeterTimeoutError(
                    f"the instrument on {self.link.port} did not answer '{query}'",
                    actual=f"{data[-40:]!r}" if data else "nothing",
                    limit=f"{timeout_s:g} s",
                    remedy="check the address, the cable, and that its remote language is SCPI",
                )
            data += self.link.read(left_s)
        line, _, rest = data.partition(b"\n")
        if rest:  # more than was asked for: what comes next may be an answer of before
            self.stray_bytes += len(rest)
            self._late = True
        return line.strip(b"\r\0 ").decode("ascii", "replace")

    def settle(self, seconds: float) -> None:
        """Wait; what comes without having been asked for is thrown away."""
        self.stray_bytes += len(self.link.read(seconds))

    def check(self, purpose: str, timeout_s: float = 2.0) -> None:
        """Ask for the instrument's error.

        Raises:
            MeterError: It has one.
        """
        answer = self.ask("SYST:ERR?", timeout_s)
        code = answer.partition(",")[0].strip()
        if code not in ("0", "+0"):
            raise MeterError(
                f"the instrument refuses {purpose}",
                actual=answer,
                remedy="see its manual for the error; nothing is measured",
            )


def numbers(answer: str, group: int) -> list[float] | None:
    """The numbers of an answer.

    Args:
        answer: Numbers with commas between.
        group: They come in groups of this many.

    Returns:
        All of them; None when it is no such answer, or one of them stands for "not a number".
    """
    if not answer:
        return []
    try:
        values = [float(one) for one in answer.split(",")]
    except ValueError:
        return None
    nan = any(not math.isfinite(one) or math.isclose(abs(one), NOT_A_NUMBER, rel_tol=3e-4) for one in values)
    return None if nan or len(values) % group else values


def overloaded(value: float) -> bool:
    """Whether a number stands for an overload."""
    return abs(value) >= OVERLOAD * 0.999
