"""From a student of version 1.0 to one that has an integer program: the old one teaches the new one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgesnn.api.students import read_student, student_folder
from edgesnn.api.v1.text import end_of_text, need_tokenizer
from edgesnn.errors import missing_extra
from edgesnn.program.artifact import TENSORS_NAME
from edgesnn.program.v1_student import NORM_EPS, V1Student, read_v1

if TYPE_CHECKING:
    from edgesnn.student.config import TrainConfig
    from edgesnn.student.training.distilled_text import OnTeacher
    from edgesnn.student.training.preparation import OnRead
    from edgesnn.student.training.progress import OnDoubt, OnProgress, Trained


def read_v1_student(student: str | os.PathLike[str]) -> V1Student:
    """Read a student of version 1.0.

    Args:
        student: Its folder, or the weights in it.

    Raises:
        ArtifactError: It is none, or is unusable.
        MissingExtraError: Only ``student.pt`` is there, and torch is not installed.

    Examples:
        >>> edgesnn.read_v1_student("old").depth
        1
    """
    return read_v1(read_student(student))


def upgrade_student(
    old: str | os.PathLike[str],
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    on_teacher: OnTeacher | None = None,
    on_read: OnRead | None = None,
    on_doubt: OnDoubt | None = None,
) -> Trained:
    """Distil a student of version 1.0 into one that has an integer program.

    The old student teaches, asked prefix by prefix, as it generates. What was cut short goes on when it is
    repeated.

    Args:
        old: The old student's folder, or the weights in it.
        config: The run, with the text in ``dataset_path``; its ``teacher_model`` is the old student.
        on_progress: Called after every step.
        tokenizer: The old student's ``tokenizer.json``, or a folder with one; None takes the one beside it.
        on_teacher: Told how far the old student is with each text.
        on_read: Told what the text was read as.
        on_doubt: Told why the old student is no better than token frequencies, where it is not.

    Returns:
        The new artifact's folder and its metadata.

    Raises:
        MissingExtraError: torch is not installed.
        ArtifactError: The old student is unusable, or none of version 1.0.
        UsageError: There is no tokenizer.
        TextError: The tokenizer is no byte-level BPE.
        TrainingError: Unusable text, divergence, too little memory.
        OutputError: A file cannot be written.

    Examples:
        >>> config = edgesnn.TrainConfig(
        ...     output_dir="upgraded", num_steps=2, vocab_size=300, max_length=16, git_tracking=False,
        ...     dataset_path="old/text.txt", eval_tokens=100, teacher_tokens=200,
        ...     architecture_options={"dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "rank": 8,
        ...                           "windows": [4, 8]},
        ... )
        >>> edgesnn.upgrade_student("old", config).metadata["model_type"]
        'SpikingTransformerLM'
    """
    try:
        import edgesnn.student.v1.teacher as teaching
        from edgesnn.student.training.trainer import train_student
        from edgesnn.student.v1.model import V1StudentModel
    except ImportError:
        raise missing_extra("torch", "train", "training") from None
    folder = student_folder(old)
    student = read_v1_student(folder)
    path, text = need_tokenizer(student, folder, tokenizer, "upgrading")
    weights = next(folder / name for name in (TENSORS_NAME, "student.pt") if (folder / name).is_file())
    teacher = teaching.v1_teacher(
        V1StudentModel(student.tensors, student.heads, student.threshold, NORM_EPS),
        text,
        end_of_text(text),
        folder.resolve().name,
        [weights, path],
    )
    return train_student(
        config.model_copy(update={"teacher_model": os.fspath(folder)}),
        on_progress,
        on_teacher=on_teacher,
        teacher=teacher,
        on_read=on_read,
        on_doubt=on_doubt,
    )
