"""The finished windows of a session on disk: an interrupted session goes on from there.

``RUN.json.session/`` holds ``session.json`` (what was profiled, how), a ``window-NN.npz`` for every finished
window and a ``meter-NN.npz`` for every part, which is what one process measured. Every file is written whole
or not at all, except a recording, which can be read up to where it was cut off.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, JsonValue

from edgesnn.errors import EdgesnnError, OutputError, RecordError, RecordingError, UsageError
from edgesnn.locks import locked
from edgesnn.meters.base import ClockPair, MeterCapability
from edgesnn.meters.files.recording import Recording
from edgesnn.meters.samples.summary import loss_dict
from edgesnn.meters.serve import ENDING_S, recording_lock
from edgesnn.npz import arrays_from
from edgesnn.profiler.latency.steps import MeasuredWindow
from edgesnn.profiler.moments import Moment
from edgesnn.profiler.power.evaluation import HostSpan, Lap
from edgesnn.profiler.power.parts import SessionPart, covers, middle_of_rest_ns, read_stream
from edgesnn.record.power import Rung

SCHEMA: Final = "edgesnn.session/2"
_MAX_WINDOW_BYTES = 2**29  # unpacked


class _MeterIdentity(BaseModel):
    """What must be the same instrument, set alike, when a session goes on."""

    name: str
    model: str
    serial_number: str | None
    simulated: bool
    settings: dict[str, JsonValue]
    accuracy: dict[str, JsonValue]


class _SessionFile(BaseModel):
    """``session.json``: what was profiled, and how."""

    schema_name: Literal["edgesnn.session/2"] = Field(alias="schema")
    key: dict[str, JsonValue]
    steps: int | None
    meter: _MeterIdentity | None


class _StoredView(BaseModel):
    """`MeterView` as it is written, without its receipts, which are an array beside it."""

    span: HostSpan
    lap: Lap
    rung: Rung
    syncs: list[tuple[float, int, int]]


class _WindowHead(BaseModel):
    """``head`` of ``window-NN.npz``: what stands beside the times; steps before ``lead`` do not count."""

    part: int
    began: Moment
    duration_ns: int
    seconds: float
    outside_ms_per_token: float
    output_sha256: str
    lead: int
    seen: _StoredView | None


@dataclass(frozen=True, slots=True, eq=False)
class MeterView:
    """What the meter's side knows of a window.

    Attributes:
        span: Host times around it, by the clock of the process that measured it.
        lap: What the device says of it, likewise.
        rung: How it is to be found on the meter's clock.
        syncs: Readings of the meter's clock until its end.
        receipts: Meter time of newest samples and host time of their receipt until its end, seconds.
    """

    span: HostSpan
    lap: Lap
    rung: Rung
    syncs: tuple[ClockPair, ...]
    receipts: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class StoredWindow:
    """A finished window.

    Attributes:
        part: Number of the part that measured it.
        window: What the runner measured, its times moved onto this process's clock.
        view: What the meter's side knows of it; None without a meter.
    """

    part: int
    window: MeasuredWindow
    view: MeterView | None


class SessionStore:
    """The folder of one session; use it in a ``with`` statement, which leaves no folder without a window.

    Args:
        folder: Where it is or shall be.
        key: What a session must agree in to go on, as plain data by name.
        resume: Whether to go on, or to begin again.

    Attributes:
        folder: The folder.
        steps: Steps of every window, once known.
        windows: The finished windows.
        part: Number of the part that this process measures.

    Raises:
        UsageError: The folder holds a session of something else.
        RecordError: It holds something that is no session.
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], *, resume: bool = True) -> None:
        self.folder = folder
        self._key: dict[str, JsonValue] = json.loads(json.dumps(key))
        self.steps: int | None = None
        self.windows: list[StoredWindow] = []
        self._parts: dict[int, SessionPart] = {}
        self._meter: _MeterIdentity | None = None
        self._next = self.part = 0
        if not resume:
            remove_session(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from None
        if any(folder.iterdir()):
            self._load()
        else:
            self._save()

    @property
    def recording(self) -> Path:
        """Where the meter of this process records."""
        return self._recording(self.part)

    @property
    def parts(self) -> tuple[SessionPart, ...]:
        """The earlier parts whose windows are kept, in order."""
        return tuple(self._parts[number] for number in sorted(self._parts))

    def check_meter(self, info: Mapping[str, Any]) -> None:
        """Refuse another instrument than that of the earlier parts.

        Args:
            info: ``began`` of `edgesnn.meters.serve`.

        Raises:
            UsageError: It is another one, or is set otherwise.
        """
        meter = _MeterIdentity.model_validate({**info, **info["meter"]})
        if self._meter is None or not self.windows:
            self._meter = meter
            self._save()
        elif self._meter != meter:
            raise _differs(self.folder, self._meter.model_dump(), meter.model_dump(), "meter's ")

    def plan(self, steps: int) -> int:
        """Steps of every window: what an earlier part began with, else what is wanted now."""
        if self.steps is None or not self.windows:
            self.steps = steps
            self._save()
        return self.steps

    def add(self, window: MeasuredWindow, view: MeterView | None) -> None:
        """Keep a window that was just finished.

        Args:
            window: What the runner measured.
            view: What the meter's side knows of it; None without a meter.

        Raises:
            OutputError: It cannot be written.
        """
        stored = None
        if view is not None:
            syncs = [(one.meter_s, one.host_before_ns, one.host_after_ns) for one in view.syncs]
            stored = _StoredView(span=view.span, lap=view.lap, rung=view.rung, syncs=syncs)
        head = _WindowHead(
            part=self.part,
            began=Moment.at(window.started_ns),
            duration_ns=window.ended_ns - window.started_ns,
            seconds=window.seconds,
            outside_ms_per_token=window.outside_ms_per_token,
            output_sha256=window.output_sha256,
            lead=len(window.latencies_ms) - len(window.counted_ms),
            seen=stored,
        )
        buffer = io.BytesIO()
        np.savez(
            buffer,
            head=np.frombuffer(head.model_dump_json().encode(), np.uint8),
            latencies_ms=window.latencies_ms,
            receipts=np.array(() if view is None else view.receipts, np.float64).reshape(-1, 2),
        )
        self._write(f"window-{self._next:03d}.npz", buffer.getvalue())
        self._next += 1
        self.windows.append(StoredWindow(self.part, window, view))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.windows:
            with contextlib.suppress(OutputError):  # the error on its way out is the one to be told
                remove_session(self.folder)

    def _recording(self, part: int) -> Path:
        return self.folder / f"meter-{part:02d}.npz"

    def _load(self) -> None:
        stored = _session(self.folder)
        found, ended_ns = {}, None
        for path in sorted(self.folder.glob("window-*.npz")):
            found[path] = _window(path, ended_ns)
            ended_ns = found[path].window.ended_ns
        if found and stored.key != self._key:
            raise _differs(self.folder, stored.key, self._key, "")
        self.steps, self._meter = stored.steps, stored.meter
        for number in sorted({one.part for one in found.values()}):
            mine = [one for one in found.values() if one.part == number]
            self.windows += mine if mine[0].view is None else self._covered(number, mine)
        self.part = 1 + max((one.part for one in found.values()), default=-1)
        self._next = len(found)
        recordings = tuple(self._recording(part).name for part in self._parts)
        for path in self.folder.glob("*.npz*"):
            kept = path.name.startswith(recordings) if path not in found else found[path] in self.windows
            if not kept:
                path.unlink()
        self._save()

    def _covered(self, number: int, windows: list[StoredWindow]) -> list[StoredWindow]:
        """Those whose samples are on the disk; the part behind them is kept."""
        path = self._recording(number)
        with locked(recording_lock(path), f"the recording '{path}'", wait_s=ENDING_S):
            path = path if path.exists() else path.with_name(path.name + ".part")
            while views := [one.view for one in windows if one.view is not None]:
                try:
                    part = _part(path, views)
                except RecordingError:
                    return []
                if covers(part.stream, views[-1].span):
                    self._parts[number] = part
                    return windows
                windows = windows[:-1]
        return []

    def _save(self) -> None:
        stored = _SessionFile(schema=SCHEMA, key=self._key, steps=self.steps, meter=self._meter)
        self._write("session.json", (stored.model_dump_json(indent=2, by_alias=True) + "\n").encode())

    def _write(self, name: str, data: bytes) -> None:
        path, fresh = self.folder / name, self.folder / f"{name}.new"
        try:
            fresh.write_bytes(data)
            os.replace(fresh, path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise _unwritable(path, error) from None


def session_folder(record: Path) -> Path:
    """Where the session behind a run record is kept until the record is written."""
    return record.with_name(record.name + ".session")


def _session(folder: Path) -> _SessionFile:
    try:
        return _SessionFile.model_validate_json((folder / "session.json").read_bytes())
    except (OSError, ValueError):
        raise RecordError(
            f"'{folder}' holds no session of this version",
            limit=SCHEMA,
            remedy="start again with --no-resume, or name another --output",
        ) from None


def _part(path: Path, views: Sequence[MeterView]) -> SessionPart:
    """The part behind windows, its stream up to the middle of the idle stretch after the last one.

    Raises:
        RecordingError: There is no recording, or no sample in it.
    """
    last = views[-1]
    with Recording(path) as recording:
        segment = recording.segments[-1]
    known = segment.info
    stream = read_stream(
        path,
        last.syncs,
        last.receipts,
        from_ns=views[0].span.idle_from_ns,
        until_ns=middle_of_rest_ns(last.span),
        pulses=MeterCapability.MARKER_PULSES in known.capabilities,
    )
    info = {
        "meter": asdict(known.meter),
        "settings": asdict(known.settings),
        "accuracy": known.accuracy,
        "capabilities": list(known.capabilities),
        "host_ns": known.host_ns,
    }
    spans, laps = tuple(one.span for one in views), tuple(one.lap for one in views)
    return SessionPart(stream, spans, laps, last.rung, info, loss_dict(segment.loss))


def _window(path: Path, not_before_ns: int | None) -> StoredWindow:
    try:
        with path.open("rb") as stream:
            arrays = arrays_from(stream, _MAX_WINDOW_BYTES)
        head = _WindowHead.model_validate_json(arrays["head"].tobytes())
        latencies_ms, receipts = arrays["latencies_ms"], arrays["receipts"]
        began_ns = head.began.here(not_before_ns)
        window = MeasuredWindow(
            latencies_ms=latencies_ms,
            counted_ms=latencies_ms[head.lead :],
            started_ns=began_ns,
            ended_ns=began_ns + head.duration_ns,
            seconds=head.seconds,
            outside_ms_per_token=head.outside_ms_per_token,
            output_sha256=head.output_sha256,
        )
        view = None
        if head.seen is not None:
            syncs = tuple(ClockPair(*one) for one in head.seen.syncs)
            seen, arrived = head.seen, tuple((float(meter), float(host)) for meter, host in receipts)
            view = MeterView(seen.span, seen.lap, seen.rung, syncs, arrived)
        return StoredWindow(head.part, window, view)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordError(
            f"'{path}' is no window of a session",
            actual=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy="start again with --no-resume",
        ) from None


def _differs(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any], whose: str) -> EdgesnnError:
    names = [name for name in {**now, **was} if was.get(name) != now.get(name)]
    return UsageError(
        f"'{folder}' holds an interrupted session that differs in the {whose}{', '.join(names)}",
        actual="; ".join(f"{name} {_brief(now.get(name))}" for name in names),
        limit="; ".join(f"{name} {_brief(was.get(name))}" for name in names),
        remedy="repeat the command as it was, name another --output, or start again with --no-resume",
    )


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the session cannot be kept in '{path}'",
        actual=error.strerror or str(error),
        remedy="make room, or choose another path with --output",
    )


def remove_session(folder: Path) -> None:
    """Remove the folder of a session; one that is not there is no error.

    Raises:
        RecordError: The folder holds something else.
        OutputError: It cannot be removed.
    """
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / "session.json").is_file():  # nobody else's folder
        raise RecordError(f"'{folder}' holds no session", remedy="name another --output")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be removed", actual=error.strerror or str(error)) from None
