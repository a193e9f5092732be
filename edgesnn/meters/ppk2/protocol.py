"""The language of Nordic's Power Profiler Kit II: commands, calibration metadata, conversion of samples.

Facts were read from the sources of Nordic's own application (pc-nrfconnect-ppk: src/constants.ts,
src/device/serialDevice.ts), from a drawing of a sample by wlgrd (ppk2-api-python issue 39) and
from observations of single units (ppk2lab: docs/protocol-spec.md). Nothing here does input or output.

A sample is one little-endian 32-bit word, 100,000 of them a second::

    bits  0-13  converter, times 4 before the calibration      bits 18-23  counter 0..63
    bits 14-16  range 0..4, the most sensitive first           bits 24-31  inputs D0..D7
    bit  17     battery present
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesnn.meters.base import SampleStatus

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

USB_VENDOR = 0x1915
USB_PRODUCT = 0xC00A

AVERAGE_START = b"\x06"
AVERAGE_STOP = b"\x07"
DEVICE_RUNNING_SET = 0x0C
REGULATOR_SET = 0x0D
SET_POWER_MODE = 0x11
GET_METADATA = b"\x19"
RESET = 0x20
SET_USER_GAINS = 0x25

MODE_AMPERE = 1
MODE_SOURCE = 2
LOWEST_MV = 800
HIGHEST_MV = 5000

SAMPLE_BYTES = 4
SAMPLE_RATE_HZ = 100_000
SAMPLE_S = 1e-5
SAMPLE_NS = 10_000
COUNTER_SHIFT = 18
COUNTER_MASK = 0x3F
RANGES = 5
ADC_FULL_SCALE = 0x3FFF
#: Volts across the shunt for one step of the converter's value times 4 (serialDevice.ts: adcMult).
VOLTS_PER_STEP = 1.8 / 163840
#: The instrument's stated limit; the converter alone would read 12.9 A in the last range.
HIGHEST_A = 1.0

#: The bits of `SampleStatus` as they stand in an array.
SATURATED = np.uint8(SampleStatus.SATURATED)
RANGE_SWITCH = np.uint8(SampleStatus.RANGE_SWITCH)
SUSPECT = np.uint8(SampleStatus.SUSPECT)

#: Families of constants, one per range, and what the application takes where the instrument gives none.
FAMILIES = ("R", "GS", "GI", "O", "S", "I", "UG")
ASSUMED: Mapping[str, tuple[float, ...]] = {
    "R": (1031.64, 101.65, 10.15, 0.94, 0.043),
    "GS": (1.0,) * RANGES,
    "GI": (1.0,) * RANGES,
    "O": (0.0,) * RANGES,
    "S": (0.0,) * RANGES,
    "I": (0.0,) * RANGES,
    "UG": (1.0,) * RANGES,
}
_SINGLE = ("Calibrated", "VDD", "HW", "mode", "IA")
_LINE = re.compile(
    rb"(?<![A-Za-z])(" + "|".join(_SINGLE).encode() + rb"|(?:GS|GI|UG|R|O|S|I)[0-4]): *([-+.\w]*)[ \r]*\n"
)
_END = re.compile(rb"\nEND(?![A-Za-z0-9])")


def set_power(on: bool) -> bytes:
    """Command that switches the device under test."""
    return bytes([DEVICE_RUNNING_SET, int(on)])


def set_mode(mode: int) -> bytes:
    """Command that chooses `MODE_AMPERE` or `MODE_SOURCE`."""
    return bytes([SET_POWER_MODE, mode])


def set_voltage(millivolts: int) -> bytes:
    """Command that sets the regulator: the millivolts, big-endian."""
    return struct.pack(">BH", REGULATOR_SET, millivolts)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the instrument says of itself.

    Attributes:
        constants: Calibration by family, one value per range; None where it gave none or ``nan``.
        values: The single values that it gave, for example ``VDD``.
        stale: Whether something else stood before the first line.
    """

    constants: Mapping[str, tuple[float | None, ...]]
    values: Mapping[str, float] = field(default_factory=dict)
    stale: bool = False

    @property
    def keys(self) -> int:
        """How many usable values there are; a real unit gives 40."""
        return len(self.values) + sum(one is not None for row in self.constants.values() for one in row)

    @property
    def vdd_mv(self) -> int | None:
        """Set-point of the regulator, millivolts."""
        return int(self.values["VDD"]) if "VDD" in self.values else None

    @property
    def mode(self) -> int | None:
        """`MODE_AMPERE`, `MODE_SOURCE` or something unknown."""
        return int(self.values["mode"]) if "mode" in self.values else None

    @property
    def absent(self) -> tuple[str, ...]:
        """Constants without which a range cannot be trusted, for example ``R4``.

        A user gain is not among them: without one the instrument simply has none set, which is 1.
        """
        rows = ((name, row) for name, row in self.constants.items() if name != "UG")
        return tuple(f"{name}{at}" for name, row in rows for at, one in enumerate(row) if one is None)

    def lacking(self) -> str:
        """`absent` for people, for example ``GS0 to GS4, R2``; empty where nothing lacks."""
        said = []
        for name, row in self.constants.items():
            places = [at for at, one in enumerate(row) if one is None and name != "UG"]
            said += (
                [f"{name}0 to {name}{len(row) - 1}"]
                if len(places) == len(row)
                else [f"{name}{at}" for at in places]
            )
        return ", ".join(said)

    def assumed(self) -> dict[str, tuple[float, ...]]:
        """All constants; what is absent as Nordic's application takes it. A zero stays zero."""
        return {
            name: tuple(ASSUMED[name][at] if one is None else one for at, one in enumerate(row))
            for name, row in self.constants.items()
        }


def parse_metadata(data: bytes) -> Metadata | None:
    """Read the reply to `GET_METADATA`.

    Bytes of an old stream may stand before it, keys may come in any order or not at all, a value may be
    ``-nan``. Where a key comes twice, as when an old reply stands before the new one, the last one counts.

    Args:
        data: Everything that came.

    Returns:
        The metadata, or None while no whole reply (some keys, then a line ``END``) has come.
    """
    ends = list(_END.finditer(data))
    if not ends:
        return None
    lines = list(_LINE.finditer(data, 0, ends[-1].start() + 1))
    if not lines:
        return None
    found: dict[str, float] = {}
    for line in lines:
        name = line[1].decode("ascii")
        found.pop(name, None)
        value = _number(line[2])
        if value is not None and (value > 0 or not name.startswith("R")):  # a shunt of 0 ohms is none
            found[name] = value
    constants = {name: tuple(found.get(f"{name}{at}") for at in range(RANGES)) for name in FAMILIES}
    values = {name: found[name] for name in _SINGLE if name in found}
    return Metadata(constants, values, stale=lines[0].start() > 0)


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Every possible reading, worked out once: index is the low 17 bits of a sample (converter, range).

    Attributes:
        current_a: Amperes, float64 ``[131072]``; NaN in the ranges 5 to 7, which do not exist.
        status: `SampleStatus` bits, uint8 ``[131072]``.
    """

    current_a: FloatArray
    status: ByteArray


TABLE_MASK = 0x1FFFF


def conversion_table(metadata: Metadata, vdd_mv: float) -> Table:
    """Work out the current of every reading.

    ``x = (4 adc - O) (1.8 / 163840) / R``; ``I = UG (x (GS x + GI) + S Vdd + I0)`` amperes
    (serialDevice.ts: getAdcResult). Above 1 A the value is clamped; a converter at its end, and everything
    above 1 A, is saturated; a range with an assumed constant is suspect.

    Args:
        metadata: The instrument's constants.
        vdd_mv: Voltage of the supply, millivolts.
    """
    constants = metadata.assumed()
    current = np.full(8 << 14, np.nan)
    status = np.full(8 << 14, SUSPECT)
    steps = 4.0 * np.arange(ADC_FULL_SCALE + 1)
    for at in range(RANGES):
        r, gs, gi, o, s, i, ug = (constants[name][at] for name in FAMILIES)
        x = (steps - o) * (VOLTS_PER_STEP / r)
        amperes = ug * (x * (gs * x + gi) + (s * (vdd_mv / 1000) + i))
        trusted = not any(name.endswith(str(at)) for name in metadata.absent)
        bits = np.zeros(steps.size, np.uint8) if trusted else np.full(steps.size, SUSPECT)
        bits[-1] |= SATURATED
        bits[amperes > HIGHEST_A] |= SATURATED
        here = slice(at << 14, (at + 1) << 14)
        current[here], status[here] = np.minimum(amperes, HIGHEST_A), bits
    return Table(current, status)


class SpikeFilter:
    """The spike filter of Nordic's application (serialDevice.ts), a block at a time.

    Two exponential means run along, weight 0.18 and, for the last range, 0.06. After a change of range
    three samples are replaced by the mean; the first two of them in the last range leave the means as they
    were. The results are those of the application bit by bit: the recursion is the same sequence of
    additions, with the left-out samples taken out of it.
    """

    ALPHA = 0.18
    ALPHA_LAST = 0.06
    SAMPLES = 3
    HELD = 2

    def __init__(self) -> None:
        from scipy.signal import lfilter

        self._lfilter = lfilter
        self.reset()

    def reset(self) -> None:
        """Forget everything, as at the start of a stream."""
        self._mean: float | None = None
        self._mean_last: float | None = None
        self._range: int | None = None
        self._since = self.SAMPLES

    def apply(self, current_a: FloatArray, ranges: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Filter the samples that follow those of the last call.

        Args:
            current_a: Amperes, float64 ``[n]``, n at least 1.
            ranges: Their ranges, uint8 ``[n]``.

        Returns:
            Filtered amperes, float64 ``[n]``, and which of them were replaced, bool ``[n]``.
        """
        count = current_a.size
        changed = np.empty(count, np.bool_)
        changed[0] = self._range is not None and int(ranges[0]) != self._range
        np.not_equal(ranges[1:], ranges[:-1], out=changed[1:])
        self._range = int(ranges[-1])
        if not changed.any() and self._since >= self.SAMPLES:
            self._mean = float(self._means(current_a, self.ALPHA, self._mean)[-1])
            self._mean_last = float(self._means(current_a, self.ALPHA_LAST, self._mean_last)[-1])
            return current_a, np.zeros(count, np.bool_)
        at = np.arange(count)
        since = at - np.maximum.accumulate(np.where(changed, at, -self._since))
        self._since = min(int(since[-1]) + 1, self.SAMPLES)
        replaced = since < self.SAMPLES
        last = ranges == RANGES - 1
        kept = ~(replaced & last & (since < self.HELD))
        mean = self._spread(current_a, kept, self.ALPHA, self._mean)
        mean_last = self._spread(current_a, kept, self.ALPHA_LAST, self._mean_last)
        self._mean, self._mean_last = float(mean[-1]), float(mean_last[-1])
        return np.where(replaced, np.where(last, mean_last, mean), current_a), replaced

    def _spread(
        self, current_a: FloatArray, kept: BoolArray, alpha: float, before: float | None
    ) -> FloatArray:
        """The running mean at every sample, where only the kept ones change it."""
        means = self._means(current_a[kept], alpha, before)
        # the first sample of a stream is always kept, so there is a mean before any that is not
        means = np.concatenate([[before if before is not None else np.nan], means])
        return np.asarray(means[np.cumsum(kept)], np.float64)

    def _means(self, current_a: FloatArray, alpha: float, before: float | None) -> FloatArray:
        """``y[n] = alpha x[n] + (1 - alpha) y[n - 1]``; without a past the first y is the first x."""
        if current_a.size == 0:
            return current_a
        if before is None:
            rest = self._means(current_a[1:], alpha, float(current_a[0]))
            return np.concatenate([current_a[:1], rest])
        keep = 1.0 - alpha
        means, _ = self._lfilter([alpha], [1.0, -keep], current_a, zi=[keep * before])
        return np.asarray(means, np.float64)
