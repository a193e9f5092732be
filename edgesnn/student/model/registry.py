"""Architectures by name; the trainer and the loader see only the protocol below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from edgesnn.errors import ConfigError
from edgesnn.student.config import SnnConfig
from edgesnn.student.model.spiking_transformer import SpikingTransformerConfig, SpikingTransformerLM


@runtime_checkable
class Student(Protocol):
    """What the trainer asks of a model, which is a ``torch.nn.Module`` besides."""

    def forward(self, ids: Tensor) -> Tensor:
        """Logits float32 ``[B, L, V]`` of int64 ids ``[B, L]``."""
        ...

    def constrain_(self) -> None:
        """Project the parameters to the allowed set; called after each optimizer step."""
        ...

    def freeze_statistics(self) -> None:
        """Stop batch statistics; called once, for the last part of the training."""
        ...

    def record_spike_rates(self, enabled: bool) -> None:
        """Switch the measuring of spike rates on or off."""
        ...

    def spike_rates(self) -> dict[str, float]:
        """Rates of the last recorded forward pass, by layer."""
        ...

    def describe(self) -> dict[str, Any]:
        """The architecture dictionary of metadata.json, ``name`` included."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """What a model may offer besides; without it the trainer computes in float32 and sets no spike rate."""

    def set_precision(self, dtype: torch.dtype) -> None:
        """Dtype of spikes and matrix products."""
        ...

    def set_segments(self, segments: Tensor | None) -> None:
        """Number of the context of each token ``[B, L]`` of the following batches; None: a row is one."""
        ...

    def set_checkpointing(self, enabled: bool) -> None:
        """Switch gradient checkpointing on or off."""
        ...

    def set_rate_target(self, target: float | None) -> None:
        """Penalise spike rates above a target; `take_penalty` then gives the penalty."""
        ...

    def take_penalty(self) -> Tensor | None:
        """The penalty of the last forward pass."""
        ...


@runtime_checkable
class IntegerAware(Protocol):
    """A model that can run its own integer program while training; without it there is no such phase."""

    def set_integer_aware(self, storage: str, exponent: int) -> None:
        """Make the forward pass the integer program, with straight-through gradients."""
        ...

    def leave_integer_aware(self) -> None:
        """Back to the float forward pass."""
        ...

    def logit_reach(self, ids: Tensor) -> Tensor:
        """Largest magnitude of each readout channel on some text."""
        ...


Build = Callable[[Any, SnnConfig, int, Tensor | None], nn.Module]
"""(configuration, neuron settings, vocabulary size, log-unigram or None) -> a model that is a Student."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the registry."""

    name: str
    config_class: type[BaseModel]
    build: Build
    model_type: str
    version: str


_REGISTRY: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Make an architecture known by its name; a second one of the same name replaces the first."""
    _REGISTRY[architecture.name] = architecture


def find(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ConfigError: No such architecture.
    """
    if name not in _REGISTRY:
        raise ConfigError(f"unknown student architecture '{name}'", limit=", ".join(sorted(_REGISTRY)))
    return _REGISTRY[name]


def names() -> tuple[str, ...]:
    """Every registered name, sorted."""
    return tuple(sorted(_REGISTRY))


def parse_options(architecture: Architecture, options: dict[str, Any]) -> BaseModel:
    """Validate an architecture's options.

    Raises:
        ConfigError: An option is unknown or out of range.
    """
    try:
        return architecture.config_class(**options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        raise ConfigError(
            f"architecture '{architecture.name}', {where}: {first['msg']}",
            actual=first["input"] if first["loc"] else None,
            limit=", ".join(architecture.config_class.model_fields)
            if first["type"] == "extra_forbidden"
            else None,
        ) from None


def build(
    name: str, options: dict[str, Any], snn: SnnConfig, vocab_size: int, log_unigram: Tensor | None = None
) -> nn.Module:
    """Build a model by architecture name.

    Raises:
        ConfigError: Unknown name or options.
    """
    architecture = find(name)
    return architecture.build(parse_options(architecture, options), snn, vocab_size, log_unigram)


register(
    Architecture(
        name="spiking_transformer",
        config_class=SpikingTransformerConfig,
        build=SpikingTransformerLM,
        model_type="SpikingTransformerLM",
        version="v2.0",
    )
)
