"""The training loop. It knows a student by the protocol of the registry and a loss by its call."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from edgesnn.errors import TrainingError
from edgesnn.student import registry
from edgesnn.student.artifact import stored_state, write_artifact
from edgesnn.student.batches import BatchStream, log_unigram
from edgesnn.student.checkpoint import DelayedInterrupt, load_checkpoint, restore_rng, save_checkpoint
from edgesnn.student.config import TrainConfig
from edgesnn.student.evaluate import evaluate
from edgesnn.student.files import make_directory
from edgesnn.student.metadata import describe_run
from edgesnn.student.objective import CrossEntropy, Loss, learning_rate, make_optimizer
from edgesnn.student.preparation import Prepared, prepare
from edgesnn.student.train_log import TrainLog

WORK_DIRECTORY = "training"
"""In the output directory; holds checkpoint and learnt tokenizer, removed once the artifact is written."""

RECENT = 50
"""Steps whose mean is the final loss."""

DIVERGED = 3.0
"""A loss of this many times that of a uniform guess has diverged."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step.

    Attributes:
        step: Optimizer steps done.
        num_steps: Steps in all.
        loss: Mean loss of the step, nats per token.
        lr: Learning rate of the step.
        spike_rate: Mean over the layers, None where it was not measured in this step.
        tokens_per_s: Mean of this process.
        seconds_left: Estimate.
        logged: Whether this is a step of the log interval.
    """

    step: int
    num_steps: int
    loss: float
    lr: float
    spike_rate: float | None
    tokens_per_s: float
    seconds_left: float
    logged: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: its directory and the content of metadata.json."""

    directory: Path
    metadata: dict[str, Any]


OnProgress = Callable[[Progress], None]


def train_student(
    config: TrainConfig, on_progress: OnProgress | None = None, loss: Loss | None = None
) -> Trained:
    """Train a student and write its artifact.

    A run that was killed goes on from its last checkpoint when it is called again, with the same losses bit
    for bit on the CPU.

    Args:
        config: The run.
        on_progress: Called after every step.
        loss: What to minimise; cross-entropy with the text by default.

    Returns:
        The directory and its metadata.

    Raises:
        ConfigError: Unknown architecture, data set or options.
        TrainingError: Unusable text, a checkpoint of another configuration, divergence.
        OutputError: A file cannot be written.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was saved.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    directory = Path(config.output_dir)
    architecture = registry.find(config.architecture)
    registry.parse_options(architecture, config.architecture_options)
    make_directory(directory / WORK_DIRECTORY)
    prepared = prepare(config, directory / WORK_DIRECTORY)
    run = _Run(config, prepared, directory, loss or CrossEntropy())
    run.resume()
    run.train(on_progress)
    return run.finish()


class _Run:
    """Model, optimizer and position of one training run."""

    def __init__(self, config: TrainConfig, prepared: Prepared, directory: Path, loss: Loss) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.prepared = prepared
        self.directory = directory
        self.loss = loss
        self.identity = {**config.identity(), "text": prepared.digest}
        vocab_size = prepared.tokenizer.vocab_size
        unigram = log_unigram(prepared.corpus, vocab_size)
        self.model: nn.Module = registry.build(
            config.architecture, config.architecture_options, config.snn, vocab_size, unigram
        )
        self.student = cast(registry.Student, self.model)
        self.optimizer = make_optimizer(self.model, config)
        self.stream = BatchStream(prepared.corpus, config.max_length, config.batch_size, config.seed)
        self.log = TrainLog(directory)
        self.step = 0
        self.loss_sum = 0.0
        self.recent: list[float] = []
        self.seconds = {"wall": 0.0, "cpu": 0.0}
        self.frozen = False

    def resume(self) -> None:
        """Continue from the checkpoint of the output directory, if there is one and it may be used."""
        state = None
        if self.config.resume:
            state = load_checkpoint(self.directory / WORK_DIRECTORY, self.identity)
        if state is not None:
            progress = state["progress"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = progress["step"]
            self.loss_sum = progress["loss_sum"]
            self.recent = list(progress["recent"])
            self.seconds = dict(progress["seconds"])
            self.stream.restore(progress["data"])
            restore_rng(state["rng"])
        self.log.start(self.step)

    def save(self) -> None:
        """Write a checkpoint."""
        progress = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "recent": self.recent,
            "seconds": self.seconds,
            "data": self.stream.state(),
        }
        save_checkpoint(self.directory / WORK_DIRECTORY, self.identity, self.model, self.optimizer, progress)

    def train(self, on_progress: OnProgress | None) -> None:
        """Run the remaining steps."""
        config = self.config
        freeze_at = config.num_steps - math.floor(config.freeze_share * config.num_steps)
        first, started = self.step, time.monotonic()
        before = dict(self.seconds)
        cpu_started = time.process_time()
        self.model.train()
        with DelayedInterrupt() as interrupt:
            while self.step < config.num_steps:
                if self.step >= freeze_at and not self.frozen:
                    self.student.freeze_statistics()
                    self.frozen = True
                lr = learning_rate(config, self.step)
                logged = config.log_interval > 0 and (
                    (self.step + 1) % config.log_interval == 0 or self.step + 1 == config.num_steps
                )
                loss, rate = self._step(lr, measure=logged)
                elapsed = time.monotonic() - started
                self.seconds = {
                    "wall": before["wall"] + elapsed,
                    "cpu": before["cpu"] + time.process_time() - cpu_started,
                }
                per_step = elapsed / (self.step - first)
                tokens = config.batch_size * config.grad_accum_steps * config.max_length
                report = Progress(
                    step=self.step,
                    num_steps=config.num_steps,
                    loss=loss,
                    lr=lr,
                    spike_rate=rate,
                    tokens_per_s=tokens / per_step,
                    seconds_left=per_step * (config.num_steps - self.step),
                    logged=logged,
                )
                if logged:
                    self.log.add(
                        step=self.step,
                        loss=loss,
                        lr=lr,
                        spike_rate=rate,
                        epoch=self.stream.epoch,
                        tokens_per_s=report.tokens_per_s,
                    )
                if on_progress is not None:
                    on_progress(report)
                if interrupt.requested:
                    self.save()
                    raise KeyboardInterrupt
                due = config.checkpoint_interval and self.step % config.checkpoint_interval == 0
                if due or (config.checkpoint_interval and self.step == config.num_steps):
                    self.save()

    def _step(self, lr: float, measure: bool) -> tuple[float, float | None]:
        """One optimizer step: its mean loss, and the mean spike rate if measured."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        self.student.record_spike_rates(measure)
        total = 0.0
        for _ in range(self.config.grad_accum_steps):
            batch = self.stream.next_batch()
            loss = self.loss(self.model(batch.ids), batch) / self.config.grad_accum_steps
            total += float(loss.detach())
            loss.backward()  # type: ignore[no-untyped-call]
        self.student.record_spike_rates(False)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        limit = DIVERGED * math.log(self.prepared.tokenizer.vocab_size)
        if not (math.isfinite(norm) and total <= limit):
            raise TrainingError(
                f"training diverged at step {self.step + 1}",
                actual=f"loss {total:.4g}, gradient norm {norm:.4g}",
                limit=f"loss {limit:.4g}",
                remedy="lower --lr or add --warmup-steps; the last checkpoint is kept",
            )
        self.optimizer.step()
        self.student.constrain_()
        self.step += 1
        self.loss_sum += total
        self.recent = [*self.recent[-(RECENT - 1) :], total]
        rates = self.student.spike_rates() if measure else {}
        return total, sum(rates.values()) / len(rates) if rates else None

    def finish(self) -> Trained:
        """Score the student as it is stored, write the artifact, drop the checkpoint."""
        state = stored_state(self.model, self.config.fp16)
        self.model.load_state_dict(state)
        self.student.record_spike_rates(True)
        quality = evaluate(self.model, self.prepared.held_out)
        self.student.record_spike_rates(False)
        results = {
            "steps": self.step,
            "avg_loss": self.loss_sum / self.step,
            "final_loss": sum(self.recent) / len(self.recent),
            "eval": quality.as_dict(),
            "spike_rates": self.student.spike_rates(),
            "train_tokens": len(self.prepared.corpus.ids),
            "epochs": self.stream.epoch,
            "wall_seconds": round(self.seconds["wall"], 1),
            "cpu_seconds": round(self.seconds["cpu"], 1),
        }
        metadata = describe_run(self.config, self.model, self.prepared.tokenizer.vocab_size, results)
        write_artifact(self.directory, state, metadata, self.prepared.tokenizer, self.prepared.held_out)
        shutil.rmtree(self.directory / WORK_DIRECTORY, ignore_errors=True)
        return Trained(self.directory, metadata)
