"""A power meter beside a server: what the device draws, in the server's metrics."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgesnn.closing import Closing
from edgesnn.errors import EdgesnnError, MeterError, MeterTimeoutError
from edgesnn.meters.base import Block
from edgesnn.meters.capture import Plan, SegmentEnd, SegmentStart, capture
from edgesnn.meters.opening import open_meter, settings_of
from edgesnn.meters.samples.summary import Accumulator, StreamSummary

#: Opening an instrument takes a few seconds.
_OPEN_S = 60.0
_END_S = 10.0
#: The power that is shown is the mean over at least this long.
_RECENT_S = 1.0
_LABELS = ("meter", "source")


class ServerPower(Closing, Collector):
    """Reads a meter in a thread of its own and says what it read.

    An instrument that is unplugged is opened again when it is back; what happened meanwhile is not known and
    not counted.

    Args:
        address: The meter's address.
        tokens: Tokens that were generated so far.
        warn: Told once where the meter fails for good.

    Raises:
        UsageError: The address is wrong, or its settings do not suit the meter.
        MeterError: It cannot be opened, or it gives no power.
    """

    def __init__(self, address: str, tokens: Callable[[], int], warn: Callable[[str], None]) -> None:
        self._tokens, self._warn = tokens, warn
        self._lock, self._ready, self._end = threading.Lock(), threading.Event(), threading.Event()
        self._failed: EdgesnnError | None = None
        self._adder: Accumulator | None = None
        self._done: list[StreamSummary] = []
        self._recent: Accumulator | None = None
        self._watts: float | None = None
        self._labels = (address, "MEASURED")
        self._up, self._first_token, self._metered_tokens = False, tokens(), 0
        meter, plan = open_meter(address), Plan(settings_of(address), reconnect_s=math.inf)
        self._thread = threading.Thread(
            target=self._run, args=(capture(meter, plan, self._end.is_set),), name="edgesnn-meter"
        )
        self._thread.start()
        in_time = self._ready.wait(_OPEN_S)
        if not in_time or self._failed is not None:
            self.close()
            raise self._failed or MeterTimeoutError(
                f"the meter '{address}' gives no sample", limit=f"{_OPEN_S:g} s"
            )

    def collect(self) -> Iterator[Metric]:
        """The metrics; a measured one has the label ``source="MEASURED"``, a twin's ``SIMULATED``."""
        with self._lock:
            parts = [*self._done, *([] if self._adder is None else [self._adder.result()])]
            watts, up = self._watts if self._up else None, self._up
            tokens = self._metered_tokens
            if self._adder is not None:
                tokens += self._tokens() - self._first_token
        energy = sum(part.energy_j or 0.0 for part in parts)
        yield self._gauge("meter_up", "Whether the meter gives samples now", float(up))
        if watts is not None:
            what = "Mean power of the device over the last second or so, watts"
            yield self._gauge("power_watts", what, watts)
        yield self._counter("energy_joules", "Energy since the start, joules; gaps are left out", energy)
        # parts of one instrument err together: their uncertainties are added
        doubt = sum(part.uncertainty.expanded_j for part in parts if part.uncertainty is not None)
        yield self._gauge("energy_uncertainty_joules", "Expanded uncertainty of that energy, 95 %", doubt)
        yield self._counter(
            "metered_seconds", "Time that samples cover", sum(part.measured_s for part in parts)
        )
        if tokens > 0:
            what = "That energy over the tokens that were generated meanwhile, idle time included"
            yield self._gauge("joules_per_token", what, energy / tokens)

    def close(self) -> None:
        self._end.set()
        self._thread.join(_END_S)

    def _gauge(self, name: str, what: str, value: float) -> Metric:
        made = GaugeMetricFamily(f"edgesnn_{name}", what, labels=_LABELS)
        made.add_metric(self._labels, value)
        return made

    def _counter(self, name: str, what: str, value: float) -> Metric:
        made = CounterMetricFamily(f"edgesnn_{name}", what, labels=_LABELS)
        made.add_metric(self._labels, value)
        return made

    def _run(self, events: Iterator[SegmentStart | Block | SegmentEnd]) -> None:
        try:
            for event in events:
                self._take(event)
        except EdgesnnError as error:
            self._fail(error)
        else:
            if not self._end.is_set():
                self._fail(MeterError("the meter has no more samples"))
        finally:
            with self._lock:
                self._up = False

    def _take(self, event: SegmentStart | Block | SegmentEnd) -> None:
        with self._lock:
            if isinstance(event, SegmentStart):
                self._labels = (self._labels[0], "SIMULATED" if event.meter.simulated else "MEASURED")
                self._adder = Accumulator(event.accuracy, event.settings.voltage_v)
                self._first_token = self._tokens()
                self._begun, self._recent, self._since = event, None, 0.0
            elif isinstance(event, SegmentEnd):
                if self._adder is not None:
                    self._done.append(self._adder.result())
                    self._metered_tokens += self._tokens() - self._first_token
                self._adder, self._up = None, False
            elif self._adder is not None and len(event):
                self._adder.add(event)
                self._look(event)

    def _look(self, block: Block) -> None:
        """The power of the last moments."""
        assert self._adder is not None
        if self._adder.mean_w is None:
            reason = self._adder.result().reason
            raise MeterError(f"the meter gives no power: {reason}")
        if self._recent is None:
            self._recent = Accumulator(self._begun.accuracy, self._begun.settings.voltage_v)
            self._since = time.monotonic()
        self._recent.add(block)
        self._up = True
        if time.monotonic() - self._since >= _RECENT_S or self._watts is None:
            self._watts, self._recent = self._recent.mean_w, None
        self._ready.set()

    def _fail(self, error: EdgesnnError) -> None:
        late = self._ready.is_set()
        self._failed = error
        self._ready.set()
        if late and not self._end.is_set():
            self._warn(f"power is no longer measured: {error.sentence()}")
