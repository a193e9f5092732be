"""Where training computes: the device, the number format, and one process or several.

    accelerate launch --num_processes 2 -m edgesnn.cli.train ...

starts several. Every process takes its share of each batch's sequences; gradients are averaged; the first
process alone writes files. Without a launcher nothing here needs `accelerate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from edgesnn.errors import ConfigError, missing_extra
from edgesnn.student.config import PrecisionName, TrainConfig

PATIENCE = timedelta(hours=24)
"""How long the others wait while the first process asks the teacher."""

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


class Workers:
    """A single process."""

    rank = 0
    count = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # float16 gradients underflow without a scale; bfloat16 and float32 need none
        self._scaler: torch.amp.GradScaler | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as the loop calls it."""
        return model

    def scale_gradients(self) -> None:
        """Guard float16 gradients."""
        self._scaler = torch.amp.GradScaler(self.device.type)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Undo the scale before gradients are measured."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimizer step; a float16 step whose gradients overflowed is left out."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    @property
    def scaled(self) -> bool:
        """Whether an overflowing gradient is a matter of the scale."""
        return self._scaler is not None

    @contextmanager
    def accumulate(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Around one batch of a step; only the last one exchanges gradients."""
        yield

    def barrier(self) -> None:
        """Wait for all processes."""

    def mean(self, value: float) -> float:
        """Mean over the processes."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is set in some process."""
        return flag

    def of_first(self, value: float) -> float:
        """The first process's value."""
        return value


class AcceleratedWorkers(Workers):
    """Several processes, joined by Hugging Face ``accelerate``."""

    def __init__(self, config: TrainConfig) -> None:
        try:
            import accelerate
            from accelerate import utils
        except ImportError:
            raise missing_extra("accelerate", "train", "training in several processes") from None
        handlers: list[Any] = [utils.InitProcessGroupKwargs(timeout=PATIENCE)]
        if config.gradient_checkpointing:
            handlers.append(utils.DistributedDataParallelKwargs(static_graph=True))
        self._accelerator: Any = accelerate.Accelerator(
            cpu=config.device == "cpu" or None, kwargs_handlers=handlers
        )
        self.rank = int(self._accelerator.process_index)
        self.count = int(self._accelerator.num_processes)
        super().__init__(self._accelerator.device)

    def wrap(self, model: nn.Module) -> nn.Module:  # noqa: D102 - as in the base class
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    @contextmanager
    def accumulate(self, model: nn.Module, last: bool) -> Iterator[None]:  # noqa: D102
        if last:
            yield
        else:
            with self._accelerator.no_sync(model):
                yield

    def barrier(self) -> None:  # noqa: D102
        self._accelerator.wait_for_everyone()

    def mean(self, value: float) -> float:  # noqa: D102
        return float(self._accelerator.reduce(torch.tensor(value, device=self.device), "mean"))

    def any(self, flag: bool) -> bool:  # noqa: D102
        return self.mean(float(flag)) > 0

    def of_first(self, value: float) -> float:  # noqa: D102
        return self.mean(value * self.count if self.first else 0.0)


def join_workers(config: TrainConfig) -> Workers:
    """The processes of this run, as their launcher set them up.

    Raises:
        MissingExtraError: A launcher started several, and ``accelerate`` is not installed.
        ConfigError: The device is not here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedWorkers(config)
    return Workers(pick_device(config.device))
