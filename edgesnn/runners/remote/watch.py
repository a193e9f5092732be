"""Watching a device while it is measured: what held its clock down, how hot it got, what its battery did."""

from __future__ import annotations

from typing import Any

from edgesnn.runners.base import Sighting
from edgesnn.runners.remote.session import DeviceSession
from edgesnn.runners.remote.state import STATE, DeviceState, gauge_document, gauge_period, read_device

#: A rise of the hottest sensor by this much marks the run.
HOT_RISE_C = 10.0
#: Readings of windows that the record keeps.
READINGS_KEPT = 200


class DeviceWatch:
    """The state of a device before, during and after a measurement.

    Args:
        session: The open session.
        cpus: The processors that it runs on; empty for all.
        refuse: Whether a throttled run is invalid, not only marked.
        details: The details of the record, which are added to.
    """

    def __init__(
        self, session: DeviceSession, cpus: tuple[int, ...], *, refuse: bool, details: dict[str, Any]
    ) -> None:
        self.throttled: list[str] = []
        self._session, self._cpus, self._refuse, self._details = session, cpus, refuse, details
        self._readings: list[dict[str, Any]] = []
        self._before = DeviceState()

    def begin(self) -> None:
        """A measurement begins: take the state before it, and how often the battery gauge moves."""
        self.throttled, self._readings = [], []
        self._before = read_state(self._session)
        battery, period = self._before.battery, None
        if battery is not None and battery.current_ua is not None and not battery.charges:
            path = f"/sys/class/power_supply/{battery.name}/current_now"
            period = gauge_period(lambda: self._session.files(path).get(path))
        self._details["before"] = self._before.document()
        self._details["gauge"] = gauge_document(battery, period)
        self.throttled += self._before.throttling(self._cpus)

    def note(self, clock_bound_us: float, cpus: tuple[int, int], khz: tuple[int, int]) -> None:
        """Keep what a window met.

        Args:
            clock_bound_us: Bound of the mapping between the clocks.
            cpus: The processor at the start and at the end.
            khz: Its frequency then; 0 where the device does not tell.
        """
        state = read_state(self._session)
        self.throttled += state.throttling(self._cpus)
        if len(self._readings) < READINGS_KEPT:
            self._readings.append(
                {
                    "cpu": list(cpus),
                    "khz": [value or None for value in khz],
                    "hottest_c": state.hottest_c(),
                    "battery_current_ua": None if state.battery is None else state.battery.current_ua,
                    "clock_bound_us": round(clock_bound_us, 1),
                }
            )

    def end(self) -> Sighting:
        """Take the state after the measurement, and say what moved the clock since `begin`."""
        after = read_state(self._session)
        self.throttled += after.throttling(self._cpus)
        self._details["during"] = self._readings
        self._details["after"] = after.document()
        if after.battery is not None and after.battery.charges:
            self._details["gauge"] = gauge_document(after.battery, None)
        self._details["memory"]["peak_kb"] = self._peak_kb()
        marks = []
        if emulator := self._details.get("emulated_by"):
            marks.append(f"the device is emulated by {emulator}: no time here is a device's")
        start, end = self._before.hottest_c(), after.hottest_c()
        if start is not None and end is not None and end - start >= HOT_RISE_C:
            marks.append(f"the device got {end - start:.0f} degrees hotter, to {end:.0f} C")
        if self._before.governor != after.governor:
            marks.append("the device's frequency governor changed")
        throttled = list(dict.fromkeys(self.throttled))
        self._details["throttled"] = throttled
        if not throttled:
            return Sighting(None, tuple(marks))
        sentence = f"the device held its clock down: {'; '.join(throttled[:4])}"
        return Sighting(sentence if self._refuse else None, (*marks, sentence))

    def _peak_kb(self) -> int | None:
        status = self._session.files("/proc/self/status").get("/proc/self/status", "")
        line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "")
        return int(line.split()[1]) if len(line.split()) > 1 else None


def read_state(session: DeviceSession) -> DeviceState:
    """Read the device's state now."""
    return read_device(session.files(*STATE))
