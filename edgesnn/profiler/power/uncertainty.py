"""Uncertainty of power and energy by Monte Carlo propagation (JCGM 101:2008, GUM Supplement 1).

Every trial draws one instrument: its gain, its offset, the errors of its voltage and its clock. These are
systematic: the same draw counts in every window, so they never average out. What differs between windows
(edges, repeatability) is drawn for each. A typical figure of a data sheet is a standard deviation, one
that it promises is the half width of a rectangle (JCGM 101, 6.4.2 and 6.4.7). Half a step of the converter is
a rectangle whatever the rest is.

What was shown is solved for what is true, it is not merely widened: an instrument that shows
``I·(1 + g) + o`` saw ``(shown - o) / (1 + g)``. With a gain of 10 % the difference decides: an interval that
is symmetric about what was shown leaves 5 % above it instead of 2.5 %.

An edge that lies outside the window lets idle time in, and lowers the mean; one that lies inside leaves work
out, and does not change it. So a doubtful edge can only have lowered the power, and that does not average out
over windows. For the energy it is the other way about: work that was left out is missing.

Repeatability is that of the mean of n windows: Student's t on n - 1 degrees of freedom (JCGM 101, 6.4.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy

FloatArray = npt.NDArray[np.float64]

#: Trials; the Monte Carlo error of a 2.5 % tail is then 0.05 % (sqrt(p q / n)).
TRIALS = 100_000
#: Components of the uncertainty, in the order in which they are printed.
COMPONENTS = ("gain", "offset", "voltage", "edges", "clock", "repeatability")
_LEAST_FOR_SD = 4
#: No instrument that works shows less than this share of a current: a draw below it is taken for it.
LEAST_GAIN = 0.05
#: The tail beyond a limit that a verdict may leave.
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class WindowSample:
    """What one measurement window contributes.

    Attributes:
        mean_w: Mean power over the window, watts.
        idle_w: Mean power of the idle stretches beside it, or None.
        seconds: Its length on the meter's clock.
        inferences: Inferences in it.
        voltage_v: Mean voltage.
        current_share: Share of the window's charge that was measured in each range of the meter, float64
            ``[ranges]``, summing to 1.
        time_share: Share of the window's time spent in each range, likewise.
        edge_sd_s: Standard deviation of each edge on the meter's clock.
        common_sd_s: Standard deviation of a shift that the edges of all windows share.
    """

    mean_w: float
    idle_w: float | None
    seconds: float
    inferences: int
    voltage_v: float
    current_share: FloatArray
    time_share: FloatArray
    edge_sd_s: float
    common_sd_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """What is known of one quantity.

    Attributes:
        value: Best estimate.
        sd: Standard uncertainty; with fewer than four windows half of the 95 % interval over 1.96.
        lower: 2.5 % quantile.
        upper: 97.5 % quantile.
        budget: Standard uncertainty by component, each alone, in the order of `COMPONENTS`.
        trials: The draws, float64 ``[TRIALS]``.
    """

    value: float
    sd: float
    lower: float
    upper: float
    budget: dict[str, float]
    trials: FloatArray

    def above(self, limit: float) -> float:
        """Probability that the quantity is above a limit."""
        return float((self.trials > limit).mean())


@dataclass(frozen=True, slots=True, eq=False)
class PowerBudget:
    """Power and energy of a series of windows.

    Attributes:
        active_w: Mean total power while the device works: what the budget is judged on.
        idle_w: Mean power beside the windows, or None.
        dynamic_w: Active less idle, or None.
        energy_per_inference_j: Total energy of one inference.
        dynamic_energy_per_inference_j: Of that, what idling would not have taken, or None.
    """

    active_w: Distribution
    idle_w: Distribution | None
    dynamic_w: Distribution | None
    energy_per_inference_j: Distribution
    dynamic_energy_per_inference_j: Distribution | None


def propagate(
    windows: Sequence[WindowSample], accuracy: MeterAccuracy, *, seed: int, trials: int = TRIALS
) -> PowerBudget:
    """Propagate every component, together and each alone.

    Args:
        windows: At least one valid window.
        accuracy: The meter's accuracy.
        seed: Of the draws.
        trials: How many.
    """
    draws = _Draws(windows, accuracy, np.random.default_rng(seed), trials)
    names = ["active", "energy"]
    if all(window.idle_w is not None for window in windows):
        names += ["idle", "dynamic", "dynamic_energy"]
    together = draws.results(frozenset(COMPONENTS))
    alone = {component: draws.results(frozenset({component})) for component in COMPONENTS}
    exact = draws.results(frozenset())
    found = {
        name: _distribution(
            float(exact[name][0]),
            together[name],
            {component: _spread(alone[component][name], len(windows)) for component in COMPONENTS},
            len(windows),
        )
        for name in names
    }
    return PowerBudget(
        found["active"],
        found.get("idle"),
        found.get("dynamic"),
        found["energy"],
        found.get("dynamic_energy"),
    )


def _distribution(value: float, trials: FloatArray, budget: dict[str, float], windows: int) -> Distribution:
    lower, upper = np.quantile(trials, [TAIL, 1 - TAIL])
    return Distribution(value, _spread(trials, windows), float(lower), float(upper), budget, trials)


def _spread(trials: FloatArray, windows: int) -> float:
    """Standard deviation; with fewer than four windows, of the normal distribution with the same interval.

    Student's t with n - 1 degrees of freedom has a standard deviation only from n = 4 on.
    """
    if windows >= _LEAST_FOR_SD:
        return float(trials.std())
    lower, upper = np.quantile(trials, [TAIL, 1 - TAIL])
    return float(upper - lower) / (2 * 1.959964)


class _Draws:
    """The draws of one propagation; the same ones whichever components count."""

    def __init__(
        self,
        windows: Sequence[WindowSample],
        accuracy: MeterAccuracy,
        random: np.random.Generator,
        trials: int,
    ) -> None:
        self._windows = windows
        n = len(windows)

        def unit() -> FloatArray:
            """A draw of the data sheet's kind with half width or standard deviation 1."""
            if accuracy.kind is AccuracyKind.TYPICAL:
                return random.standard_normal(trials)
            return random.uniform(-1.0, 1.0, trials)

        gains = np.array([one.gain for one in accuracy.ranges])
        offsets = np.array([one.offset_a for one in accuracy.ranges])
        # half a step of the converter is a bias when nothing dithers it
        steps = np.array([one.resolution_a / 2 for one in accuracy.ranges])
        # one instrument, one error: ranges add linearly
        self._gain = unit() * float(np.mean([window.current_share @ gains for window in windows]))
        self._offset_a = unit() * float(np.mean([window.time_share @ offsets for window in windows]))
        step_a = float(np.mean([window.time_share @ steps for window in windows]))
        self._offset_a = self._offset_a + random.uniform(-1.0, 1.0, trials) * step_a
        volts = float(np.mean([window.voltage_v for window in windows]))
        self._volts = volts
        self._voltage = unit() * (accuracy.voltage.gain + accuracy.voltage.offset_v / volts)
        if accuracy.voltage.burden_v:  # the device sees less than the set-point, never more
            self._voltage -= random.uniform(0.0, 1.0, trials) * accuracy.voltage.burden_v / volts
        self._clock = random.standard_normal(trials) * accuracy.clock_ppm * 1e-6
        self._student = random.standard_t(max(1, n - 1), (3, trials))
        self._draw_edges(random, trials)
        self._trials = trials

    def _draw_edges(self, random: np.random.Generator, trials: int) -> None:
        """What misplaced edges took away: of the power, the energy and the dynamic energy; see the module."""
        self._edges_w, self._edges_j, self._edges_dynamic_j = (np.zeros(trials) for _ in range(3))
        shared = random.standard_normal(trials)
        n = len(self._windows)
        for window in self._windows:
            if not (window.edge_sd_s or window.common_sd_s):
                continue
            shift = shared * window.common_sd_s
            start, stop = (shift + random.standard_normal(trials) * window.edge_sd_s for _ in range(2))
            outside = np.maximum(-start, 0.0) + np.maximum(stop, 0.0)
            inside = np.maximum(start, 0.0) + np.maximum(-stop, 0.0)
            idle_w = 0.0 if window.idle_w is None else window.idle_w
            step_w, per = window.mean_w - idle_w, 1.0 / (window.inferences * n)
            self._edges_w += outside * (step_w / window.seconds / n)
            self._edges_j += inside * (window.mean_w * per) - outside * (idle_w * per)
            self._edges_dynamic_j += inside * (step_w * per)

    def results(self, components: frozenset[str]) -> dict[str, FloatArray]:
        """The measurands, each float64 ``[trials]``, with only these components uncertain."""
        windows = self._windows
        zero = np.zeros(self._trials)

        def part(name: str, draw: FloatArray) -> FloatArray:
            return draw if name in components else zero

        means = np.array([window.mean_w for window in windows])
        seconds = np.array([window.seconds for window in windows])
        counts = np.array([window.inferences for window in windows], np.float64)
        idle = np.array([window.idle_w if window.idle_w is not None else np.nan for window in windows])
        gain = np.maximum(1 + part("gain", self._gain), LEAST_GAIN)
        scale = (1 + part("voltage", self._voltage)) / gain
        offset_w = part("offset", self._offset_a) * self._volts
        stretch = 1 + part("clock", self._clock)
        per = seconds / counts
        edges_w, edges_j = part("edges", self._edges_w), part("edges", self._edges_j)
        active = (means.mean() + edges_w - offset_w) * scale + self._repeat(0, means, components)
        energy_values = means * per
        energy = (energy_values.mean() + edges_j - offset_w * per.mean()) * scale * stretch
        found = {"active": active, "energy": energy + self._repeat(0, energy_values, components)}
        if not np.isnan(idle).any():
            found["idle"] = (idle.mean() - offset_w) * scale + self._repeat(1, idle, components)
            dynamic = means - idle
            found["dynamic"] = (dynamic.mean() + edges_w) * scale + self._repeat(2, dynamic, components)
            values = dynamic * per
            edges_dynamic_j = part("edges", self._edges_dynamic_j)
            found["dynamic_energy"] = (values.mean() + edges_dynamic_j) * scale * stretch + self._repeat(
                2, values, components
            )
        return found

    def _repeat(self, row: int, values: FloatArray, components: frozenset[str]) -> FloatArray:
        """Error of the mean of n windows; nothing is known of it with one window."""
        if "repeatability" not in components or values.size < 2:
            return np.zeros(self._trials)
        return np.asarray(self._student[row] * float(values.std(ddof=1)) / np.sqrt(values.size), np.float64)
