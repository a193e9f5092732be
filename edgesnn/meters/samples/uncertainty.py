"""How well an energy is known, from the accuracy of the instrument (GUM, JCGM 100:2008).

A promised limit ±a is a rectangular distribution: standard uncertainty a/√3 (GUM 4.3.7). A figure that is
only typical is taken as a standard uncertainty itself. Errors of one instrument are systematic: they add
linearly over its samples and ranges and never average out; errors of different kinds add in quadrature
(GUM 5.1.2). With E = Σ V·I·Δt, of which E_r, T_r, W_r = Σ V·Δt fall into range r, and Q = Σ I·Δt:

==============  =====================================================================================
gain            Σ_r g_r·|E_r|
offset          Σ_r o_r·W_r
resolution      Σ_r (q_r/2)/√3·W_r: the worst case, a signal that stays between two steps
voltage         √((g_V·E)² + (o_V·Q)² + (b·Q)²/3), b the drop that the set-point does not show
clock           c·E
edges           (Δt/√6)·mean power, for a span whose two ends are known to one sample each
==============  =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy

_ROOT3 = math.sqrt(3.0)
#: Coverage factor of the expanded uncertainty: 95 % of a normal distribution (GUM 6.3.3).
COVERAGE = 2.0


@dataclass(frozen=True, slots=True)
class RangeSums:
    """What one range of an instrument contributed.

    Attributes:
        seconds: Time in it.
        energy_j: Energy in it, joules.
        charge_c: Charge in it, coulombs; 0 where the instrument gives power only.
        volt_seconds: Integral of the voltage over that time; 0 where it is not known.
    """

    seconds: float = 0.0
    energy_j: float = 0.0
    charge_c: float = 0.0
    volt_seconds: float = 0.0

    def __add__(self, other: RangeSums) -> RangeSums:
        return RangeSums(
            self.seconds + other.seconds,
            self.energy_j + other.energy_j,
            self.charge_c + other.charge_c,
            self.volt_seconds + other.volt_seconds,
        )


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard uncertainty of an energy and of a charge.

    Attributes:
        energy_j: Of the energy, joules, one standard deviation.
        charge_c: Of the charge, coulombs, one standard deviation.
        parts_j: Its parts, joules: gain, offset, resolution, voltage, clock, edges.
        basis: ``bound`` or ``typical``: what the figures of the instrument are.
    """

    energy_j: float
    charge_c: float
    parts_j: dict[str, float]
    basis: str

    @property
    def expanded_j(self) -> float:
        """Half of the 95 % interval of the energy, joules."""
        return COVERAGE * self.energy_j

    @property
    def expanded_c(self) -> float:
        """Half of the 95 % interval of the charge, coulombs."""
        return COVERAGE * self.charge_c


def standard(figure: float, kind: AccuracyKind) -> float:
    """Standard uncertainty of a figure from a data sheet."""
    return figure / _ROOT3 if kind is AccuracyKind.BOUND else figure


def uncertainty(
    sums: Mapping[int, RangeSums], accuracy: MeterAccuracy, *, edge_s: float = 0.0
) -> Uncertainty:
    """The uncertainty of what was summed.

    Args:
        sums: By index of the range; an index beyond the model counts as its last range.
        accuracy: The instrument's.
        edge_s: Length of the samples at the ends of the span, seconds; 0 where the ends are exact.

    Returns:
        The uncertainty of energy and charge.
    """
    gain = offset = resolution = 0.0
    gain_c = offset_c = resolution_c = 0.0
    total = RangeSums()
    kind = accuracy.kind
    for index, one in sums.items():
        of = accuracy.ranges[min(index, len(accuracy.ranges) - 1)]
        relative, amperes = standard(of.gain, kind), standard(of.offset_a, kind)
        step = of.resolution_a / 2 / _ROOT3
        gain += relative * abs(one.energy_j)
        gain_c += relative * abs(one.charge_c)
        offset += amperes * one.volt_seconds
        offset_c += amperes * one.seconds
        resolution += step * one.volt_seconds
        resolution_c += step * one.seconds
        total += one
    energy, charge = abs(total.energy_j), abs(total.charge_c)
    volts = accuracy.voltage
    voltage = math.hypot(
        standard(volts.gain, kind) * energy,
        standard(volts.offset_v, kind) * charge,
        volts.burden_v / _ROOT3 * charge,
    )
    clock = standard(accuracy.clock_ppm * 1e-6, kind)
    edge = edge_s / math.sqrt(6.0)
    share = edge / total.seconds if total.seconds > 0 else 0.0
    parts = {
        "gain": gain,
        "offset": offset,
        "resolution": resolution,
        "voltage": voltage,
        "clock": clock * energy,
        "edges": share * energy,
    }
    charges = (gain_c, offset_c, resolution_c, clock * charge, share * charge)
    return Uncertainty(math.hypot(*parts.values()), math.hypot(*charges), parts, kind.value)
