"""What a phone is given, and what it turns out to be: files, the first talk, the device's description."""

from __future__ import annotations

import math
from typing import Any

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.program import Program
from edgesnn.runners.base import DeviceInfo, RunnerOptions
from edgesnn.runners.browser.engines import PageEngine
from edgesnn.runners.browser.phone import BrowserPhone
from edgesnn.runners.browser.server import PAGE, Served, read_served

MS_PER_NS = 1e-6
#: Round trips of one clock comparison; the shortest counts.
PINGS = 12
#: Longest silence while the page fetches the engine, seconds.
_LOAD_S = 120.0


def served_files(bundle: Bundle, engine: PageEngine) -> dict[str, Served]:
    """Everything that the page may fetch, by path below the token.

    Raises:
        BundleError: The bundle lacks the engine's files, or a file reaches outside itself.
        RunnerError: The engine is not to be had.
    """
    files = {path.name: read_served(path) for path in sorted(PAGE.iterdir()) if path.is_file()}
    return files | engine.files(bundle)


def welcome(
    phone: BrowserPhone, bundle: Bundle, program: Program, options: RunnerOptions, engine: PageEngine
) -> DeviceInfo:
    """Tell a phone what it will run, load the model there and describe the device.

    Raises:
        PhoneGone: The page was closed meanwhile.
        RunnerError: The connection gives no threads, the browser refused the model, or another one arrived.
    """
    facts = phone.facts
    engine.check(options.threads, facts.cross_origin_isolated)
    phone.tell(
        "welcome",
        model=bundle.name,
        runs=engine.kind,
        engine=f"{engine.engine} {engine.version}",
        threads=options.threads,
        **engine.describe(program),
    )
    answer, _ = phone.ask("load", silence_s=_LOAD_S)
    file = engine.model_file(bundle)
    wanted, found = bundle.manifest.files[file].sha256, answer.digest("model_sha256")
    if found != wanted:
        raise RunnerError("another model arrived on the phone", actual=found, limit=wanted)
    threads = answer.whole("threads", 1, 4096)
    if threads != options.threads:
        raise RunnerError("the browser runs another number of threads", actual=threads, limit=options.threads)
    details: dict[str, Any] = {
        "format": engine.format,
        "provider": "WASM",
        "threads": threads,
        "kernels": answer.text("kernels", 40),
        "user_agent": facts.user_agent,
        "model": facts.model,
        "system": facts.system,
        "cores": facts.cores,
        "memory_gb": facts.memory_gb,
        "screen": facts.screen,
        "touch_points": facts.touch_points,
        "secure_context": facts.secure_context,
        "cross_origin_isolated": facts.cross_origin_isolated,
        "wake_lock": facts.wake_lock,
        "timer_step_us": facts.timer_step_us,
        "download_ms": answer.number("download_ms", 0, 1e9),
        "wasm_bytes": answer.whole("wasm_bytes", 0, 1 << 40),
        "same_address": phone.near,
    }
    keep_bound(details, phone.host_offset_ns(PINGS)[1])
    return DeviceInfo(
        device=facts.device,
        engine=engine.engine,
        engine_version=engine.version,
        simulated=False,
        clock_hz=1e6 / facts.timer_step_us,
        load_ms=answer.number("load_ms", 0, 1e9),
        model_files=(file,),
        model_bytes=bundle.size_of((file,)),
        details=details,
    )


def keep_bound(details: dict[str, Any], bound_ns: float) -> None:
    """Record the worst bound of the clock offset, to which a step of the phone's timer belongs.

    Args:
        details: The device's details; ``clock_bound_ms`` grows.
        bound_ns: Half of the shortest round trip.
    """
    bound_ms = math.ceil(bound_ns * 1e-3 + details["timer_step_us"]) / 1e3
    details["clock_bound_ms"] = max(bound_ms, details.get("clock_bound_ms", 0.0))
