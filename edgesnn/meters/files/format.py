"""What a recording holds, schema ``edgesnn.recording/1``: a ``.npz`` file that ``numpy.load`` reads too.

====================================  ==============================================================
member                                content
====================================  ==============================================================
``s000/info.json``                    segment 0: instrument, settings, accuracy, host time at its start
``s000/c00000/times.npy``             float64 ``[r, 4]``: samples, start, step and length of each run,
                                      seconds (or ``time_s.npy`` and ``duration_s.npy`` where samples
                                      come irregularly)
``s000/c00000/current_a.npy`` ...     the columns of `edgesnn.meters.base.Block` that the meter gives
``s000/c00000/chunk.json``            samples, span, lost, the account of the stream so far
``recording.json``                    all of it together, and the index of the chunks; written last
====================================  ==============================================================

A segment ends where the meter's clock ends (it was unplugged); its successor counts from 0 again. A chunk
is whole when its ``chunk.json`` is there, which is written after its columns.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordingError
from edgesnn.meters.base import Block, Loss, MeterCapability, MeterInfo, Settings
from edgesnn.npz import array_from

SCHEMA = "edgesnn.recording/1"
#: Times of a chunk are kept as runs when every sample is this near to them: a ten-thousandth of the
#: shortest sample that any supported instrument takes.
RUN_TOLERANCE_S = 1e-9
_COLUMNS = ("current_a", "voltage_v", "power_w", "markers", "status", "range_index")
#: Names of the files of a chunk, without their ending.
COLUMN_FILES = frozenset(("times", "time_s", "duration_s", *_COLUMNS))
#: Most samples of a chunk: one column of them is no larger than `MAX_MEMBER_BYTES` of the container.
MAX_CHUNK_SAMPLES = 1 << 24
_SMALL = frozenset(("markers", "status", "range_index"))
#: A run is worth its place when it covers so many samples on average.
_SAMPLES_PER_RUN = 16

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What is known when a segment begins.

    Attributes:
        meter: The instrument.
        settings: Settings in force.
        accuracy: The accuracy model as plain data (`MeterAccuracy.model_dump`).
        capabilities: Values of `MeterCapability`.
        started_at: UTC time of the start, ISO 8601.
        host_ns: Host's monotonic clock at the start.
    """

    meter: MeterInfo
    settings: Settings
    accuracy: dict[str, Any]
    capabilities: tuple[MeterCapability, ...]
    started_at: str
    host_ns: int


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """What is known of a chunk without its columns.

    Attributes:
        samples: How many.
        first_s: Start of the first.
        end_s: End of the last.
        lost: Samples known to be missing before or between them.
        host_ns: Host time at which the last of them came.
        loss: The account of the stream when the chunk was closed.
    """

    samples: int
    first_s: float
    end_s: float
    lost: int
    host_ns: int
    loss: Loss


def join(blocks: Sequence[Block]) -> Block:
    """Blocks of one stream as one.

    Args:
        blocks: At least one, in order, with the same columns.
    """

    def together(name: str) -> Any:
        columns = [getattr(block, name) for block in blocks]
        return None if columns[0] is None else np.concatenate(columns)

    durations = {block.duration_s for block in blocks if isinstance(block.duration_s, float)}
    if len(durations) == 1 and all(isinstance(block.duration_s, float) for block in blocks):
        duration: float | FloatArray = durations.pop()
    else:
        duration = np.concatenate([np.broadcast_to(b.duration_s, len(b)) for b in blocks])
    return Block(
        np.concatenate([block.time_s for block in blocks]), duration,
        together("current_a"), together("voltage_v"), together("power_w"),
        together("markers"), together("status"), together("range_index"),
        sum(block.lost for block in blocks), blocks[-1].host_ns,
    )  # fmt: skip


def columns_of(block: Block) -> tuple[str, ...]:
    """Names of the columns that a block has."""
    return tuple(name for name in _COLUMNS if getattr(block, name) is not None)


def encode(block: Block) -> dict[str, bytes]:
    """The columns of a chunk as ``.npy`` files, by name of the file."""
    members = {}
    runs = _runs(block)
    if runs is None:
        members["time_s.npy"] = _npy(block.time_s)
        members["duration_s.npy"] = _npy(np.broadcast_to(block.duration_s, len(block)))
    else:
        members["times.npy"] = _npy(runs)
    for name in columns_of(block):
        kind = np.uint8 if name in _SMALL else np.float32
        members[f"{name}.npy"] = _npy(np.asarray(getattr(block, name), kind))
    return members


def decode(read: Callable[[str], bytes | None], chunk: ChunkInfo, where: str) -> Block:
    """The block of a chunk.

    Args:
        read: Gives a file of the chunk by name, None where there is none.
        chunk: What ``chunk.json`` says of it.
        where: Names the chunk in errors.

    Raises:
        RecordingError: The columns do not fit together.
    """
    count = chunk.samples
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        data = read(f"{name}.npy")
        kind = np.uint8 if name in _SMALL else np.float32
        columns[name] = None if data is None else _column(data, count, kind, where)
    for name in ("markers", "status"):
        if columns[name] is None:
            raise RecordingError(f"{where} has no column '{name}'")
    runs = read("times.npy")
    duration: float | FloatArray
    if runs is not None:
        time_s, duration = _unroll(_array(runs, where), count, where)
    else:
        time_s = _column(read("time_s.npy"), count, np.float64, where)
        duration = _column(read("duration_s.npy"), count, np.float64, where)
    lengths = np.broadcast_to(np.asarray(duration, np.float64), count)
    span = np.array([time_s[0] - chunk.first_s, time_s[-1] + lengths[-1] - chunk.end_s])
    # a time that is kept as a run is right to its tolerance
    if not (np.abs(span) <= 2 * RUN_TOLERANCE_S).all() or not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise RecordingError(f"the times of {where} are not those of its account")
    if not bool(np.all(np.diff(time_s) >= 0)):
        raise RecordingError(f"the times of {where} fall")
    return Block(time_s, duration, **columns, lost=chunk.lost, host_ns=chunk.host_ns)


def segment_json(info: SegmentInfo) -> dict[str, Any]:
    """A segment's beginning as plain data."""
    return {
        "schema": SCHEMA,
        "simulated": info.meter.simulated,
        "meter": plain(asdict(info.meter)),
        "settings": asdict(info.settings),
        "accuracy": info.accuracy,
        "capabilities": sorted(one.value for one in info.capabilities),
        "started_at": info.started_at,
        "host_ns": info.host_ns,
    }


def plain(value: Any) -> Any:
    """A value that JSON can carry; a number that is none (an instrument's constant, say) becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def segment_from(data: dict[str, Any], where: str) -> SegmentInfo:
    """A segment's beginning from plain data.

    Raises:
        RecordingError: The schema is another one, or something is missing.
    """
    if data.get("schema") != SCHEMA:
        raise RecordingError(
            f"{where} has another schema",
            actual=str(data.get("schema")),
            limit=SCHEMA,
            remedy="read it with the version of edgesnn that wrote it",
        )
    try:
        known = {one.value for one in MeterCapability}
        return SegmentInfo(
            MeterInfo(**data["meter"]),
            Settings(**data["settings"]),
            dict(data["accuracy"]),
            tuple(MeterCapability(one) for one in data["capabilities"] if one in known),
            str(data["started_at"]),
            int(data["host_ns"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{where} is incomplete", actual=f"{type(error).__name__}: {error}") from None


def chunk_json(chunk: ChunkInfo) -> dict[str, Any]:
    """A chunk's description as plain data."""
    return asdict(chunk)


def chunk_from(data: dict[str, Any], where: str) -> ChunkInfo:
    """A chunk's description from plain data.

    Raises:
        RecordingError: Something is missing.
    """
    try:
        loss = loss_from(data["loss"], where)
        if not 0 < int(data["samples"]) <= MAX_CHUNK_SAMPLES:
            raise ValueError(f"a chunk of {data['samples']} samples")
        return ChunkInfo(
            int(data["samples"]), float(data["first_s"]), float(data["end_s"]),
            int(data["lost"]), int(data["host_ns"]), loss,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"{where} is incomplete", actual=f"{type(error).__name__}: {error}") from None


def loss_from(data: dict[str, Any], where: str) -> Loss:
    """An account from plain data.

    Raises:
        RecordingError: Something is missing.
    """
    try:
        return Loss(**{**data, "reasons": tuple(data["reasons"])})
    except (KeyError, TypeError) as error:
        raise RecordingError(f"{where} has no whole account", actual=str(error)) from None


def read_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RecordingError: It is none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RecordingError(f"{where} is no JSON object")
    return value


def _runs(block: Block) -> FloatArray | None:
    """Runs of equal steps, float64 ``[r, 4]``, or None where the samples come irregularly."""
    times, count = block.time_s, len(block)
    lengths = np.broadcast_to(np.asarray(block.duration_s, np.float64), count)
    if count == 1:
        return np.array([[1.0, times[0], lengths[0], lengths[0]]])
    steps = np.diff(times)
    usual = float(np.median(steps))
    breaks = np.flatnonzero((np.abs(steps - usual) > RUN_TOLERANCE_S) | (np.diff(lengths) != 0)) + 1
    if breaks.size * _SAMPLES_PER_RUN > count:
        return None
    firsts = np.concatenate([[0], breaks])
    counts = np.diff(np.concatenate([firsts, [count]]))
    last = times[firsts + counts - 1]
    step = np.where(counts > 1, (last - times[firsts]) / np.maximum(counts - 1, 1), usual)
    runs = np.column_stack([counts.astype(np.float64), times[firsts], step, lengths[firsts]])
    rebuilt = _rolled_out(runs)
    return runs if float(np.max(np.abs(rebuilt - times))) <= RUN_TOLERANCE_S else None


def _rolled_out(runs: FloatArray) -> FloatArray:
    counts = runs[:, 0].astype(np.int64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(runs[:, 1], counts) + within * np.repeat(runs[:, 2], counts), np.float64)


def _unroll(runs: npt.NDArray[Any], count: int, where: str) -> tuple[FloatArray, float | FloatArray]:
    fits = runs.ndim == 2 and runs.shape[1] == 4 and runs.dtype == np.float64
    if not fits or not bool(np.all(runs[:, 0] >= 1)) or int(runs[:, 0].sum()) != count:
        raise RecordingError(f"the times of {where} do not fit its samples")
    if len({float(one) for one in runs[:, 3]}) == 1:
        return _rolled_out(runs), float(runs[0, 3])
    return _rolled_out(runs), np.repeat(runs[:, 3], runs[:, 0].astype(np.int64))


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes, where: str) -> npt.NDArray[Any]:
    try:
        return array_from(data)
    except ValueError as error:
        raise RecordingError(f"{where} is damaged", actual=str(error)) from None


def _column(data: bytes | None, count: int, kind: Any, where: str) -> npt.NDArray[Any]:
    if data is None:
        raise RecordingError(f"{where} has no times")
    column = _array(data, where)
    if column.shape != (count,) or column.dtype != np.dtype(kind):
        raise RecordingError(
            f"a column of {where} does not fit its samples",
            actual=f"{column.dtype} {list(column.shape)}",
            limit=f"{np.dtype(kind)} [{count}]",
        )
    return column
