"""Loads by name: ``square:low=10m,high=80m,period=0.5``, ``recording:FILE``, ``live:PORT``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edgesnn.errors import UsageError
from edgesnn.meters.twins.live import LiveLoad
from edgesnn.meters.twins.load import LoadSource, LoadStep, Recorded, Shape
from edgesnn.names import unknown

#: What is drawn when nothing else is said: 10 mW and 80 mW in turn, marker 0 raised with the latter.
DEFAULT = "square:low=10m,high=80m,period=0.5"
_PREFIX = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3}
_NUMBER = re.compile(r"^([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)([nuµmk]?)(?:W|s|Hz)?$", re.IGNORECASE)
_COMMON = {"ripple": "0", "ripple_hz": "100", "drift": "0"}
#: Parameters of each shape with their defaults; None must be named.
_SHAPES: dict[str, dict[str, str | None]] = {
    "constant": {"power": None},
    "square": {"low": "10m", "high": "80m", "period": "0.5", "duty": "0.5", "marker": "1"},
    "steps": {"at": None, "repeat": "1"},
}


def parse_load(text: str) -> LoadSource:
    """A load from its name and parameters.

    * ``constant:power=50m``
    * ``square:low=10m,high=80m,period=0.5,duty=0.5,marker=1``
    * ``steps:at=10m/0.4;80m/0.1/1,repeat=1``: watts/seconds/markers of each step
    * ``recording:FILE``: the first segment of a recording, once
    * ``live:PORT``: a feed over a socket of this machine, see `edgesnn.meters.twins.live`

    The first three take ``ripple`` (watts), ``ripple_hz`` and ``drift`` (watts a second) too. Numbers may end
    in n, u, m or k.

    Raises:
        UsageError: The text is something else.
        RecordingError: The recording cannot be read.
    """
    name, _, rest = text.partition(":")
    if name == "recording":
        return _recording(rest)
    if name == "live":
        return LiveLoad(_port(rest))
    if name not in _SHAPES:
        raise unknown("load", name, [*_SHAPES, "recording", "live"])
    values = _parameters(name, rest)
    if name == "constant":
        steps: tuple[LoadStep, ...] = (LoadStep(1.0, number(values["power"])),)
        repeat = True
    elif name == "square":
        period, duty = number(values["period"]), number(values["duty"])
        marker = _marker(values["marker"])
        low, high = number(values["low"]), number(values["high"])
        steps = (LoadStep(period * (1 - duty), low), LoadStep(period * duty, high, marker))
        repeat = True
    else:
        steps = tuple(_step(one) for one in values["at"].split(";"))
        repeat = number(values["repeat"]) != 0
    return Shape(
        steps,
        repeat=repeat,
        ripple_w=number(values["ripple"]),
        ripple_hz=number(values["ripple_hz"]),
        drift_w_per_s=number(values["drift"]),
    )


def number(text: str) -> float:
    """A number that may end in a prefix and a unit: ``80m`` and ``80mW`` are 0.08.

    Raises:
        UsageError: It is none.
    """
    match = _NUMBER.match(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no number", limit="for example 0.08, 80m or 80mW")
    return float(match[1]) * _PREFIX[match[2]]


def _parameters(name: str, text: str) -> dict[str, str]:
    known = _SHAPES[name] | _COMMON
    given: dict[str, str] = {}
    for part in text.split(",") if text else []:
        key, equals, value = part.partition("=")
        if not equals and name == "constant" and not given:
            key, value = "power", part
        if key not in known:
            raise unknown(f"parameter of the load '{name}'", key, known)
        given[key] = value
    values: dict[str, str] = {}
    for key, usual in known.items():
        value = given.get(key, usual) or ""
        if not value:
            raise UsageError(f"the load '{name}' needs '{key}'", remedy=f"{name}:{key}=...")
        values[key] = value
    return values


def _step(text: str) -> LoadStep:
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise UsageError(f"the step '{text}' is malformed", limit="WATTS/SECONDS or WATTS/SECONDS/MARKERS")
    return LoadStep(number(parts[1]), number(parts[0]), _marker(parts[2]) if len(parts) == 3 else 0)


def _marker(text: str) -> int:
    value = number(text)
    if value != int(value) or not 0 <= value <= 255:
        raise UsageError("the levels of the marker inputs are a number of 8 bits", actual=text)
    return int(value)


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise UsageError("a live load needs a port", actual=text or "none", limit="live:PORT, 0 to 65535")
    return int(text)


def _recording(text: str) -> Recorded:
    """The first segment; a gap is drawn at the power before it, because a load always draws something."""
    from edgesnn.meters.files.recording import Recording
    from edgesnn.meters.samples.trace import Trace

    if not text:
        raise UsageError("a recorded load needs a file", limit="recording:FILE.npz")
    with Recording(Path(text)) as recording:
        trace = Trace.of_segment(recording.segments[0])
    edges = np.append(trace.block.time_s, trace.stop_s)
    return Recorded(edges, np.maximum(trace.power_w(), 0.0), trace.block.markers)
