"""Training a student: text and teacher in, artifact out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgesnn.student.config import TrainConfig
from edgesnn.student.model import registry
from edgesnn.student.training.memory import keep_freed_memory
from edgesnn.student.training.objective import TokenLoss
from edgesnn.student.training.preparation import OnRead, prepare
from edgesnn.student.training.progress import OnDoubt, OnProgress, Progress, Trained
from edgesnn.student.training.run import WORK_DIRECTORY, TrainingRun
from edgesnn.student.training.workers import join_workers
from edgesnn.whole_files import make_folder

if TYPE_CHECKING:
    from edgesnn.student.teacher import Teacher
    from edgesnn.student.training.distilled_text import OnTeacher

__all__ = ["OnProgress", "Progress", "Trained", "train_student"]


def train_student(
    config: TrainConfig,
    on_progress: OnProgress | None = None,
    loss: TokenLoss | None = None,
    *,
    on_teacher: OnTeacher | None = None,
    teacher: Teacher | None = None,
    on_read: OnRead | None = None,
    on_doubt: OnDoubt | None = None,
) -> Trained:
    """Train a student and write its artifact.

    A run that was killed goes on from its last checkpoint when it is called again, with the same losses bit
    for bit on the CPU. On Linux the process keeps the memory that steps free until it ends.

    Args:
        config: The run.
        on_progress: Called after every step.
        loss: What to minimise; by default cross-entropy with the text, and KL from the teacher if there is
            one.
        on_teacher: Told how far the teacher is with each text.
        teacher: A teacher that is loaded already.
        on_read: Told what the text was read as.
        on_doubt: Told why the teacher is no better than token frequencies, where it is not.

    Returns:
        The directory and its metadata.

    Raises:
        ConfigError: Unknown architecture, data set or options.
        TrainingError: Unusable text, teacher or cache, a checkpoint of another configuration, divergence, too
            little memory.
        TextError: The teacher's tokenizer is no byte-level BPE.
        OutputError: A file cannot be written.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was saved.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    directory = Path(config.output_dir)
    registry.parse_options(registry.find(config.architecture), config.architecture_options)
    workers = join_workers(config)
    work = directory / WORK_DIRECTORY
    make_folder(work)
    if not workers.first:
        workers.barrier()
        on_teacher = on_read = None
    if config.teacher_model is None:
        prepared = prepare(config, work, on_read)
    else:
        from edgesnn.student.training.distilled_text import prepare_distilled

        prepared = prepare_distilled(config, directory, on_teacher, teacher, on_read)
    if workers.first:
        workers.barrier()
        if on_doubt is not None and prepared.teacher_doubt is not None:
            on_doubt(prepared.teacher_doubt)
    run = TrainingRun(config, prepared, directory, workers, loss)
    run.resume()
    run.train(on_progress)
    return run.finish()
