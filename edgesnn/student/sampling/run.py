"""One sampling run: prompts asked batch by batch, kept as they come, and joined at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TrainingError, UsageError
from edgesnn.student.sampling.decoding import Answering
from edgesnn.student.sampling.draw import DrawSettings, uniforms
from edgesnn.student.sampling.parts import PartCount, SampleFolder
from edgesnn.student.sampling.prompts import Prompts, batches
from edgesnn.student.teacher.align import Aligner
from edgesnn.student.teacher.loading import Teacher, trim_for
from edgesnn.student.teacher.passes import PassSettings, cache_key
from edgesnn.student.text.data import record_document


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How a teacher is sampled.

    Attributes:
        draw: How tokens are chosen.
        answers: Answers to each prompt.
        max_new_tokens: Tokens of an answer at most.
        batch_size: Answers side by side.
        seed: Seed of draws and order.
        vocab_size: Student ids, as in training.
        k: Student tokens kept of each distribution.
        tau: Temperature of the distillation that the rows are for.
        max_length: Longest segment of the student.

    Raises:
        UsageError: A value is out of range.
    """

    draw: DrawSettings = field(default_factory=DrawSettings)
    answers: int = 1
    max_new_tokens: int = 80
    batch_size: int = 64
    seed: int = 0
    vocab_size: int = 4096
    k: int = 64
    tau: float = 2.0
    max_length: int = 256

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A value is out of range.
        """
        for name in ("answers", "max_new_tokens", "batch_size", "k"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', ' ')} out of range", actual=getattr(self, name), limit=">= 1")
        if self.seed < 0:
            raise UsageError("seed out of range", actual=self.seed, limit=">= 0")


@dataclass(frozen=True, slots=True)
class SampleProgress:
    """Where a run stands.

    Attributes:
        done: Answers in all.
        total: Answers to be had.
        tokens: Tokens of the teacher in them.
        tokens_per_s: Mean of this process.
        seconds_left: Estimate; 0 where there is none yet.
    """

    done: int
    total: int
    tokens: int
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a run has made.

    Attributes:
        directory: Its folder.
        answers: Answers in all.
        tokens: Tokens of the teacher in them.
        positions: Positions with a row of the teacher.
        cut: Answers that met the limit.
        too_long: Prompts that do not fit and were not asked.
        complete: Whether every prompt is answered.
        tokens_per_s: Mean of this process; 0 where it sampled nothing.
    """

    directory: Path
    answers: int
    tokens: int
    positions: int
    cut: int
    too_long: int
    complete: bool
    tokens_per_s: float


OnSample = Callable[[SampleProgress], None]


def sample_answers(
    teacher: Teacher,
    prompts: Prompts,
    directory: Path,
    settings: SampleSettings,
    *,
    seconds: float | None = None,
    on_progress: OnSample | None = None,
) -> Sampled:
    """Ask a teacher, or go on with a run that was interrupted.

    The same teacher, prompts, settings, processor and threads give the same files, interrupted or not.

    Args:
        teacher: The teacher.
        prompts: What is asked.
        directory: Where ``answers.jsonl`` and ``rows`` go.
        settings: How.
        seconds: Begin no batch after so long; what is there is joined, and the same call goes on later.
        on_progress: Called after every batch.

    Returns:
        What is there.

    Raises:
        TrainingError: The folder belongs to another run or is damaged, no prompt fits, or memory ran out.
        OutputError: The disk is full; what was sampled before is kept.
    """
    trimmed = trim_for(teacher, settings.vocab_size)
    folder = SampleFolder(directory)
    described = _described(teacher, trimmed.sha256, prompts, settings)
    folder.claim(described)
    native = [np.asarray(ids, np.int32) for ids in teacher.tokenizer.encode_batch(prompts.texts)]
    chat = teacher.chat
    room = teacher.context - len(chat.before) - len(chat.between) - settings.max_new_tokens
    too_long = {number for number, ids in enumerate(native) if len(ids) > room or not len(ids)}
    planned = batches([len(ids) for ids in native], settings.answers, settings.batch_size, settings.seed, too_long)
    if not planned:
        raise TrainingError(
            "no prompt fits the teacher's context",
            actual=f"{teacher.context} tokens",
            limit=f"prompt, chat format and {settings.max_new_tokens} tokens of an answer",
            remedy="lower --max-new-tokens",
        )
    total = sum(map(len, planned))
    aligner = Aligner(teacher, trimmed, settings.max_length)
    counts: dict[int, PartCount] = {}
    started, fresh, fresh_answers = time.monotonic(), 0, 0
    if not folder.complete:
        counts = {n: c for n in range(len(planned)) if (c := folder.count(n)) is not None}
        answering = Answering(
            teacher,
            trimmed,
            k=settings.k,
            tau=settings.tau,
            settings=settings.draw,
            limit=settings.max_new_tokens,
        )
        try:
            with answering:
                for number, batch in enumerate(planned):
                    if number in counts:
                        continue
                    if seconds is not None and time.monotonic() - started > seconds:
                        break
                    asked = np.stack([native[answer // settings.answers] for answer in batch])
                    answers = answering(asked, _draws(settings, batch))
                    records = [
                        (prompts.texts[n // settings.answers], teacher.tokenizer.decode(answer.tokens).strip())
                        for n, answer in zip(batch, answers, strict=True)
                    ]
                    counts[number] = folder.write(number, records, answers, aligner)
                    fresh += counts[number].tokens
                    fresh_answers += len(batch)
                    if on_progress is not None:
                        on_progress(_progress(counts, total, fresh, fresh_answers, started))
        finally:  # also on Ctrl-C: what is there can be trained on
            rate = fresh / max(time.monotonic() - started, 1e-9)
            done = sorted(counts)
            documents = [record_document(r["prompt"], r["response"]) for r in folder.lines(done)]
            pass_settings = PassSettings(k=settings.k, tau=settings.tau, max_length=settings.max_length)
            key = cache_key(teacher, trimmed, documents, pass_settings, min(settings.k, trimmed.student_size))
            folder.assemble(done, key, trimmed)
            if len(done) == len(planned):
                folder.finish({**described})
    return _sampled(folder, counts, len(too_long), rate if fresh else 0.0)
