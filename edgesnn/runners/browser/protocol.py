"""What this computer and the page on a phone say to each other.

Text frames hold one JSON object each, binary frames a part of the numbers that a text frame announced.

    page      hello                     what the browser is; the first frame
    computer  welcome                   the model, its state tensors, where its files are
    computer  NAME, id, arguments       a command; one at a time
    page      reply, id, fields, bytes  its answer; as many bytes follow in binary frames
    page      busy, id, done, total     the answer takes longer
    page      error, id, what           the command failed
    computer  progress | result | over  to show; no answer

A page is a stranger: every field is checked for type, range and length, every frame for its size.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from edgesnn.errors import RunnerError

PROTOCOL = 1
#: Largest frame either side sends; more numbers come in several frames.
FRAME_BYTES = 1 << 20
#: Largest text frame of a page.
TEXT_BYTES = 1 << 16
_TEXT_CHARACTERS = 300
#: Why the computer closes a connection, as WebSocket codes for applications.
CLOSE_BUSY, CLOSE_REFUSED = 4001, 4002
#: Samples must last this many steps of the timer, so that its step moves them by at most 5 %.
STEPS_PER_SAMPLE = 20

_BROWSERS = (
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Edge", r"Edg(?:A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Chrome", r"(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+)[.\d]* .*Safari"),
)


@dataclass(frozen=True, slots=True)
class PhoneFacts:
    """What a page says of its browser; all of it is the browser's word.

    Attributes:
        user_agent: The browser's own name.
        model: The phone's model; None where the browser keeps it, which it does over plain http.
        system: Operating system with version, likewise.
        cores: Logical processors, as far as it tells; None where it does not.
        memory_gb: Memory, rounded by the browser; None where it does not tell.
        screen: Width, height and pixel ratio, for example ``412x915@2.625``.
        touch_points: Fingers that the screen can tell apart.
        secure_context: Whether the browser takes the connection for secure.
        cross_origin_isolated: Whether threads and the fine timer are allowed.
        timer_step_us: Smallest step of its clock, measured, microseconds.
        wake_lock: Whether the page can keep the screen on.
        visible: Whether the page was visible.
    """

    user_agent: str
    model: str | None
    system: str | None
    cores: int | None
    memory_gb: float | None
    screen: str
    touch_points: int
    secure_context: bool
    cross_origin_isolated: bool
    timer_step_us: float
    wake_lock: bool
    visible: bool

    @property
    def browser(self) -> str:
        """Name and major version of the browser."""
        for name, pattern in _BROWSERS:
            found = re.search(pattern, self.user_agent)
            if found:
                return f"{name} {found[1]}"
        return "unknown browser"

    @property
    def device(self) -> str:
        """The phone in a few words: model or system, and browser."""
        system = self.system
        if system is None:
            found = re.search(r"\(([^)]*)\)", self.user_agent)
            said = [part.strip() for part in found[1].split(";")] if found else []
            # "K" stands where a browser keeps the model to itself.
            system = " ".join(part for part in said if part not in ("", "Linux", "U", "K", "wv", "X11"))
        return ", ".join([part for part in (self.model, system, self.browser) if part])


class Fields:
    """One JSON object of a page, read field by field.

    Args:
        content: The object.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def text(self, name: str, limit: int = _TEXT_CHARACTERS) -> str:
        """A text of printable characters.

        Raises:
            RunnerError: It is none, or too long.
        """
        value = self._content.get(name)
        if not isinstance(value, str) or len(value) > limit or not value.isprintable():
            raise self._wrong(name, f"printable text of at most {limit} characters")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A finite number in a range.

        Raises:
            RunnerError: It is none, or outside.
        """
        value = self._content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(name, f"{low:g}..{high:g}")  # NaN and infinity lie in no range
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number in a range.

        Raises:
            RunnerError: It is none, or outside.
        """
        value = self._content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, f"whole number, {low}..{high}")
        return value

    def flag(self, name: str) -> bool:
        """True or false.

        Raises:
            RunnerError: It is neither.
        """
        value = self._content.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def digest(self, name: str) -> str:
        """A SHA-256 in hex.

        Raises:
            RunnerError: It is none.
        """
        value = self._content.get(name)
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
            raise self._wrong(name, "64 hexadecimal digits")
        return value

    def absent(self, name: str) -> bool:
        """Whether the page says nothing about it."""
        return self._content.get(name) is None

    def _wrong(self, name: str, limit: str) -> RunnerError:
        return nonsense(f"field '{name}'", repr(self._content.get(name))[:80], limit)


def nonsense(what: str, actual: object, limit: object) -> RunnerError:
    """The error of a page that does not keep to the protocol."""
    return RunnerError(
        f"the page on the phone sent something that is no answer: {what}",
        actual=actual,
        limit=limit,
        remedy="reload the page on the phone and start again",
    )


def read_frame(frame: str | bytes) -> Fields:
    """One text frame of a page.

    Raises:
        RunnerError: It is binary, too long, or no JSON object with a short text ``type``.
    """
    if not isinstance(frame, str):
        raise nonsense("a binary frame", f"{len(frame)} bytes", "a text frame")
    if len(frame) > TEXT_BYTES:
        raise nonsense("a long text frame", f"{len(frame)} characters", TEXT_BYTES)
    try:
        content = json.loads(frame)
    except (ValueError, RecursionError):
        raise nonsense("no JSON", repr(frame[:60]), "one JSON object") from None
    if not isinstance(content, dict):
        raise nonsense("no object", repr(frame[:60]), "one JSON object")
    fields = Fields(content)
    fields.text("type", 20)
    return fields


def read_hello(frame: str | bytes) -> PhoneFacts:
    """The first frame of a page.

    Raises:
        RunnerError: It is no greeting of this protocol.
    """
    hello = read_frame(frame)
    if hello.text("type") != "hello" or hello.whole("protocol", 0, 1000) != PROTOCOL:
        raise nonsense("no greeting", repr(frame[:60]), f"hello, protocol {PROTOCOL}")
    return PhoneFacts(
        user_agent=hello.text("user_agent", 500),
        model=None if hello.absent("model") else hello.text("model", 80) or None,
        system=None if hello.absent("system") else hello.text("system", 80) or None,
        cores=None if hello.absent("cores") else hello.whole("cores", 1, 4096),
        memory_gb=None if hello.absent("memory_gb") else hello.number("memory_gb", 0, 1e6),
        screen=hello.text("screen", 40),
        touch_points=hello.whole("touch_points", 0, 256),
        secure_context=hello.flag("secure_context"),
        cross_origin_isolated=hello.flag("cross_origin_isolated"),
        timer_step_us=hello.number("timer_step_us", 1e-3, 1e6),
        wake_lock=hello.flag("wake_lock"),
        visible=hello.flag("visible"),
    )


def calls_per_sample(timer_step_ms: float, call_ms: float) -> int:
    """Calls that are timed together, so that a sample lasts `STEPS_PER_SAMPLE` steps of the timer.

    Args:
        timer_step_ms: Step of the browser's timer, milliseconds.
        call_ms: Shortest call, milliseconds.
    """
    return max(1, math.ceil(STEPS_PER_SAMPLE * timer_step_ms / call_ms))


def group_sizes(steps: int, calls: int) -> list[int]:
    """How the steps of one pass are timed: groups of at least ``calls`` neighbours, as even as can be."""
    groups = max(1, steps // calls)
    size, larger = divmod(steps, groups)
    return [size + 1] * larger + [size] * (groups - larger)
