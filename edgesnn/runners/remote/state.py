"""What moves the clock of a device: processors and their limits, temperatures, cooling, the battery.

Everything is read from the device's ``/sys`` by the program that runs there, so that a phone and a board are
read alike. What a device does not show is absent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesnn.errors import UsageError
from edgesnn.runners.remote.address import CLUSTERS, parse_cpus

#: Patterns that `Session.files` is asked for.
STATE = (
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/online",
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/cur_state",
    "/sys/class/power_supply/*/type",
    "/sys/class/power_supply/*/online",
    "/sys/class/power_supply/*/status",
    "/sys/class/power_supply/*/capacity",
    "/sys/class/power_supply/*/voltage_now",
    "/sys/class/power_supply/*/current_now",
)
#: The gauge's update period is watched for at most this long, asking this often.
GAUGE_S, GAUGE_STEP_S = 3.0, 0.01
#: Temperatures beyond this are no temperatures: unused sensors report such values.
PLAUSIBLE_C = (-40.0, 150.0)
_CPU = re.compile(r"/cpu(\d{1,9})/cpufreq/(\w+)$")
_THERMAL = re.compile(r"/(thermal_zone|cooling_device)(\d{1,9})/(\w+)$")
_SUPPLY = re.compile(r"/power_supply/([^/]+)/(\w+)$")
_CPU_COOLER = re.compile(r"cpu", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Battery:
    """The battery and its gauge.

    Attributes:
        name: The system's name of it.
        status: ``Charging``, ``Discharging``, ``Full``, ``Not charging``, or None.
        supplied: Whether an outside supply is on; None where that is not told.
        level_percent: Charge, or None.
        voltage_v: Voltage, or None.
        current_ua: What the gauge says, in microamperes with the gauge's own sign, or None.
    """

    name: str
    status: str | None
    supplied: bool | None
    level_percent: int | None
    voltage_v: float | None
    current_ua: int | None

    @property
    def charges(self) -> bool:
        """Whether the current is, or may be, that of a charger."""
        return bool(self.supplied) or (self.status or "").lower() in ("charging", "full", "not charging")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One reading.

    Attributes:
        governor: Frequency governor by processor.
        frequency_khz: Frequency now, by processor.
        limit_khz: Highest frequency that is allowed now, by processor.
        highest_khz: Highest frequency of the silicon, by processor.
        temperatures_c: Temperature by name of its zone.
        cooling: State of every active cooling device that concerns the processor, by its name.
        battery: The battery, or None.
        online: Processors that are on, as the kernel lists them; None where unknown.
    """

    governor: dict[int, str] = field(default_factory=dict)
    frequency_khz: dict[int, int] = field(default_factory=dict)
    limit_khz: dict[int, int] = field(default_factory=dict)
    highest_khz: dict[int, int] = field(default_factory=dict)
    temperatures_c: dict[str, float] = field(default_factory=dict)
    cooling: dict[str, int] = field(default_factory=dict)
    battery: Battery | None = None
    online: str | None = None

    def hottest_c(self) -> float | None:
        """The highest temperature, or None."""
        return max(self.temperatures_c.values(), default=None)

    def clusters(self) -> dict[int, tuple[int, ...]]:
        """Processors by highest frequency in kHz, the slowest first."""
        found: dict[int, list[int]] = {}
        for cpu, khz in sorted(self.highest_khz.items()):
            found.setdefault(khz, []).append(cpu)
        return {khz: tuple(cpus) for khz, cpus in sorted(found.items())}

    def throttling(self, cpus: tuple[int, ...]) -> list[str]:
        """What holds the clock of some processors down, one clause each; none means all."""
        found = []
        for cpu, limit in sorted(self.limit_khz.items()):
            highest = self.highest_khz.get(cpu)
            if highest is not None and limit < highest and (not cpus or cpu in cpus):
                found.append(f"cpu{cpu} is held at {limit / 1000:.0f} of {highest / 1000:.0f} MHz")
        found += [f"cooling '{name}' is at step {state}" for name, state in sorted(self.cooling.items())]
        return found

    def document(self) -> dict[str, Any]:
        """The reading as plain data; keys of processors are their numbers as text."""
        battery = self.battery
        return {
            "governor": {str(cpu): value for cpu, value in self.governor.items()},
            "frequency_khz": {str(cpu): value for cpu, value in self.frequency_khz.items()},
            "limit_khz": {str(cpu): value for cpu, value in self.limit_khz.items()},
            "temperatures_c": dict(self.temperatures_c),
            "cooling": dict(self.cooling),
            "online": self.online,
            "battery": None
            if battery is None
            else {
                "status": battery.status,
                "supplied": battery.supplied,
                "level_percent": battery.level_percent,
                "voltage_v": battery.voltage_v,
                "current_ua": battery.current_ua,
            },
        }


def read_device(files: Mapping[str, str]) -> DeviceState:
    """Make a reading of the files that `STATE` matched.

    Args:
        files: Their text by path.
    """
    cpus: dict[str, dict[int, str]] = {}
    thermal: dict[tuple[str, int], dict[str, str]] = {}
    supplies: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        if match := _CPU.search(path):
            cpus.setdefault(match[2], {})[int(match[1])] = text
        elif match := _THERMAL.search(path):
            thermal.setdefault((match[1], int(match[2])), {})[match[3]] = text
        elif match := _SUPPLY.search(path):
            supplies.setdefault(match[1], {})[match[2]] = text
    return DeviceState(
        governor=cpus.get("scaling_governor", {}),
        frequency_khz=_numbers(cpus.get("scaling_cur_freq", {})),
        limit_khz=_numbers(cpus.get("scaling_max_freq", {})),
        highest_khz=_numbers(cpus.get("cpuinfo_max_freq", {})),
        temperatures_c=_temperatures(thermal),
        cooling=_cooling(thermal),
        battery=_battery(supplies),
        online=files.get("/sys/devices/system/cpu/online"),
    )


def choose_cpus(wanted: str, state: DeviceState) -> tuple[int, ...]:
    """The processors to run on; empty for all.

    Args:
        wanted: A cluster or a list, see `Address.cpus`.
        state: Tells the clusters.

    Raises:
        UsageError: The device has no such cluster or processor.
    """
    if wanted == "all":
        return ()
    clusters = list(state.clusters().values())
    named = dict(zip(names_of(len(clusters)), clusters, strict=True))
    if wanted in CLUSTERS:
        if wanted not in named:
            raise UsageError(
                f"the device has no cluster '{wanted}'",
                limit=_listed(state) or "it does not tell its clusters",
            )
        return named[wanted]
    cpus = parse_cpus(wanted)
    unknown = [cpu for cpu in cpus if state.highest_khz and cpu not in state.highest_khz]
    if unknown:
        raise UsageError("the device has no such processor", actual=unknown, limit=_listed(state))
    return cpus


def names_of(clusters: int) -> list[str]:
    """Names of so many clusters, the slowest first: little, middle (as many as there are), big."""
    if clusters < 2:
        return ["all"] * clusters
    middle = [f"middle{i + 1}" if clusters > 3 else "middle" for i in range(clusters - 2)]
    return ["little", *middle, "big"]


def gauge_document(battery: Battery | None, period_s: float | None) -> dict[str, Any]:
    """The battery gauge as a coarse instrument: what it is good for, its period and its sign.

    Args:
        battery: The battery, or None.
        period_s: Measured time between two updates, or None where fewer than two were seen.
    """
    if battery is None or battery.current_ua is None:
        return {"label": "ABSENT", "reason": "the device shows no battery current"}
    if battery.charges:
        reason = "the phone is supplied from outside: its gauge reads the charger, not the load"
        return {
            "label": "INVALID",
            "reason": reason,
            "remedy": "wireless adb, or cut the supply of the cable",
        }
    sign = "negative" if battery.current_ua < 0 else "positive"
    return {
        "label": "COARSE",
        "source": f"power_supply/{battery.name}/current_now",
        "sign": f"{sign} while it discharges (observed)" if battery.current_ua else "unknown: it read 0",
        "update_period_s": period_s,
        "update_period_reason": None
        if period_s is not None
        else f"fewer than two updates in {GAUGE_S:g} s of watching",
    }


def gauge_period(read: Callable[[], str | None]) -> float | None:
    """Watch the gauge until it changed three times: the median time between changes, seconds, or None.

    Args:
        read: Gives what the gauge says now.
    """
    changes: list[float] = []
    last, until = read(), time.monotonic() + GAUGE_S
    while time.monotonic() < until and len(changes) < 3:
        now = read()
        if now != last:
            changes.append(time.monotonic())
            last = now
        time.sleep(GAUGE_STEP_S)
    gaps = sorted(after - before for before, after in zip(changes, changes[1:], strict=False))
    return round(gaps[len(gaps) // 2], 3) if gaps else None


def _listed(state: DeviceState) -> str:
    clusters = state.clusters()
    names = names_of(len(clusters))
    rows = zip(names, clusters.items(), strict=True)
    return "; ".join(f"{name} {','.join(map(str, c))} ({khz // 1000} MHz)" for name, (khz, c) in rows)


def _number(text: str | None) -> int | None:
    """A number of the kernel's, which has 64 bits at most."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1 << 63 else None


def _numbers(texts: Mapping[int, str]) -> dict[int, int]:
    found = {cpu: _number(text) for cpu, text in texts.items()}
    return {cpu: value for cpu, value in found.items() if value is not None}


def _temperatures(thermal: Mapping[tuple[str, int], Mapping[str, str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for (kind, number), values in sorted(thermal.items()):
        raw = _number(values.get("temp"))
        if kind != "thermal_zone" or raw is None:
            continue
        # The kernel's unit is a thousandth of a degree; some vendors' drivers give whole degrees.
        celsius = raw / 1000 if abs(raw) >= 1000 else float(raw)
        if PLAUSIBLE_C[0] < celsius < PLAUSIBLE_C[1]:
            name = values.get("type") or f"zone{number}"
            found[name if name not in found else f"{name} ({number})"] = celsius
    return found


def _cooling(thermal: Mapping[tuple[str, int], Mapping[str, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for (kind, number), values in sorted(thermal.items()):
        state = _number(values.get("cur_state"))
        name = values.get("type", "")
        if kind == "cooling_device" and state and _CPU_COOLER.search(name):
            found[f"{name} ({number})"] = state
    return found


def _battery(supplies: Mapping[str, Mapping[str, str]]) -> Battery | None:
    mains = [values for values in supplies.values() if values.get("type", "") not in ("Battery", "")]
    told = [values["online"] for values in mains if "online" in values]
    for name, values in sorted(supplies.items()):
        if values.get("type") != "Battery":
            continue
        voltage = _number(values.get("voltage_now"))
        return Battery(
            name=name,
            status=values.get("status"),
            supplied=any(value not in ("0", "") for value in told) if told else None,
            level_percent=_number(values.get("capacity")),
            voltage_v=None if voltage is None else voltage / 1e6,
            current_ua=_number(values.get("current_now")),
        )
    return None
