"""The configuration of a distillation: one JSON file, also as the original of the interface writes it.

Fields and defaults are those of the background document. It trains in epochs; `to_train_config` says what
that means in steps. `edgesnn.api.training.trainer` is what trains.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesnn.errors import ConfigError
from edgesnn.names import nearest
from edgesnn.student.config import PrecisionName, SchedulerName, SnnConfig, SurrogateName, TrainConfig
from edgesnn.whole_files import write_whole

MLP_FACTOR = 2
"""Hidden neurons of the MLP per channel."""

DEFAULT_CONFIG_PATH = "config/snn_distillation.json"
"""Where the background document keeps its configuration."""


class SNNDistillationConfig(BaseModel):
    """What a distillation is told.

    The first groups are the background document's, name for name; the last one is what it leaves open.
    ``alpha_ce`` and ``alpha_kd`` are the two weights of the loss. ``quantization_bits`` must be 8: the
    integer program has int8 weights. The targets in ms and mW are budgets for ``edgesnn profile``; training
    only stores them. Training ends after ``num_epochs``, or after ``max_steps`` where that is sooner.

    What the original of this interface writes is read too: ``max_sequence_length`` is ``max_length``;
    ``surrogate_beta`` is ``surrogate_slope`` of the surrogate ``1 / (1 + slope |V - threshold|)``
    (``fast_sigmoid`` of power 1). Its fields without a meaning here are named in one warning.

    Examples:
        >>> config = edgesnn.SNNDistillationConfig(teacher_model="gpt2", student_hidden_size=128)
        >>> config.save("distillation.json")
        >>> edgesnn.SNNDistillationConfig.load("distillation.json") == config
        True
        >>> edgesnn.SNNDistillationConfig.from_dict({"timesteps": 4, "max_sequence_length": 32}).max_length
        32
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    teacher_model: str = "gpt2"
    teacher_checkpoint: str | None = None

    student_architecture: str = "spiking_transformer"
    student_hidden_size: int = Field(256, ge=1)
    student_num_layers: int = Field(4, ge=1)
    student_num_heads: int = Field(4, ge=1)

    temperature: float = Field(2.0, gt=0)
    alpha_ce: float = Field(0.5, ge=0, le=1)
    alpha_kd: float = Field(0.5, ge=0)

    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(8, ge=1)
    num_epochs: int = Field(10, ge=1)
    max_steps: int | None = Field(None, ge=1)
    gradient_accumulation_steps: int = Field(4, ge=1)

    spiking_threshold: float = Field(1.0, gt=0)
    membrane_decay: float = Field(0.9, gt=0, le=1)
    timesteps: int = Field(10, ge=1, le=127)

    target_latency_ms: float = Field(50.0, gt=0)
    target_power_mw: float = Field(100.0, gt=0)
    quantization_bits: int = Field(8, ge=8, le=8)

    output_dir: str = "artifacts/snn_student"
    export_onnx: bool = True
    export_tflite: bool = False

    dataset: str = "synthetic"
    dataset_path: str | None = None
    eval_path: str | None = None
    teacher_cache: str | None = None
    max_length: int = Field(64, ge=2)
    vocab_size: int = Field(4096, ge=259, le=65_536)
    embedding_rank: int = Field(64, ge=2, le=1040)
    surrogate: SurrogateName = "sigmoid"
    surrogate_slope: float = Field(2.0, gt=0)
    surrogate_power: Literal[1, 2] = 2
    scheduler: SchedulerName = "constant"
    warmup_steps: int = Field(0, ge=0)
    precision: PrecisionName = "auto"
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)

    def __init__(self, **values: Any) -> None:
        known = _translated(values)
        unknown = [name for name in known if name not in type(self).model_fields]
        if unknown:
            raise _unknown_fields(unknown, list(type(self).model_fields))
        try:
            super().__init__(**known)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"SNNDistillationConfig, {where}: {first['msg']}",
                actual=first.get("input"),
                remedy=_REMEDIES.get(where),
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as plain data."""
        return self.model_dump()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SNNDistillationConfig:
        """The configuration of plain data, also of what the original of this interface writes.

        Raises:
            ConfigError: A field is unknown, or a value does not fit.
        """
        return cls(**data)

    def save(self, path: str | Path) -> None:
        """Write the configuration as JSON; folders are made.

        Raises:
            OutputError: The file cannot be written.
        """
        write_whole(Path(path), (json.dumps(self.to_dict(), indent=2) + "\n").encode("utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> SNNDistillationConfig:
        """Read a configuration.

        Raises:
            ConfigError: The file is missing, is no JSON object, or holds unknown or unfit values.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the configuration '{path}'", actual=str(error)) from None
        if not isinstance(data, dict):
            raise ConfigError(f"the configuration '{path}' is no JSON object", actual=type(data).__name__)
        return cls.from_dict(data)

    def to_train_config(self, num_steps: int = 1) -> TrainConfig:
        """The same as the trainer takes it.

        Args:
            num_steps: Optimizer steps; the trainer counts them out of ``num_epochs`` and the text.

        Raises:
            ConfigError: A value does not fit.
        """
        dim = self.student_hidden_size
        heads = self.student_num_heads
        snn = SnnConfig(
            num_timesteps=self.timesteps,
            surrogate_type=self.surrogate,
            surrogate_slope=self.surrogate_slope,
            surrogate_power=self.surrogate_power,
            spike_threshold=self.spiking_threshold,
            decay_numerator=max(1, round(self.membrane_decay * 256)),
        )
        options = {
            "dim": dim,
            "depth": self.student_num_layers,
            "num_heads": heads,
            "mlp_dim": MLP_FACTOR * dim,
            "rank": min(self.embedding_rank, dim),
            "windows": windows_for(heads, self.max_length),
        }
        values = {
            "output_dir": self.output_dir,
            "dataset": self.dataset,
            "dataset_path": self.dataset_path,
            "eval_path": self.eval_path,
            "vocab_size": self.vocab_size,
            "max_length": self.max_length,
            "architecture": self.student_architecture,
            "architecture_options": options,
            "snn": snn,
            "num_steps": num_steps,
            "batch_size": self.batch_size,
            "grad_accum_steps": self.gradient_accumulation_steps,
            "lr": self.learning_rate,
            "scheduler": self.scheduler,
            "warmup_steps": min(self.warmup_steps, num_steps),
            "teacher_model": self.teacher_checkpoint or self.teacher_model,
            "teacher_cache": self.teacher_cache,
            "temperature": self.temperature,
            "alpha": self.alpha_ce,
            "alpha_kd": self.alpha_kd,
            "precision": self.precision,
            "seed": self.seed,
            "threads": self.threads,
        }
        try:
            return TrainConfig.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"SNNDistillationConfig: {error.errors()[0]['msg']}") from None


def create_default_config() -> SNNDistillationConfig:
    """The background document's configuration.

    Examples:
        >>> edgesnn.create_default_config().timesteps
        10
    """
    return SNNDistillationConfig()


def save_default_config(path: str | Path = DEFAULT_CONFIG_PATH) -> None:
    """Write the background document's configuration as JSON; folders are made.

    Args:
        path: The file.

    Raises:
        OutputError: The file cannot be written.

    Examples:
        >>> edgesnn.save_default_config("config/snn_distillation.json")
        >>> edgesnn.SNNDistillationConfig.load("config/snn_distillation.json").temperature
        2.0
    """
    create_default_config().save(path)


_REMEDIES = {
    "alpha_ce": "it is the weight of the text, 0..1; what the teacher weighs against it is alpha_kd",
    "quantization_bits": "the integer program has int8 weights: leave it at 8",
}
"""What to do about a value, by field."""


def _translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """The original's fields under our names; one warning names those that have no meaning here."""
    kept = dict(values)
    length = kept.pop("max_sequence_length", None)
    if length is not None:
        kept.setdefault("max_length", length)
    slope = kept.pop("surrogate_beta", None)
    if slope is not None:  # its formula is printed in the document: 1 / (1 + beta |V - threshold|)
        kept.setdefault("surrogate_slope", slope)
        if "surrogate" not in kept:
            kept |= {"surrogate": "fast_sigmoid", "surrogate_power": 1}
    ignored = []
    if "synaptic_delay" in kept:
        ignored.append(f"synaptic_delay={kept.pop('synaptic_delay')!r} (spikes arrive at once)")
    if kept.pop("use_surrogate_gradient", True) is not True:
        ignored.append("use_surrogate_gradient=False (spikes have no other gradient)")
    if ignored:
        warnings.warn(f"SNNDistillationConfig ignores {', '.join(ignored)}", stacklevel=3)
    return kept


def _unknown_fields(names: list[str], known: list[str]) -> ConfigError:
    """The error for fields that do not exist: each with its nearest names."""
    meant = [(name, nearest(name, known)) for name in names]
    return ConfigError(
        f"SNNDistillationConfig has no field {', '.join(map(repr, names))}",
        remedy="; ".join(f"for '{name}' perhaps {' or '.join(near)}" for name, near in meant if near)
        or "docs/api.md lists its fields",
    )


def windows_for(heads: int, max_length: int) -> list[int]:
    """One context window per head: from 8 tokens to 256 in even ratios, none longer than a sequence."""
    if heads == 1:
        return [min(256, max_length)]
    ratio = (256 / 8) ** (1 / (heads - 1))
    return [min(round(8 * ratio**head), max_length) for head in range(heads)]
