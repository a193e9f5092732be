"""The meter beside the work: a process of its own (`edgesnn.meters.serve`) that records a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesnn.children import Child
from edgesnn.closing import Closing
from edgesnn.errors import EdgesnnError, MeterError, MeterTimeoutError
from edgesnn.meters.base import ClockPair, MeterCapability
from edgesnn.meters.serve import Live
from edgesnn.profiler.power.evaluation import MeterStream
from edgesnn.profiler.power.parts import read_stream
from edgesnn.scratch import ScratchFolder

#: Opening an instrument, drained and identified, takes a few seconds; a busy machine starts processes late.
OPEN_S = 180.0
#: Ending and writing the rest.
CLOSE_S = 180.0

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
        self._scratch = ScratchFolder("meter")
        self.path = path or self._scratch.path / "session.npz"
        self._on_live = on_live
        self.address = address
        self.info: dict[str, Any] = {}
        self.loss: dict[str, Any] = {}
        self.syncs: list[ClockPair] = []
        self.receipts: list[tuple[float, float]] = []
        self.lives: list[tuple[int, Live]] = []
        self._child = Child(
            ["-m", "edgesnn.meters.serve", address, str(self.path), str(self._scratch.path)],
            f"the process of the meter '{address}'",
            died=MeterError,
            late=MeterTimeoutError,
            remedy="profile again; with --output it goes on where it was",
            hear=self._hear,
            patience_s=CLOSE_S,
        )
        try:
            self.info = self._child.expect("began", OPEN_S)
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
        self._child.check()

    def explain(self, error: MeterError) -> EdgesnnError:
        """What lies behind an error that something beside the meter met, where the meter knows better.

        Args:
            error: For example that a simulated meter takes no load any more.
        """
        return self._child.failure(LAST_WORD_S) or error

    def finish(self, *, from_ns: int | None = None, marker_bit: int = 0) -> MeterStream:
        """End the recording and read it.

        Args:
            from_ns: What came before that host time is left out, nearly.
            marker_bit: The input that the device raises.

        Raises:
            MeterError: The meter failed, or its process does not end.
        """
        self.check()
        self._child.tell("stop")
        self.loss = self._child.expect("result", CLOSE_S)
        pulses = MeterCapability.MARKER_PULSES in self.capabilities
        return read_stream(
            self.path, self.syncs, self.receipts, from_ns=from_ns, marker_bit=marker_bit, pulses=pulses
        )

    def close(self) -> None:
        """End the process, however it stands, and remove what is temporary; safe to call twice."""
        self._child.close()
        self._scratch.close()  # the process does so too, unless it was killed

    def _hear(self, message: dict[str, Any]) -> bool:
        if "sync" in message:
            meter_s, before, after = message["sync"]
            self.syncs.append(ClockPair(meter_s, before, after))
            return True
        if "live" not in message:
            return False
        live = Live(**message["live"])
        self.receipts.append((live.receipt_meter_s, live.receipt_host_ns / 1e9))
        self.lives.append((time.monotonic_ns(), live))
        if self._on_live is not None:
            self._on_live(live)
        return True
