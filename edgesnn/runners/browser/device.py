"""What a phone is given, and what it turns out to be: files, the first talk, the device's description."""

from __future__ import annotations

import math
from typing import Any

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.ops import Attend
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from edgesnn.runners.base import DeviceInfo, RunnerOptions
from edgesnn.runners.browser import assets as browser_assets
from edgesnn.runners.browser.phone import BrowserPhone
from edgesnn.runners.browser.server import PAGE, Served, read_served
from edgesnn.runners.onnxruntime.guard import check_onnx

#: The export whose files the page runs, and their forms.
EXPORT = "onnx"
_ROLES = ("step", "sequence", "prefill")
MS_PER_NS = 1e-6
#: Round trips of one clock comparison; the shortest counts.
PINGS = 12
#: Longest silence while the page fetches the engine, seconds.
_LOAD_S = 120.0


def served_files(bundle: Bundle) -> dict[str, Served]:
    """Everything that the page may fetch, by path below the token.

    Raises:
        BundleError: The bundle has no int8 ONNX files, or a file reaches outside itself.
        RunnerError: The files of onnxruntime-web are not to be had.
    """
    files = {path.name: read_served(path) for path in sorted(PAGE.iterdir()) if path.is_file()}
    found = browser_assets.assets()
    for name in browser_assets.FILES:
        files[f"ort/{name}"] = read_served(found[name], found.get(f"{name}.gz"))
    for role in _ROLES:
        path = bundle.export_file(EXPORT, role)
        served = read_served(path)
        check_onnx(served.content, path.name)
        files[f"model/{role}.onnx"] = served
    return files


def state_layout(program: Program) -> list[dict[str, Any]]:
    """The state tensors with where a token's part goes: rings as ``[head, first slot, slots]``."""
    rings = {
        op.name: [[head, first, size] for head, (first, size) in enumerate(op.rings) if size > 0]
        for op in program.all(Attend)
    }
    return [
        {
            "name": tensor.name,
            "kind": tensor.kind,
            "shape": list(tensor.shape),
            "rings": rings.get(tensor.op, []),
        }
        for tensor in state_tensors(program)
    ]


def welcome(phone: BrowserPhone, bundle: Bundle, program: Program, options: RunnerOptions) -> DeviceInfo:
    """Tell a phone what it will run, load the step graph there and describe the device.

    Raises:
        PhoneGone: The page was closed meanwhile.
        RunnerError: The connection gives no threads, the browser refused the model, or another one arrived.
    """
    facts = phone.facts
    if options.threads > 1 and not facts.cross_origin_isolated:
        raise RunnerError(
            "this connection gives the browser no threads",
            actual=f"{options.threads} threads asked for",
            limit=1,
            remedy="use --https, or --threads 1",
        )
    phone.tell(
        "welcome",
        model=bundle.name,
        engine=f"{browser_assets.PACKAGE} {browser_assets.VERSION}",
        logit_unit=1 / program.logit_scale,
        state=state_layout(program),
        threads=options.threads,
    )
    answer, _ = phone.ask("load", role="step", silence_s=_LOAD_S)
    file = bundle.manifest.exports[EXPORT].files["step"]
    wanted, found = bundle.manifest.files[file].sha256, answer.digest("model_sha256")
    if found != wanted:
        raise RunnerError("another model arrived on the phone", actual=found, limit=wanted)
    threads = answer.whole("threads", 1, 4096)
    if threads != options.threads:
        raise RunnerError("the browser runs another number of threads", actual=threads, limit=options.threads)
    details: dict[str, Any] = {
        "format": EXPORT,
        "provider": "WASM",
        "threads": threads,
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
        engine=browser_assets.PACKAGE,
        engine_version=browser_assets.VERSION,
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
