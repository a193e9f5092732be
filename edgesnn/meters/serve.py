"""A meter in a process of its own: ``python -m edgesnn.meters.serve ADDRESS FILE``.

Decoding a fast meter beside the work that is being timed would disturb the times, so the profiler leaves
it to this process. It records into FILE (`edgesnn.meters.recording`) until its standard input ends or says
``stop``, and tells what happens on standard output, one JSON object a line:

``{"began": {...}}``    the meter streams; what is known of it
``{"sync": [m, a, b]}`` a reading of its clock (seconds) between two of the host's (monotonic nanoseconds)
``{"live": [m, w, l]}`` meter time, mean power since the last such line (or null), samples lost so far
``{"ended": {...}}``    the recording is whole; the account of the stream
``{"failed": {...}}``   an error as plain data; what was recorded before stays in FILE

When its standard input ends the meter is closed too: a host that dies leaves no supply switched on.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from edgesnn.errors import EdgesnnError, InternalError
from edgesnn.meters.base import Block, Capability
from edgesnn.meters.capture import Begun, Ended, Plan, capture
from edgesnn.meters.opening import open_meter, settings_of
from edgesnn.meters.recording import Recorder
from edgesnn.meters.summary import knows_power, loss_dict

#: The clock is read this often, and power told.
SYNC_S = 0.25
LIVE_S = 0.1


def main(arguments: list[str]) -> int:
    """Record until told to stop; see the module."""
    address, path = arguments
    stop = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin, stop), daemon=True).start()
    try:
        _record(address, Path(path), stop)
    except EdgesnnError as error:
        _say({"failed": error.as_dict()})
        return error.exit_code
    except Exception as error:
        failure = InternalError(f"internal error of the meter's process: {type(error).__name__}: {error}")
        _say({"failed": failure.as_dict()})
        return failure.exit_code
    return 0


def _listen(commands: TextIO, stop: threading.Event) -> None:
    for line in commands:
        if line.strip() == "stop":
            break
    stop.set()


def _record(address: str, path: Path, stop: threading.Event) -> None:
    meter = open_meter(address)
    synced_ns = told_ns = 0
    live = _Live()
    with Recorder(path, replace=True) as recorder:
        for event in capture(meter, Plan(settings_of(address)), stop.is_set):
            if isinstance(event, Begun):
                recorder.begin_segment(event.info)
                live.voltage_v = event.settings.voltage_v
                _say({"began": _began(event)})
            elif isinstance(event, Ended):
                recorder.end_segment(event.loss)
                ended = loss_dict(event.loss)
            else:
                recorder.add(event, meter.loss)
                live.add(event)
                now_ns = time.monotonic_ns()
                due = Capability.SAMPLE_CLOCK in meter.capabilities and now_ns - synced_ns > SYNC_S * 1e9
                if due and not stop.is_set():  # the last block comes when the meter has stopped
                    synced_ns = now_ns
                    pair = meter.sync()
                    _say({"sync": [pair.meter_s, pair.host_before_ns, pair.host_after_ns]})
                if now_ns - told_ns > LIVE_S * 1e9:
                    told_ns = now_ns
                    _say({"live": live.take(meter.loss.missing + meter.loss.suspected)})
    _say({"ended": ended})


def _began(begun: Begun) -> dict[str, Any]:
    info = begun.info
    return {
        "meter": asdict(info.meter),
        "settings": asdict(info.settings),
        "accuracy": info.accuracy,
        "capabilities": list(info.capabilities),
        "host_ns": info.host_ns,
    }


class _Live:
    """Mean power between two lines."""

    def __init__(self) -> None:
        self.voltage_v: float | None = None
        self._joules = self._seconds = self._end_s = 0.0

    def add(self, block: Block) -> None:
        if not len(block) or not knows_power(block, self.voltage_v):
            return
        watts = block.watts(self.voltage_v)
        joules = (watts * block.duration_s).sum()
        self._joules += float(joules)
        self._seconds += float(joules / watts.mean()) if watts.mean() else 0.0
        self._end_s = float(block.time_s[-1])

    def take(self, lost: int) -> list[float | None]:
        mean = self._joules / self._seconds if self._seconds else None
        self._joules = self._seconds = 0.0
        return [self._end_s, mean, float(lost)]


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
