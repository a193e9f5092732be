"""The machine that measures: what it is, and the state that moves its clock."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

from edgesnn.record.model import Host, HostState
from edgesnn.runners.host import cpu_name

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
#: A rise of the temperature by this much marks the run.
HOT_RISE_C = 10.0
#: A load average above this share of the cores marks the run.
BUSY_SHARE = 0.5


def read_host(before: HostState, after: HostState) -> Host:
    """Describe this machine.

    Args:
        before: Its state before the session.
        after: Its state after it.
    """
    logical = psutil.cpu_count() or 1
    process = psutil.Process()
    usable = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else logical
    return Host(
        cpu=cpu_name() or "unknown",
        machine=platform.machine(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=logical,
        usable_cores=usable,
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.release()}",
        before=before,
        after=after,
    )


def read_state() -> HostState:
    """Read what may change while a run lasts."""
    frequency = _number(_CPU / "scaling_cur_freq")
    try:
        load: float | None = psutil.getloadavg()[0]
    except OSError:
        load = None
    return HostState(
        governor=_text(_CPU / "scaling_governor"),
        frequency_mhz=None if frequency is None else frequency / 1000.0,
        temperature_c=_temperature(),
        load_average_1min=load,
        memory_available_bytes=int(psutil.virtual_memory().available),
    )


def disturbances(host: Host) -> list[str]:
    """What may have moved the times, one clause each."""
    found = []
    before, after = host.before, host.after
    if before.load_average_1min is not None and before.load_average_1min > BUSY_SHARE * host.usable_cores:
        found.append(
            f"the machine was busy before the run: load average {before.load_average_1min:.1f} "
            f"on {host.usable_cores} cores"
        )
    if before.governor != after.governor:
        found.append(f"the frequency governor changed from {before.governor} to {after.governor}")
    if before.temperature_c is not None and after.temperature_c is not None:
        rise = after.temperature_c - before.temperature_c
        if rise >= HOT_RISE_C:
            found.append(f"the processor got {rise:.0f} degrees hotter, to {after.temperature_c:.0f} C")
    return found


def _temperature() -> float | None:
    """Hottest of the processor's sensors, or None."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    readings = psutil.sensors_temperatures()
    for chip in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz"):
        if values := [r.current for r in readings.get(chip, []) if r.current and r.current > 0]:
            return float(max(values))
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text is not None and text.isdigit() else None
