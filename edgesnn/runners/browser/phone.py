"""One phone: commands out, checked answers in. Whatever the page does, a command ends by its deadline."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from edgesnn.errors import RunnerError
from edgesnn.runners.browser.protocol import FRAME_BYTES, Fields, PhoneFacts, nonsense, read_frame

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

#: One command may take so long in all, whatever the page says.
LONGEST_S = 3600.0
#: A page that works says so every second; one that says nothing for so long is asleep, hidden or gone.
SILENCE_S = 30.0
_REMEDY = "keep the page in the foreground and the screen on; --https lets the page keep it on"


class PhoneGone(RunnerError):
    """The page was closed, or the phone left the network."""


class BrowserPhone:
    """The page that is the device of this session.

    Args:
        connection: Its socket.
        facts: What it said of itself.
        near: Whether it came from this computer's own address.
    """

    def __init__(self, connection: ServerConnection, facts: PhoneFacts, *, near: bool) -> None:
        self.facts = facts
        self.near = near
        self.over = threading.Event()
        self._connection = connection
        self._number = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Show something on the phone; a phone that left is noticed by the next command."""
        from websockets.exceptions import ConnectionClosed

        try:
            self._connection.send(json.dumps({"type": kind, **fields}))
        except (ConnectionClosed, OSError):
            return

    def ask(
        self, command: str, *, expect_bytes: int = 0, silence_s: float = SILENCE_S, **arguments: Any
    ) -> tuple[Fields, bytes]:
        """Give one command and wait for its answer.

        Args:
            command: Name of the command.
            expect_bytes: Bytes of numbers that the answer brings.
            silence_s: Longest time without a sign of life, seconds.
            arguments: Its arguments.

        Returns:
            The fields of the answer and its numbers.

        Raises:
            PhoneGone: The page was closed.
            RunnerError: The command failed there, the page fell silent, or it broke the protocol.
        """
        from websockets.exceptions import ConnectionClosed

        self._number += 1
        try:
            self._connection.send(json.dumps({"type": command, "id": self._number, **arguments}))
            answer = self._answer(command, silence_s)
            announced = answer.whole("bytes", 0, 1 << 40)
            if announced != expect_bytes:
                raise nonsense(f"numbers of '{command}'", f"{announced} bytes", f"{expect_bytes} bytes")
            return answer, self._numbers(expect_bytes, silence_s)
        except ConnectionClosed as closed:
            raise self._gone(command, closed) from None
        except TimeoutError:
            raise RunnerError(
                f"the phone gave no sign of life for {silence_s:g} s during '{command}'",
                remedy=_REMEDY,
            ) from None
        except OSError as error:
            raise PhoneGone(f"the phone left during '{command}': {error.strerror or error}") from None

    def _answer(self, command: str, silence_s: float) -> Fields:
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end:
            fields = read_frame(self._connection.recv(timeout=silence_s))
            if fields.whole("id", 0, 1 << 53) != self._number:
                raise nonsense("an answer to another command", "another id", self._number)
            kind = fields.text("type")
            if kind == "busy":
                continue
            if kind == "error":
                raise RunnerError(
                    f"'{command}' failed in the phone's browser: {fields.text('what', 400)}",
                    remedy="reload the page on the phone and start again",
                )
            if kind != "reply":
                raise nonsense("an unknown frame", repr(kind), "reply, busy or error")
            return fields
        raise RunnerError(f"the phone did not end '{command}'", limit=f"{LONGEST_S:g} s")

    def _numbers(self, size: int, silence_s: float) -> bytes:
        parts, found = [], 0
        while found < size:
            part = self._connection.recv(timeout=silence_s)
            if isinstance(part, str) or not 0 < len(part) <= min(FRAME_BYTES, size - found):
                actual = f"{len(part)} {'characters' if isinstance(part, str) else 'bytes'}"
                raise nonsense("numbers in pieces of the wrong size", actual, f"at most {size - found} bytes")
            parts.append(part)
            found += len(part)
        return b"".join(parts)

    @staticmethod
    def _gone(command: str, closed: Exception) -> RunnerError:
        frame = getattr(closed, "sent", None)
        if frame is not None and frame.code == 1009:  # noqa: PLR2004  # RFC 6455: message too big
            return nonsense("a frame that is too large", "more", f"{FRAME_BYTES} bytes")
        return PhoneGone(
            f"the page on the phone was closed, or the phone left the network, during '{command}'",
            remedy=_REMEDY,
        )

    def host_offset_ns(self, exchanges: int) -> tuple[float, float]:
        """Set the phone's clock against this computer's.

        Args:
            exchanges: Round trips; the shortest one counts.

        Returns:
            Host time less phone time, nanoseconds, and half the round trip, which bounds its error.
        """
        best = (0.0, float("inf"))
        for _ in range(exchanges):
            before = time.perf_counter_ns()
            answer, _ = self.ask("now")
            after = time.perf_counter_ns()
            half = (after - before) / 2
            if half < best[1]:
                best = ((before + after) / 2 - answer.number("now_ms", 0, 1e15) * 1e6, half)
        return best
