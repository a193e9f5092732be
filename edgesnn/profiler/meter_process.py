"""The meter beside the work: a process of its own (`edgesnn.meters.serve`) that records a session."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgesnn.errors import EdgesnnError, MeterError, MeterTimeoutError
from edgesnn.meters.base import Capability, ClockPair
from edgesnn.meters.recording import Recording
from edgesnn.meters.trace import Trace
from edgesnn.profiler.power import Stream, receipts_of

#: Opening an instrument, drained and identified, takes a few seconds at most.
OPEN_S = 30.0
#: Ending and writing the rest.
CLOSE_S = 30.0

#: Told of meter time, mean power in watts (or None) and samples lost so far, ten times a second.
OnLive = Callable[[float, float | None, int], None]


class MeterProcess:
    """Runs a meter in a child process; use it in a ``with`` statement.

    Args:
        address: The meter's address.
        on_live: Told how the power goes.

    Attributes:
        info: What is known of the meter (``began`` of `edgesnn.meters.serve`).
        loss: The account of the stream, after the end.
        syncs: Readings of the meter's clock so far.

    Raises:
        MeterError: The meter cannot be opened; the child's error in its own words.
    """

    def __init__(self, address: str, on_live: OnLive | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgesnn-meter-")
        self._path = Path(self._folder.name) / "session.npz"
        self._on_live = on_live
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.address = address
        self.info: dict[str, Any] = {}
        self.loss: dict[str, Any] = {}
        self.syncs: list[ClockPair] = []
        self._failure: EdgesnnError | None = None
        self._child = subprocess.Popen(
            [sys.executable, "-m", "edgesnn.meters.serve", address, str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="meter-process", daemon=True)
        self._reader.start()
        try:
            self.info = self._wait("began", OPEN_S)
        except BaseException:
            self.close()
            raise

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the meter can do."""
        return frozenset(Capability(name) for name in self.info["capabilities"])

    @property
    def simulated(self) -> bool:
        """Whether the meter is a twin."""
        return bool(self.info["meter"]["simulated"])

    def check(self) -> None:
        """Raise what the meter met, if it met something.

        Raises:
            MeterError: It failed.
        """
        if self._failure is not None:
            raise self._failure

    def finish(self, marker_bit: int = 0) -> Stream:
        """End the recording and read it.

        Args:
            marker_bit: The input that the device raises.

        Raises:
            MeterError: The meter failed, or its process does not end.
        """
        self._command("stop")
        self.loss = self._wait("ended", CLOSE_S)
        with Recording(self._path) as recording:
            segment = recording.segments[-1]
            blocks = list(segment.blocks())
            trace = Trace.of_segment(segment)
        pulses = Capability.MARKER_PULSES in self.capabilities
        return Stream(trace, tuple(self.syncs), receipts_of(blocks), marker_bit, pulses)

    def close(self) -> None:
        """End the process, however it stands, and remove its file; safe to call twice."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(OSError):  # it is gone already
                self._child.stdin.close()
        try:
            self._child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self, word: str) -> None:
        self.check()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # what it died of comes with its last message
            self._child.stdin.write(word + "\n")
            self._child.stdin.flush()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            message = json.loads(line)
            if "sync" in message:
                meter_s, before, after = message["sync"]
                self.syncs.append(ClockPair(meter_s, before, after))
            elif "live" in message:
                if self._on_live is not None:
                    meter_s, watts, lost = message["live"]
                    self._on_live(meter_s, watts, int(lost))
            else:
                if "failed" in message:
                    self._failure = _error(message["failed"])
                self._messages.put(message)
        self._messages.put({})

    def _wait(self, kind: str, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise MeterTimeoutError(
                    f"the process of the meter '{self.address}' is silent", limit=f"{seconds:g} s"
                ) from None
            self.check()
            if kind in message:
                return dict(message[kind])
            if not message:
                raise MeterError(f"the process of the meter '{self.address}' died", actual=self._child.poll())


def _error(data: dict[str, Any]) -> EdgesnnError:
    """The child's error as one of ours, of the class with its code."""
    classes = _all(EdgesnnError)
    made = classes.get(data["code"], MeterError)
    return made(data["what"], actual=data["actual"], limit=data["limit"], remedy=data["remedy"])


def _all(root: type[EdgesnnError]) -> dict[str, type[EdgesnnError]]:
    found = {root.code: root}
    for one in root.__subclasses__():
        found |= _all(one)
    return found
