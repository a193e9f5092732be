"""The meter beside the work: a process of its own (`edgesnn.meters.serve`) that records a session."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesnn.closing import Closing
from edgesnn.errors import EdgesnnError, MeterError, MeterTimeoutError
from edgesnn.meters.base import ClockPair, MeterCapability
from edgesnn.meters.serve import Live
from edgesnn.profiler.power.evaluation import MeterStream
from edgesnn.profiler.power.parts import read_stream

#: Opening an instrument, drained and identified, takes a few seconds at most.
OPEN_S = 30.0
#: Ending and writing the rest.
CLOSE_S = 30.0

#: A process that just failed says why within this time.
LAST_WORD_S = 10.0

#: Told how the power goes, ten times a second.
OnLive = Callable[[Live], None]


class MeterProcess(Closing):
    """Runs a meter in a child process; use it in a ``with`` statement.

    Args:
        address: The meter's address.
        on_live: Told how the power goes.
        path: Where the recording is kept; None for a file that goes when this is closed.

    Attributes:
        address: The meter's address.
        path: The recording.
        info: What is known of the meter (``began`` of `edgesnn.meters.serve`).
        loss: The account of the stream, after the end.
        syncs: Readings of the meter's clock so far.
        receipts: Meter time (s) of newest samples and host time (s) of their receipt, those with least delay.
        lives: How the power went, with the host's time (``time.monotonic_ns``) of each.

    Raises:
        MeterError: The meter cannot be opened; the child's error in its own words.
    """

    def __init__(self, address: str, on_live: OnLive | None = None, path: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edgesnn-meter-"))
        self.path = path or self._folder / "session.npz"
        self._on_live = on_live
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.address = address
        self.info: dict[str, Any] = {}
        self.loss: dict[str, Any] = {}
        self.syncs: list[ClockPair] = []
        self.receipts: list[tuple[float, float]] = []
        self.lives: list[tuple[int, Live]] = []
        self._failure: EdgesnnError | None = None
        self._gone = threading.Event()
        command = [sys.executable, "-m", "edgesnn.meters.serve", address, str(self.path), str(self._folder)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, name="meter-process", daemon=True)
        self._reader.start()
        try:
            self.info = self._wait("began", OPEN_S)
        except BaseException:
            self.close()
            raise

    @property
    def capabilities(self) -> frozenset[MeterCapability]:
        """What the meter can do."""
        return frozenset(MeterCapability(name) for name in self.info["capabilities"])

    @property
    def simulated(self) -> bool:
        """Whether the meter is a twin."""
        return bool(self.info["meter"]["simulated"])

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._child.pid

    def check(self) -> None:
        """Raise what the meter met, if it met something.

        Raises:
            MeterError: It failed.
        """
        if self._failure is not None:
            raise self._failure

    def explain(self, error: MeterError) -> EdgesnnError:
        """What lies behind an error that something beside the meter met, where the meter knows better.

        Args:
            error: For example that a simulated meter takes no load any more.
        """
        self._gone.wait(LAST_WORD_S)
        return self._failure or error

    def finish(self, *, from_ns: int | None = None, marker_bit: int = 0) -> MeterStream:
        """End the recording and read it.

        Args:
            from_ns: What came before that host time is left out, nearly.
            marker_bit: The input that the device raises.

        Raises:
            MeterError: The meter failed, or its process does not end.
        """
        self._command("stop")
        self.loss = self._wait("ended", CLOSE_S)
        pulses = MeterCapability.MARKER_PULSES in self.capabilities
        return read_stream(
            self.path, self.syncs, self.receipts, from_ns=from_ns, marker_bit=marker_bit, pulses=pulses
        )

    def close(self) -> None:
        """End the process, however it stands, and remove what is temporary; safe to call twice."""
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
        shutil.rmtree(self._folder, ignore_errors=True)  # the process does so too, unless it was killed

    def _command(self, word: str) -> None:
        self.check()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # what it died of comes with its last message
            self._child.stdin.write(word + "\n")
            self._child.stdin.flush()

    def _read(self) -> None:
        assert self._child.stdout is not None
        ended = False
        for line in self._child.stdout:
            message = json.loads(line)
            if "sync" in message:
                meter_s, before, after = message["sync"]
                self.syncs.append(ClockPair(meter_s, before, after))
            elif "live" in message:
                live = Live(**message["live"])
                self.receipts.append((live.receipt_meter_s, live.receipt_host_ns / 1e9))
                self.lives.append((time.monotonic_ns(), live))
                if self._on_live is not None:
                    self._on_live(live)
            else:
                ended = ended or "ended" in message
                if "failed" in message:
                    self._failure = _error(message["failed"])
                    self._gone.set()
                self._messages.put(message)
        if self._failure is None and not ended:
            self._failure = MeterError(
                f"the process of the meter '{self.address}' died",
                actual=f"exit code {self._child.wait()}",
                remedy="profile again; with --output it goes on where it was",
            )
        self._gone.set()
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
                raise MeterError(f"the process of the meter '{self.address}' ended without '{kind}'")


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
