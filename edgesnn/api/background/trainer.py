"""Distillation as the background documents call it: one class from the teacher to the exported student.

trainer = SNNDistillationTrainer(create_default_config())
trainer.load_teacher()
trainer.initialize_student()
results = trainer.train()
figures = trainer.evaluate()
path = trainer.export_model("tflite")
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesnn.api.background.files import whole_model
from edgesnn.api.background.scored_text import ScoredText
from edgesnn.api.hardware import SNNHardwareProfiler
from edgesnn.api.students import export_student
from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.errors import ArtifactError, EdgesnnError, missing_extra
from edgesnn.program.artifact import METADATA_NAME
from edgesnn.whole_files import write_whole

if TYPE_CHECKING:
    from torch import nn

    from edgesnn.student.distillation import SNNDistillationConfig
    from edgesnn.student.teacher import Teacher
    from edgesnn.student.training.distilled_text import OnTeacher
    from edgesnn.student.training.progress import OnProgress

#: Name in `SNNDistillationTrainer.training_metrics` of a number in the log of a training.
METRICS = {"loss": "loss", "kd_loss": "kd", "ce_loss": "ce"}


class SNNDistillationTrainer:
    """Distils a teacher into a spiking student, scores it and exports it.

    Args:
        config: What to do; None for the background document's.

    Attributes:
        config: What to do.
        teacher_model: The teacher, once it is loaded.
        student_model: The student as a torch module: untrained after `initialize_student`, trained after
            `train`.
        training_metrics: ``loss``, ``ce_loss`` (text) and ``kd_loss`` (teacher) of every logged step, in nats
            per token, and ``accuracy`` (held-out top-1, 0..1), once at the end; empty before `train`.

    Examples:
        >>> config = edgesnn.SNNDistillationConfig(student_hidden_size=32, student_num_layers=1)
        >>> trainer = edgesnn.SNNDistillationTrainer(config)
        >>> student = trainer.initialize_student()
    """

    def __init__(self, config: SNNDistillationConfig | None = None) -> None:
        from edgesnn.student import create_default_config

        self.config = create_default_config() if config is None else config
        self.teacher_model: Teacher | None = None
        self.student_model: nn.Module | None = None
        self.training_metrics: dict[str, list[float]] = {name: [] for name in (*METRICS, "accuracy")}

    def load_teacher(self) -> Teacher:
        """Load the teacher, from ``teacher_checkpoint`` if one is given.

        Raises:
            TrainingError: It is missing, gated, out of reach or damaged.
            MissingExtraError: torch or transformers is not installed.
        """
        _require_torch()
        from edgesnn.student.teacher import load_teacher

        self.teacher_model = load_teacher(self.config.teacher_checkpoint or self.config.teacher_model)
        return self.teacher_model

    def initialize_student(self) -> nn.Module:
        """Build an untrained student of the configured size.

        Raises:
            ConfigError: Unknown architecture, or sizes that do not fit.
        """
        _require_torch()
        from edgesnn.student.model import registry

        config = self.config.to_train_config()
        self.student_model = registry.build(
            config.architecture, config.architecture_options, config.snn, config.vocab_size
        )
        return self.student_model

    def train(
        self, on_progress: OnProgress | None = None, on_teacher: OnTeacher | None = None
    ) -> dict[str, Any]:
        """Ask the teacher, train the student, write its artifact, and export it where that is asked for.

        Args:
            on_progress: Called after every step.
            on_teacher: Told how far the teacher is.

        Returns:
            ``status`` "completed", ``message``, ``output`` (the artifact's folder), ``expected_output`` (its
            ``student.pt``), ``config``, ``training_results`` as in metadata.json, and ``onnx`` and ``tflite``
            (the exported file, or None).

        Raises:
            TrainingError: Unusable text or teacher, divergence, too little memory.
            OutputError: A file cannot be written.
        """
        _require_torch()
        from edgesnn.student import load_student
        from edgesnn.student.training.distilled_text import prepare_distilled
        from edgesnn.student.training.trainer import train_student
        from edgesnn.whole_files import make_folder

        config = self.config
        first = config.to_train_config()
        make_folder(Path(first.output_dir))
        prepared = prepare_distilled(first, Path(first.output_dir), on_teacher, self.teacher_model)
        per_step = first.batch_size * first.grad_accum_steps * first.max_length
        steps = config.num_epochs * math.ceil(len(prepared.corpus.ids) / per_step)
        trained = train_student(
            config.to_train_config(min(steps, config.max_steps or steps)),
            on_progress,
            on_teacher=on_teacher,
            teacher=self.teacher_model,
        )
        results = trained.metadata["training_results"]
        self.student_model, _ = load_student(trained.directory)
        self.training_metrics = _metrics(trained.directory)
        self.training_metrics["accuracy"].append(results["eval"]["top1"])
        return {
            "status": "completed",
            "message": f"{results['steps']} steps, final loss {results['final_loss']:.4f} nats per token",
            "output": str(trained.directory),
            "expected_output": str(trained.directory / "student.pt"),
            "config": config.to_dict(),
            "training_results": results,
            "onnx": self.export_model("onnx") if config.export_onnx else None,
            "tflite": self.export_model("tflite") if config.export_tflite else None,
        }

    def evaluate(
        self,
        test_data: ScoredText | None = None,
        *,
        target: str = "cpu",
        profile: str = "quick",
        meter: str | None = None,
    ) -> dict[str, Any]:
        """Score the trained student as it is deployed: its integers, on a target.

        Args:
            test_data: What `SNNHardwareProfiler.profile_accuracy` takes; None for the held-out text.
            target: Device or runner that is timed.
            profile: Profile that says how long and how often.
            meter: Address of a power meter; without one power is not known.

        Returns:
            What `SNNHardwareProfiler.profile_accuracy` gives, and ``latency_ms`` (mean per token),
            ``latency_kind``, ``power_mw`` (mean, or None without a meter) and ``power_kind``.

        Raises:
            ArtifactError: There is no trained student in ``output_dir``.
            DeviceError: Target or meter failed.
        """
        with SNNHardwareProfiler(self._trained(), target=target, profile=profile) as profiler:
            quality = profiler.profile_accuracy(test_data)
            latency = profiler.profile_latency()
            power = None if meter is None else profiler.profile_power(meter)
        return {
            **quality,
            "latency_ms": latency["mean_ms"],
            "latency_kind": latency["kind"],
            "power_mw": None if power is None else power["mean_mw"],
            "power_kind": None if power is None else power["kind"],
        }

    def export_model(self, format: str = "onnx") -> str:
        """Export the trained student.

        The bundle that devices run lies in ``bundle`` in the student's folder; formats that are in it already
        stay.

        Args:
            format: ``pt`` for the weights as they are, or a format of ``edgesnn list exporters``.

        Returns:
            Path of the exported model: a file beside the weights, or the bundle where the format is no single
            file.

        Raises:
            ArtifactError: There is no trained student in ``output_dir``.
            UsageError: Unknown format.
            UserError: The format cannot be written here, or cannot carry the student.
        """
        artifact = self._trained()
        if format in ("pt", "pytorch"):
            return str(artifact / "student.pt")
        return str(export_beside(artifact, format))

    def _trained(self) -> Path:
        folder = Path(self.config.output_dir)
        if not (folder / METADATA_NAME).is_file():
            raise ArtifactError(f"there is no trained student in '{folder}'", remedy="call train() first")
        return folder


def export_beside(artifact: Path, export_format: str) -> Path:
    """Export a student into ``bundle`` in its folder, and put the format's one file beside the weights.

    Args:
        artifact: The student's folder.
        export_format: The format; others that the bundle of this student holds stay in it.

    Returns:
        The file, or the bundle where the format is a folder.

    Raises:
        UserError: The export failed; nothing is left half-written.
    """
    folder = artifact / "bundle"
    formats = [export_format]
    if (folder / MANIFEST_NAME).is_file():
        with suppress(EdgesnnError):  # a damaged bundle is replaced
            formats += [name for name in Bundle(folder).manifest.exports if name != export_format]
    bundle = export_student(artifact, folder, formats, overwrite=True, name=artifact.resolve().name)
    file = None if export_format == "c" else whole_model(bundle, export_format)
    if file is None:
        return bundle.path
    write_whole(artifact / file, bundle.file(file).read_bytes())
    return artifact / file


def _metrics(artifact: Path) -> dict[str, list[float]]:
    """The numbers of every logged step by their names in the background documents."""
    metrics: dict[str, list[float]] = {name: [] for name in (*METRICS, "accuracy")}
    for line in (artifact / "train_log.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        for name, key in METRICS.items():
            if key in entry:
                metrics[name].append(entry[key])
    return metrics


def _require_torch() -> None:
    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "distillation")
