"""A meter in a process of its own: ``python -m edgesnn.meters.serve ADDRESS FILE FOLDER``.

Decoding a fast meter beside the work that is being timed would disturb the times, so the profiler leaves
it to this process. It records into FILE (`edgesnn.meters.files.recording`) until its standard input ends or
says ``stop``, and tells what happens in the lines of `edgesnn.children`:

``{"began": {...}}``     the meter streams; what is known of it
``{"sync": [m, a, b]}``  a reading of its clock (seconds) between two of the host's (monotonic nanoseconds)
``{"live": {...}}``      how the power goes since the last such line: `Live`
``{"result": {...}}``    the recording is whole; the account of the stream
``{"error": {...}}``     an error as plain data; what was recorded before stays in FILE

When its standard input ends the meter is closed: a host that dies leaves no supply switched on. FOLDER holds
what nobody needs afterwards, a twin's pseudo-terminal for example; this process removes it at its very end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from edgesnn.children import reply, say
from edgesnn.errors import EdgesnnError, InternalError
from edgesnn.locks import locked
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block, MeterCapability
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture, end_of
from edgesnn.meters.files.recording import Recorder
from edgesnn.meters.opening import open_meter, settings_of
from edgesnn.meters.samples.summary import knows_power, loss_dict
from edgesnn.scratch import hold, release

#: The clock is read this often, and power told.
SYNC_S = 0.25
LIVE_S = 0.1
#: A meter whose host died needs so long to end its recording.
ENDING_S = 10.0
#: Meters that any number of processes may use at once.
UNLOCKED = ("sim", "replay", "csv", "rapl", "battery")


@dataclass(frozen=True, slots=True)
class Live:
    """Power since the last one.

    Attributes:
        meter_s: End of the newest sample on the meter's clock.
        mean_w: Mean power, watts; None where no power is known.
        lowest_w: Lowest sample.
        highest_w: Highest sample.
        lost: Samples lost since the stream began.
        receipt_meter_s: End of the newest sample of the block that came with the least delay.
        receipt_host_ns: When that block came, ``time.monotonic_ns``.
    """

    meter_s: float
    mean_w: float | None
    lowest_w: float | None
    highest_w: float | None
    lost: int
    receipt_meter_s: float
    receipt_host_ns: int


def main(arguments: list[str]) -> int:
    """Record until told to stop; see the module."""
    address, path, folder = arguments
    stop, over = threading.Event(), threading.Event()
    _mind_signals(stop)
    threading.Thread(target=_listen, args=(sys.stdin, stop, over), daemon=True).start()
    held = hold(Path(folder))  # a profiler that is killed leaves it to us
    try:
        return reply(lambda: _guarded(address, Path(path), Path(folder), stop))
    finally:
        over.wait()  # the recording may lie in the folder, and be wanted still
        shutil.rmtree(folder, ignore_errors=True)
        release(held)


def recording_lock(path: Path) -> str:
    """Name of the lock that is held while a recording is written."""
    return f"recording {path.absolute()}"


def _guarded(address: str, path: Path, folder: Path, stop: threading.Event) -> dict[str, Any]:
    try:
        return _record(address, path, folder, stop)
    except EdgesnnError:
        raise
    except Exception as error:
        what = f"internal error of the meter's process: {type(error).__name__}: {error}"
        raise InternalError(what) from error


def _mind_signals(stop: threading.Event) -> None:
    """Ctrl-C reaches the whole group: the profiler hears it and decides. Other signals end the recording."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: stop.set())


def _listen(commands: TextIO, stop: threading.Event, over: threading.Event) -> None:
    for line in commands:
        if line.strip() == "stop":
            stop.set()
    stop.set()
    over.set()


def _record(address: str, path: Path, folder: Path, stop: threading.Event) -> dict[str, Any]:
    """Record; the account of the stream."""
    parsed = MeterAddress.parse(address)
    with ExitStack() as stack:
        if parsed.name not in UNLOCKED:
            stack.enter_context(locked(f"meter {parsed.name}:{parsed.device}", f"the meter '{parsed}'"))
        name = f"the recording '{path.name}'"  # one whose host died needs a while to end
        stack.enter_context(locked(recording_lock(path), name, wait_s=ENDING_S))
        tempfile.tempdir = str(folder)  # after the locks, which all processes look for in one place
        meter = open_meter(address)
        recorder = stack.enter_context(Recorder(path, replace=True))
        events = capture(meter, Plan(settings_of(address)), stop.is_set)
        if isinstance(events, Generator):  # on every path the meter is closed before the recording is
            stack.enter_context(closing(events))
        synced_ns = told_ns = 0
        live = _Living()
        for event in events:
            if isinstance(event, SegmentStart):
                recorder.begin_segment(event.info)
                live.voltage_v = event.settings.voltage_v
                _say({"began": _began(event)})
            elif isinstance(event, SegmentEnd):
                recorder.end_segment(event.loss)
                ended = loss_dict(event.loss)
            else:
                recorder.add(event, meter.loss)
                live.add(event)
                now_ns = time.monotonic_ns()
                due = MeterCapability.SAMPLE_CLOCK in meter.capabilities and now_ns - synced_ns > SYNC_S * 1e9
                if due and not stop.is_set():  # the last block comes when the meter has stopped
                    synced_ns = now_ns
                    pair = meter.sync()
                    _say({"sync": [pair.meter_s, pair.host_before_ns, pair.host_after_ns]})
                if now_ns - told_ns > LIVE_S * 1e9 and live.came:
                    told_ns = now_ns
                    _say({"live": asdict(live.take(meter.loss.missing + meter.loss.suspected))})
    return ended


def _began(begun: SegmentStart) -> dict[str, Any]:
    info = begun.info
    return {
        "meter": asdict(info.meter),
        "settings": asdict(info.settings),
        "accuracy": info.accuracy,
        "capabilities": list(info.capabilities),
        "host_ns": info.host_ns,
    }


class _Living:
    """What the next `Live` will say."""

    def __init__(self) -> None:
        self.voltage_v: float | None = None
        self.came = False
        self._end_s = self._joules = self._seconds = 0.0
        self._lowest_w, self._highest_w = float("inf"), float("-inf")
        self._receipt: tuple[float, float, int] | None = None

    def add(self, block: Block) -> None:
        if not len(block):
            return
        self.came = True
        self._end_s = end_of(block)
        ahead_s = self._end_s - block.host_ns / 1e9  # a receipt is late, never early
        if self._receipt is None or ahead_s > self._receipt[0]:
            self._receipt = (ahead_s, self._end_s, block.host_ns)
        if not knows_power(block, self.voltage_v):
            return
        watts = block.watts(self.voltage_v)
        self._joules += float((watts * block.duration_s).sum())
        lengths = block.duration_s
        self._seconds += lengths * len(block) if isinstance(lengths, float) else float(lengths.sum())
        self._lowest_w = min(self._lowest_w, float(watts.min()))
        self._highest_w = max(self._highest_w, float(watts.max()))

    def take(self, lost: int) -> Live:
        assert self._receipt is not None
        known = self._seconds > 0
        _, receipt_s, receipt_ns = self._receipt
        told = Live(
            self._end_s,
            self._joules / self._seconds if known else None,
            self._lowest_w if known else None,
            self._highest_w if known else None,
            lost,
            receipt_s,
            receipt_ns,
        )
        self._clear()
        return told

    def _clear(self) -> None:
        self._joules = self._seconds = 0.0
        self._lowest_w, self._highest_w = float("inf"), float("-inf")
        self._receipt = None
        self.came = False


def _say(message: dict[str, Any]) -> None:
    """Tell the profiler; nobody hears it when that is gone, and then the end of the input ends this too."""
    try:
        say(message)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
