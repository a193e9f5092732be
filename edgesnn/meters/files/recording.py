"""Recordings: a file that grows by one chunk every few seconds, and its reader. Format: `format`.

A `Recorder` packs and writes in a thread of its own, so that a slow disk does not hold up the meter; what
waits for the disk is bounded. While it is written the file is called ``NAME.part``; it takes its name when
it is whole. A ``.part`` left by a crash is a readable recording up to its last whole chunk.

The reader holds what is there against the account that was stored: the order of the parts, the chunks of
every segment, the samples and the span of every chunk. What differs is an error, never a shorter recording.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgesnn import __version__
from edgesnn.closing import Closing
from edgesnn.errors import OutputError, RecordingError
from edgesnn.meters.base import Block, Loss
from edgesnn.meters.files.format import (
    COLUMN_FILES,
    SCHEMA,
    ChunkInfo,
    SegmentInfo,
    chunk_from,
    chunk_json,
    columns_of,
    decode,
    encode,
    join,
    loss_from,
    read_json,
    segment_from,
    segment_json,
)
from edgesnn.meters.files.zip import ZipReader, ZipWriter
from edgesnn.meters.samples.accuracy import MeterAccuracy

#: A chunk is closed when it has so many samples, or when its first one is so old (host time).
CHUNK_SAMPLES = 1 << 19
CHUNK_NS = 5_000_000_000
#: Chunks that may wait for the disk; at 100 kS/s they are 20 s and 40 MB.
WAITING_CHUNKS = 4
#: Deflate's quickest level: 0.6 to 0.9 % of a core at 100 kS/s for 28 to 74 % of the size of the currents.
LEVEL = 1

_Job = list[tuple[str, bytes | Block]]


class Recorder(Closing):
    """Writes a recording; make it in a ``with`` statement.

    Args:
        path: The file; ``.npz`` is usual.
        replace: Whether an older file of that name may be replaced.

    Raises:
        OutputError: The file exists, or cannot be written.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        if path.exists() and not replace:
            raise OutputError(f"'{path}' exists", remedy="name another file, or say --force")
        try:
            self._file = self._open(replace)
        except FileExistsError:
            raise OutputError(
                f"'{self._part}' exists: another recording is running, or one was cut off",
                remedy=f"edgesnn meter record 'replay:{self._part}?speed=max' -o NEW.npz; or --force",
            ) from None
        except OSError as error:
            raise OutputError(f"cannot write '{path}'", actual=error.strerror or str(error)) from None
        self._zip = ZipWriter(self._file)
        self._segments: list[dict[str, Any]] = []
        self._waiting: list[Block] = []
        self._since_ns = 0
        self._loss = Loss(0)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(WAITING_CHUNKS)
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def begin_segment(self, info: SegmentInfo) -> None:
        """A meter was started: what follows has its clock."""
        self._flush()
        self._loss = Loss(0)
        data = segment_json(info)
        self._segments.append({"info": data, "chunks": 0, "loss": None})
        self._put([(f"{_segment(len(self._segments) - 1)}/info.json", _json(data))])

    def add(self, block: Block, loss: Loss) -> None:
        """Take samples; they are on the disk at most `CHUNK_NS` later.

        Args:
            block: What the meter gave.
            loss: Its account so far.

        Raises:
            OutputError: Earlier samples could not be written; what was written stays readable.
        """
        if self._waiting and columns_of(block) != columns_of(self._waiting[0]):
            self._flush()
        if not self._waiting:
            self._since_ns = block.host_ns
        if len(block):
            self._waiting.append(block)
        self._loss = loss
        full = sum(map(len, self._waiting)) >= CHUNK_SAMPLES
        if full or block.host_ns - self._since_ns >= CHUNK_NS:
            self._flush()
        self._raise_failure()

    def end_segment(self, loss: Loss) -> None:
        """The meter was stopped, or is gone; its whole account."""
        self._loss = loss
        self._flush()
        self._segments[-1]["loss"] = asdict(loss)

    def close(self) -> None:
        """Write the index and give the file its name; safe to call twice.

        Raises:
            OutputError: Something could not be written; what was written stays readable.
        """
        if self._closed:
            return
        self._closed = True
        self._flush()
        index: dict[str, Any] = {"schema": SCHEMA, "edgesnn_version": __version__, "segments": self._segments}
        index["simulated"] = any(segment["info"]["simulated"] for segment in self._segments)
        self._put([("recording.json", _json(index))])
        self._put(None)
        self._thread.join()
        try:
            if self._failure is None:
                self._zip.finish()
        except OSError as error:
            self._failure = error
        if self._failure is not None:
            self._cut()
        with contextlib.suppress(OSError):
            self._file.close()
        os.replace(self._part, self._path)
        self._raise_failure()

    def discard(self) -> None:
        """Leave nothing behind, and an older file of that name as it was; for a recording without samples."""
        if self._closed:
            return
        self._closed = True
        self._put(None)
        self._thread.join()
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(OutputError):  # the error on its way out is the one to be told
            self.close()

    def _open(self, replace: bool) -> io.RawIOBase:
        return open(self._part, "wb" if replace else "xb", buffering=0)

    def _flush(self) -> None:
        """Hand what waits to the writer."""
        if not self._waiting:
            return
        block = join(self._waiting)
        self._waiting = []
        length = block.duration_s if isinstance(block.duration_s, float) else float(block.duration_s[-1])
        end_s = float(block.time_s[-1]) + length
        chunk = ChunkInfo(len(block), float(block.time_s[0]), end_s, block.lost, block.host_ns, self._loss)
        folder = _chunk(len(self._segments) - 1, self._segments[-1]["chunks"])
        self._segments[-1]["chunks"] += 1
        self._put([(folder, block), (f"{folder}/chunk.json", _json(chunk_json(chunk)))])

    def _put(self, job: _Job | None) -> None:
        self._jobs.put(job)  # waits while the disk is behind: the meter then accounts for what it loses

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._failure is not None:
                continue
            try:
                for name, content in job:
                    members = encode(content) if isinstance(content, Block) else {"": content}
                    for suffix, data in members.items():
                        self._zip.add(f"{name}/{suffix}" if suffix else name, data, level=LEVEL)
            except BaseException as error:  # told by the next add() or close()
                self._failure = error

    def _cut(self) -> None:
        """Leave whole members only; without room for the directory the reader finds them by their headers."""
        with contextlib.suppress(OSError):
            self._file.truncate(self._zip.end)
            self._file.seek(self._zip.end)
            self._zip.finish()

    def _raise_failure(self) -> None:
        error = self._failure
        if error is None:
            return
        if not isinstance(error, OSError):
            raise error
        raise OutputError(
            f"the recording '{self._path}' could not be written to its end",
            actual=error.strerror or str(error),
            remedy="make room; what was written before stays readable",
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class RecordingSegment:
    """A stretch of a recording with one clock.

    Attributes:
        info: What was known at its start.
        chunks: Its chunks, in order.
        loss: The account of its stream.
        complete: Whether the meter was stopped; else the recording was cut off in it.
    """

    info: SegmentInfo
    chunks: tuple[ChunkInfo, ...]
    loss: Loss
    complete: bool
    _archive: ZipReader
    _number: int

    @property
    def samples(self) -> int:
        """Samples in it."""
        return sum(chunk.samples for chunk in self.chunks)

    @property
    def end_s(self) -> float:
        """End of its last sample on the meter's clock; 0 where there is none."""
        return self.chunks[-1].end_s if self.chunks else 0.0

    @property
    def accuracy(self) -> MeterAccuracy:
        """That of the instrument when the recording was made, a calibration included.

        Raises:
            RecordingError: The recording holds none that can be.
        """
        try:
            return MeterAccuracy.model_validate(self.info.accuracy, strict=False)
        except ValueError as error:
            raise RecordingError(
                "the recording has no accuracy of its instrument", actual=str(error)
            ) from None

    def blocks(self, start_s: float = 0.0, stop_s: float = float("inf")) -> Iterator[Block]:
        """The samples, one chunk at a time; only one chunk is in memory.

        Args:
            start_s: Chunks that end before it are passed over.
            stop_s: Chunks that begin after it too.

        Raises:
            RecordingError: A chunk is damaged.
        """
        for index, chunk in enumerate(self.chunks):
            if chunk.end_s <= start_s or chunk.first_s >= stop_s:
                continue
            folder = _chunk(self._number, index)

            def read(name: str, folder: str = folder) -> bytes | None:
                member = f"{folder}/{name}"
                return self._archive.read(member) if member in self._archive.names else None

            yield decode(read, chunk, f"chunk '{folder}' of the recording")


class Recording(Closing):
    """Reads a recording lazily; make it in a ``with`` statement.

    Args:
        path: The file.

    Attributes:
        segments: Its segments.
        cut_off: Whether the end of the file is missing; what is whole was recovered.

    Raises:
        RecordingError: It cannot be read, or is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = ZipReader(path)
        try:
            self.cut_off = "recording.json" not in self._archive.names
            self.segments = tuple(self._segments())
        except BaseException:
            self._archive.close()
            raise

    @property
    def simulated(self) -> bool:
        """Whether any of it was taken from a twin."""
        return any(segment.info.meter.simulated for segment in self.segments)

    def close(self) -> None:
        self._archive.close()

    def _segments(self) -> Iterator[RecordingSegment]:
        counts = self._chunks()
        accounts: list[Any] = [None] * len(counts)
        if not self.cut_off:
            accounts = self._json("recording.json").get("segments", [])
            told = [one.get("chunks") if isinstance(one, dict) else None for one in accounts]
            if told != counts:
                raise self._archive.damaged(f"it holds {counts} chunks by segment, its account says {told}")
        for number, account in enumerate(accounts):
            where = f"segment {number} of '{self.path}'"
            data = self._json(f"{_segment(number)}/info.json")
            info = segment_from(data, where)
            if account is not None and account.get("info") != data:
                raise self._archive.damaged(f"the beginning of segment {number} is not that of its account")
            chunks = [
                chunk_from(self._json(f"{_chunk(number, k)}/chunk.json"), where)
                for k in range(counts[number])
            ]
            whole = None if account is None else account.get("loss")
            loss = loss_from(whole, where) if whole else chunks[-1].loss if chunks else Loss(0)
            if self.cut_off and number == len(accounts) - 1:
                end = f"{chunks[-1].end_s:.6g} s" if chunks else "its beginning"
                loss = replace(loss, reasons=(*loss.reasons, f"the recording was cut off after {end}"))
            yield RecordingSegment(info, tuple(chunks), loss, whole is not None, self._archive, number)

    def _chunks(self) -> list[int]:
        """Chunks by segment, from the names of the parts, in the order in which they were written.

        Raises:
            RecordingError: A part is not where it belongs.
        """
        counts: list[int] = []
        opened = False
        names = list(self._archive.names)
        if names[0] != f"{_segment(0)}/info.json":
            raise RecordingError(f"'{self.path}' is no recording", limit=f"a file of the schema {SCHEMA}")
        for place, name in enumerate(names):
            folder = _chunk(len(counts) - 1, counts[-1]) if counts else ""
            if name == f"{_segment(len(counts))}/info.json" and not opened:
                counts.append(0)
            elif name == f"{folder}/chunk.json" and opened:
                counts[-1], opened = counts[-1] + 1, False
            elif counts and name in {f"{folder}/{one}.npy" for one in COLUMN_FILES}:
                opened = True
            elif not (name == "recording.json" and not opened and place == len(names) - 1):
                raise self._archive.damaged(f"its part '{name}' is not where it belongs")
        return counts

    def _json(self, name: str) -> dict[str, Any]:
        return read_json(self._archive.read(name), f"'{name}' of '{self.path}'")


def _segment(number: int) -> str:
    return f"s{number:03}"


def _chunk(segment: int, number: int) -> str:
    return f"{_segment(segment)}/c{number:05}"


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, allow_nan=False).encode()
