"""Addresses of meters: ``ppk2``, ``ppk2:SERIAL``, ``ppk2:PORT?voltage=3.3&mode=source``, ``sim:ppk2``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from edgesnn.errors import UsageError
from edgesnn.meters.base import Settings
from edgesnn.names import unknown

#: Options that every meter takes, and the field of `Settings` each of them sets.
COMMON = {
    "voltage": "voltage_v",
    "rate": "rate_hz",
    "mode": "mode",
    "range": "range",
    "dut_min": "dut_min_v",
    "dut_max": "dut_max_v",
}
_NUMBERS = {"voltage", "rate", "dut_min", "dut_max"}


@dataclass(frozen=True, slots=True)
class MeterAddress:
    """What a user typed after ``--meter``, in its parts.

    Attributes:
        name: Name of the driver.
        device: Serial number, port, host or file; None means the only one attached.
        options: What stood after the question mark, as text.
    """

    name: str
    device: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> MeterAddress:
        """Read ``NAME[:DEVICE][?KEY=VALUE&...]``; a device may hold colons itself.

        Raises:
            UsageError: A part is empty or an option has no value.
        """
        place, mark, query = text.strip().partition("?")
        name, colon, device = place.partition(":")
        if not name or (colon and not device) or (mark and not query):
            raise UsageError(
                f"the meter's address '{text}' is incomplete",
                limit="NAME, NAME:DEVICE or NAME:DEVICE?KEY=VALUE&KEY=VALUE",
                remedy="see: edgesnn list meters",
            )
        try:
            pairs = parse_qsl(query, strict_parsing=bool(query), keep_blank_values=False)
        except ValueError as error:
            raise UsageError(
                f"an option in the meter's address '{text}' has no value",
                actual=query,
                limit="KEY=VALUE&KEY=VALUE",
            ) from error
        options = dict(pairs)
        if len(options) != len(pairs):
            raise UsageError(f"an option is named twice in the meter's address '{text}'", actual=query)
        return cls(name, device or None, options)

    def __str__(self) -> str:
        place = self.name if self.device is None else f"{self.name}:{self.device}"
        query = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{place}?{query}" if query else place

    def settings(self, own: tuple[str, ...] = ()) -> Settings:
        """The options that every meter takes.

        Args:
            own: Names of further options that this driver reads itself.

        Returns:
            Settings with what the address names.

        Raises:
            UsageError: An option is unknown or its value is no number.
        """
        values: dict[str, float | str] = {}
        for key, value in self.options.items():
            if key in own:
                continue
            if key not in COMMON:
                raise unknown("option of the meter's address", key, [*COMMON, *own])
            values[COMMON[key]] = self.number(key) if key in _NUMBERS else value
        return Settings(**values)  # type: ignore[arg-type]

    def number(self, key: str) -> float:
        """The value of an option as a finite number.

        Raises:
            UsageError: It is none.
        """
        text = self.options[key]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(
                f"option '{key}' of the meter's address is no number",
                actual=text,
                limit="a number such as 3.3",
            )
        return value
