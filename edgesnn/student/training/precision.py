"""Where training computes, and in which number format."""

from __future__ import annotations

import torch

from edgesnn.errors import ConfigError
from edgesnn.student.config import PrecisionName

_NAMED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device of a setting; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: torch knows no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"the device '{name}' is not here", actual=str(error).split("\n", 1)[0]) from None
    return device


def pick_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """The dtype of spikes and matrix products.

    ``auto`` takes bfloat16 where the device multiplies it in hardware (a CPU with AMX or AVX512-BF16, a GPU
    since Ampere), float16 on older GPUs, else float32.
    """
    if name != "auto":
        return _NAMED[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    probes = (getattr(torch.cpu, f"_is_{what}_supported", None) for what in ("amx_tile", "avx512_bf16"))
    fast = device.type == "cpu" and any(probe() for probe in probes if probe is not None)
    return torch.bfloat16 if fast else torch.float32
