"""The smallest changes that count: defaults by family, and what a user sets by metric or family."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesnn.errors import UsageError
from edgesnn.names import suggestion
from edgesnn.reports.comparing.result import ChangeScale, Family

#: Relative changes of times, energies and memory; 3 % because 5 % must be caught with power to spare.
DEFAULT_RELATIVE = 0.03
#: Share of tokens (0.005 is half a point) for top-1 and retention.
DEFAULT_SHARE = 0.005
#: Bits per byte.
DEFAULT_BITS_PER_BYTE = 0.02

_TEXT = re.compile(r"^(?P<name>[a-z0-9_.]+)=(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>%|points?|bits)?$")
_ACCURACY_UNITS = {"accuracy.bits_per_byte": "bits"}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by name of a metric or of a family; a metric's own wins.

    Attributes:
        given: What the user set: relative changes (0.03 is 3 %), shares (0.005 is half a point), bits per
            byte.
    """

    given: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str, family: Family, scale: ChangeScale) -> float:
        """The threshold of a metric on the scale of its change.

        Args:
            name: The metric.
            family: Its family.
            scale: The scale of its change; relative thresholds become ``log(1 + x)`` on the log scale.
        """
        value = self.given.get(name, self.given.get(family.value))
        if scale is ChangeScale.EXACT:
            return 0.0 if value is None else value
        if scale is ChangeScale.LOG_RATIO:
            return math.log1p(DEFAULT_RELATIVE if value is None else value)
        if name in _ACCURACY_UNITS:
            return self.given.get(name, DEFAULT_BITS_PER_BYTE)
        return DEFAULT_SHARE if value is None else value


def parse_thresholds(texts: Iterable[str], known: Iterable[str]) -> Thresholds:
    """Thresholds as a user types them.

    Args:
        texts: ``times=3%``, ``power.mean=5%``, ``accuracy=0.5points``, ``accuracy.bits_per_byte=0.02bits``,
            ``activity.spikes=1%`` (a count may then grow by so much).
        known: Names of metrics that exist.

    Raises:
        UsageError: One has another form, or names nothing.
    """
    given: dict[str, float] = {}
    names = {*known, *(family.value for family in Family if family is not Family.BITS)}
    for text in texts:
        match = _TEXT.match(text.strip())
        if match is None:
            raise UsageError(
                f"'{text}' is no threshold", remedy="NAME=NUMBER%, NAME=NUMBERpoints or NAME=NUMBERbits"
            )
        name, number = match["name"], float(match["number"])
        if name not in names:
            raise UsageError(f"there is no metric or family '{name}'", remedy=suggestion(name, names))
        wanted = _ACCURACY_UNITS.get(name) or ("points" if name.startswith("accuracy") else "%")
        unit = (match["unit"] or "").removesuffix("s")
        if unit != wanted.removesuffix("s"):
            raise UsageError(
                f"the threshold of '{name}' is given in {wanted}",
                actual=text,
                remedy=f"{name}={number:g}{wanted}",
            )
        given[name] = number if wanted == "bits" else number / 100.0
    return Thresholds(given)
