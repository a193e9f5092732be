"""Distillation from Python: one configuration file, one trainer.

    config = create_default_config()
    config.save("config/snn_distillation.json")
    trainer = SNNDistillationTrainer(config)
    trainer.load_teacher()
    trainer.initialize_student()
    results = trainer.train()

Fields, defaults and JSON are those of the background document. It trains in epochs; `to_train_config` says
what that means in steps.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesnn.errors import ConfigError, ExportError, missing_extra
from edgesnn.student.config import PrecisionName, SchedulerName, SnnConfig, SurrogateName, TrainConfig
from edgesnn.whole_files import write_whole

if TYPE_CHECKING:
    from torch import nn

    from edgesnn.student.teacher import Teacher
    from edgesnn.student.training.distilled_text import OnTeacher
    from edgesnn.student.training.progress import OnProgress

MLP_FACTOR = 2
"""Hidden neurons of the MLP per channel."""


class SNNDistillationConfig(BaseModel):
    """What a distillation is told.

    The first groups are the background document's, name for name; the last one is what it leaves open.
    ``alpha_ce`` and ``alpha_kd`` are the two weights of the loss. ``quantization_bits`` must be 8: the
    integer program has int8 weights. The targets in ms and mW are budgets for ``edgesnn profile``; training
    only stores them.

    Examples:
        >>> config = edgesnn.SNNDistillationConfig(teacher_model="gpt2", student_hidden_size=128)
        >>> config.save("distillation.json")
        >>> edgesnn.SNNDistillationConfig.load("distillation.json") == config
        True
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    teacher_model: str = "gpt2"
    teacher_checkpoint: str | None = None

    student_architecture: str = "spiking_transformer"
    student_hidden_size: int = Field(256, ge=1)
    student_num_layers: int = Field(4, ge=1)
    student_num_heads: int = Field(4, ge=1)

    temperature: float = Field(2.0, gt=0)
    alpha_ce: float = Field(0.5, ge=0)
    alpha_kd: float = Field(0.5, ge=0)

    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(8, ge=1)
    num_epochs: int = Field(10, ge=1)
    gradient_accumulation_steps: int = Field(4, ge=1)

    spiking_threshold: float = Field(1.0, gt=0)
    membrane_decay: float = Field(0.9, gt=0, le=1)
    timesteps: int = Field(10, ge=1, le=127)

    target_latency_ms: float = Field(50.0, gt=0)
    target_power_mw: float = Field(100.0, gt=0)
    quantization_bits: int = Field(8, ge=8, le=8)

    output_dir: str = "artifacts/snn_student"
    export_onnx: bool = True

    dataset: str = "synthetic"
    dataset_path: str | None = None
    eval_path: str | None = None
    teacher_cache: str | None = None
    max_length: int = Field(64, ge=2)
    vocab_size: int = Field(4096, ge=259, le=65_536)
    embedding_rank: int = Field(64, ge=2, le=1040)
    surrogate: SurrogateName = "sigmoid"
    scheduler: SchedulerName = "constant"
    warmup_steps: int = Field(0, ge=0)
    precision: PrecisionName = "auto"
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            unknown = first["type"] == "extra_forbidden"
            raise ConfigError(
                f"SNNDistillationConfig, {where}: {first['msg']}",
                actual=first.get("input"),
                limit=", ".join(type(self).model_fields) if unknown else None,
            ) from None

    def save(self, path: str | Path) -> None:
        """Write the configuration as JSON; folders are made.

        Raises:
            OutputError: The file cannot be written.
        """
        write_whole(Path(path), (json.dumps(self.model_dump(), indent=2) + "\n").encode("utf-8"))

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
        return cls(**data)

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
            surrogate_slope=2.0,
            surrogate_power=2,
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
            "alpha": min(self.alpha_ce, 1.0),
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


def windows_for(heads: int, max_length: int) -> list[int]:
    """One context window per head: from 8 tokens to 256 in even ratios, none longer than a sequence."""
    if heads == 1:
        return [min(256, max_length)]
    ratio = (256 / 8) ** (1 / (heads - 1))
    return [min(round(8 * ratio**head), max_length) for head in range(heads)]


class SNNDistillationTrainer:
    """Distils a teacher into a spiking student.

    Args:
        config: What to do.

    Examples:
        >>> config = edgesnn.SNNDistillationConfig(student_hidden_size=32, student_num_layers=1)
        >>> trainer = edgesnn.SNNDistillationTrainer(config)
        >>> student = trainer.initialize_student()
    """

    def __init__(self, config: SNNDistillationConfig) -> None:
        self.config = config
        self.teacher: Teacher | None = None
        self.student: nn.Module | None = None

    def load_teacher(self) -> Teacher:
        """Load the teacher, from ``teacher_checkpoint`` if one is given.

        Raises:
            TrainingError: It is missing, gated, out of reach or damaged.
            MissingExtraError: torch or transformers is not installed.
        """
        _require_torch()
        from edgesnn.student.teacher import load_teacher

        self.teacher = load_teacher(self.config.teacher_checkpoint or self.config.teacher_model)
        return self.teacher

    def initialize_student(self) -> nn.Module:
        """Build an untrained student of the configured size.

        Raises:
            ConfigError: Unknown architecture, or sizes that do not fit.
        """
        _require_torch()
        from edgesnn.student.model import registry

        config = self.config.to_train_config()
        self.student = registry.build(
            config.architecture, config.architecture_options, config.snn, config.vocab_size
        )
        return self.student

    def train(
        self, on_progress: OnProgress | None = None, on_teacher: OnTeacher | None = None
    ) -> dict[str, Any]:
        """Ask the teacher, train the student, write its artifact, and export it where that is asked for.

        Args:
            on_progress: Called after every step.
            on_teacher: Told how far the teacher is.

        Returns:
            ``status`` "completed", ``output`` (the artifact's folder), ``config``, ``training_results`` as in
            metadata.json, and ``onnx`` (the exported file, or None).

        Raises:
            TrainingError: Unusable text or teacher, divergence, too little memory.
            OutputError: A file cannot be written.
        """
        _require_torch()
        from edgesnn.student.training.distilled_text import prepare_distilled
        from edgesnn.student.training.trainer import train_student
        from edgesnn.whole_files import make_folder

        first = self.config.to_train_config()
        make_folder(Path(first.output_dir))
        prepared = prepare_distilled(first, Path(first.output_dir), on_teacher, self.teacher)
        per_step = first.batch_size * first.grad_accum_steps * first.max_length
        steps = self.config.num_epochs * math.ceil(len(prepared.corpus.ids) / per_step)
        trained = train_student(
            self.config.to_train_config(steps), on_progress, on_teacher=on_teacher, teacher=self.teacher
        )
        onnx = export_onnx(trained.directory) if self.config.export_onnx else None
        return {
            "status": "completed",
            "output": str(trained.directory),
            "config": self.config.model_dump(),
            "training_results": trained.metadata["training_results"],
            "onnx": None if onnx is None else str(onnx),
        }


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - only asks whether it is there
    except ImportError:
        raise missing_extra("torch", "train", "distillation") from None


def export_onnx(artifact: Path) -> Path:
    """Run ``edgesnn export`` in a process of its own and put ``student.onnx`` beside the weights.

    Args:
        artifact: The student.

    Returns:
        ``student.onnx``; the whole bundle lies in ``bundle`` beside it.

    Raises:
        ExportError: The export failed.
        OutputError: The file cannot be written.
    """
    bundle = artifact / "bundle"
    arguments = ["export", str(artifact), "-o", str(bundle), "--format", "onnx", "--force", "--json"]
    arguments += ["--name", artifact.resolve().name]
    done = subprocess.run(
        [sys.executable, "-m", "edgesnn.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        try:
            actual = json.loads(done.stdout)["error"]["what"]
        except (ValueError, KeyError):
            actual = done.stderr.strip()[-300:]
        raise ExportError(f"the export of '{artifact.name}' failed", actual=actual)
    write_whole(artifact / "student.onnx", (bundle / "student.onnx").read_bytes())
    return artifact / "student.onnx"
