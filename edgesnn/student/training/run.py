"""The training loop. It knows a student by the protocols of the registry and a loss by its call."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from edgesnn.errors import ConfigError, TrainingError
from edgesnn.student.artifact.evaluate import EvalDocuments, Evaluation, evaluate
from edgesnn.student.artifact.files import write_artifact
from edgesnn.student.artifact.metadata import describe_run
from edgesnn.student.artifact.storage import restored_state, stored_state
from edgesnn.student.config import TrainConfig
from edgesnn.student.kernels.rounding import WEIGHT_MAX, row_scales
from edgesnn.student.model import registry
from edgesnn.student.text.batches import BatchStream, log_unigram
from edgesnn.student.training.checkpoint import DelayedInterrupt, restore_rng
from edgesnn.student.training.curve import draw_curve
from edgesnn.student.training.keeping import RunKeeper
from edgesnn.student.training.objective import (
    Distillation,
    TokenLoss,
    learning_rate,
    make_optimizer,
    spike_rate_target,
)
from edgesnn.student.training.preparation import Prepared
from edgesnn.student.training.progress import OnProgress, Progress, Trained
from edgesnn.student.training.tensorboard_log import TensorBoardLog
from edgesnn.student.training.train_log import TrainLog
from edgesnn.student.training.workers import Workers, pick_precision

WORK_DIRECTORY = "training"
"""In the output directory; holds checkpoint and learnt tokenizer, removed once the artifact is written."""

RECENT = 50
"""Steps whose mean is the final loss, and between two states remembered for a divergence."""

DIVERGED = 3.0
"""A loss of this many times that of a uniform guess has diverged."""

EVAL_DOCUMENTS = 64
"""Held-out documents of a score during training."""

EXPONENTS_TRIED, _CLIPPED_TOO = 4, 2
"""Exponents of the integer logits that are tried, the largest one 2 above the one that clips nothing: as the
compiler does."""


class TrainingRun:
    """Model, optimizer and position of one training run.

    Args:
        config: The run.
        prepared: Its text.
        directory: Output directory.
        workers: The processes.
        loss: What to minimise; distillation with the weights of the configuration by default.
    """

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared,
        directory: Path,
        workers: Workers,
        loss: TokenLoss | None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.prepared, self.directory, self.workers = config, prepared, directory, workers
        self.loss: TokenLoss = loss or Distillation(prepared.cache, config)
        vocab_size = prepared.tokenizer.vocab_size
        unigram = log_unigram(prepared.corpus, vocab_size)
        model = registry.build(
            config.architecture, config.architecture_options, config.snn, vocab_size, unigram
        )
        self.model: nn.Module = model.to(workers.device)
        self.student = cast(registry.Student, self.model)
        self.tunable = self.model if isinstance(self.model, registry.Tunable) else None
        self.integer_aware = self.model if isinstance(self.model, registry.IntegerAware) else None
        self._tune()
        self.called = workers.wrap(self.model)
        self.optimizer = make_optimizer(self.model, config)
        self.stream = BatchStream(prepared.corpus, config.max_length, config.batch_size, config.seed)
        identity = {**config.identity(), "text": prepared.digest, "processes": workers.count}
        self.keeper = RunKeeper(directory / WORK_DIRECTORY, identity, workers.first)
        self.log = TrainLog(directory)
        self.board: TensorBoardLog | None = None
        self.step = 0
        self.loss_sum = 0.0
        self.recent: list[float] = []
        self.seconds = {"wall": 0.0, "cpu": 0.0}
        self.phase = "float"
        self.exponent: int | None = None
        self.few = prepared.held_out.first(EVAL_DOCUMENTS)

    def _tune(self) -> None:
        config, tunable = self.config, self.tunable
        if tunable is not None:
            precision = pick_precision(config.precision, self.workers.device)
            if precision == torch.float16:
                self.workers.scale_gradients()
            tunable.set_precision(precision)
            tunable.set_checkpointing(config.gradient_checkpointing)
        elif config.spike_rate is not None or config.gradient_checkpointing:
            raise ConfigError(
                f"architecture '{config.architecture}' offers neither a spike rate nor gradient checkpointing"
            )

    def resume(self) -> None:
        """Continue from the checkpoint of the output directory, if there is one and it may be used."""
        state = self.keeper.load() if self.config.resume else None
        if state is not None:
            progress = state["progress"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = progress["step"]
            self.loss_sum = progress["loss_sum"]
            self.recent = list(progress["recent"])
            self.seconds = dict(progress["seconds"])
            self.stream.restore(progress["data"])
            self.exponent = progress["exponent"]
            self.keeper.best = progress["best"]
            restore_rng(state["rng"])
        if self.workers.first:
            self.log.start(self.step)
            if self.config.tensorboard:
                self.board = TensorBoardLog(self.directory, self.step)

    def progress(self) -> dict[str, Any]:
        """Where the run stands, as plain data."""
        return {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "recent": self.recent,
            "seconds": self.seconds,
            "data": self.stream.state(),
            "exponent": self.exponent,
            "best": self.keeper.best,
        }

    def save(self) -> None:
        """Write a checkpoint, and see what an unfinished teacher cache has got since."""
        self.keeper.save(self.model, self.optimizer, self.progress())
        if self.prepared.cache is not None:
            self.prepared.cache.refresh()

    def train(self, on_progress: OnProgress | None) -> None:
        """Run the remaining steps."""
        config = self.config
        first, started = self.step, time.monotonic()
        before = dict(self.seconds)
        cpu_started = time.process_time()
        tokens = config.batch_size * config.grad_accum_steps * config.max_length * self.workers.count
        self.model.train()
        with DelayedInterrupt() as interrupt:
            while self.step < config.num_steps:
                self._enter_phase()
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
                left = per_step * (config.num_steps - self.step)
                report = Progress(
                    self.step, config.num_steps, loss, lr, rate, tokens / per_step, left, logged
                )
                self._write_log(report)
                if on_progress is not None and self.workers.first:
                    on_progress(report)
                if self.workers.any(interrupt.requested):
                    self.save()
                    raise KeyboardInterrupt
                self._keep()
        if self.board is not None:
            self.board.close()

    def _keep(self) -> None:
        config, last = self.config, self.step == self.config.num_steps
        if config.checkpoint_interval and (self.step % config.checkpoint_interval == 0 or last):
            self.save()
        elif self.step % RECENT == 0:
            self.keeper.remember(self.model, self.optimizer, self.progress())

    def _write_log(self, report: Progress) -> None:
        interval = self.config.eval_interval
        bits = None
        if interval and (self.step % interval == 0 or self.step == self.config.num_steps):
            bits = evaluate(self.model, self.few).bits_per_byte
            if bits is not None:
                bits = self.workers.of_first(bits)
                self.keeper.keep_best(self.model, self.phase, self.step, bits)
        if not self.workers.first or not (report.logged or bits is not None):
            return
        entry = {
            "step": self.step,
            "loss": report.loss,
            "lr": report.lr,
            "spike_rate": report.spike_rate,
            "epoch": self.stream.epoch,
            "tokens_per_s": round(report.tokens_per_s, 1),
            **(self.loss.parts if isinstance(self.loss, Distillation) else {}),
            **({} if bits is None else {"eval_bits_per_byte": bits}),
        }
        self.log.add(entry)
        if self.board is not None:
            self.board.add(entry)

    def _enter_phase(self) -> None:
        """Freeze the norms, then let the forward pass be the integer program, each at its step."""
        config, model = self.config, self.integer_aware
        if self.step >= config.freeze_at and self.phase == "float":
            self.student.freeze_statistics()
            self.phase = "frozen"
        if model is not None and self.step >= config.integer_at and self.phase == "frozen":
            if self.exponent is None:
                chosen = choose_exponent(self.model, self.few, config.storage)
                self.exponent = round(self.workers.of_first(chosen))
            model.set_integer_aware(config.storage, self.exponent)
            self.phase = "integer"

    def _step(self, lr: float, measure: bool) -> tuple[float, float | None]:
        """One optimizer step: its mean loss, and the mean spike rate if measured."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        self.student.record_spike_rates(measure)
        if self.tunable is not None:
            self.tunable.set_rate_target(spike_rate_target(self.config, self.step))
        try:
            total = self._accumulate()
        except (RuntimeError, MemoryError) as error:
            raise _out_of_memory(error, self.config) or error from None
        self.student.record_spike_rates(False)
        self.workers.unscale(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        self._check(total, norm)
        self.workers.step(self.optimizer)
        self.student.constrain_()
        self.step += 1
        self.loss_sum += total
        self.recent = [*self.recent[-(RECENT - 1) :], total]
        rates = self.student.spike_rates() if measure else {}
        return total, sum(rates.values()) / len(rates) if rates else None

    def _accumulate(self) -> float:
        """Gradients of all batches of a step; the mean loss."""
        total, parts, workers = 0.0, self.config.grad_accum_steps, self.workers
        for part in range(parts):
            batch = self.stream.next_batch(workers.rank, workers.count).to(workers.device)
            if self.tunable is not None:
                self.tunable.set_segments(batch.segments)
            with workers.accumulate(self.called, part == parts - 1):
                loss = self.loss(self.called(batch.ids), batch) / parts
                total += float(loss.detach())
                penalty = None if self.tunable is None else self.tunable.take_penalty()
                if penalty is not None:
                    loss = loss + penalty * (self.config.spike_rate_weight / parts)
                workers.backward(loss)
        if self.tunable is not None:
            self.tunable.set_segments(None)
        return workers.mean(total)

    def _check(self, loss: float, norm: float) -> None:
        """Stop a run that has diverged."""
        ce, kd = self.config.weights
        limit = (
            DIVERGED * math.log(self.prepared.tokenizer.vocab_size) * (ce + kd * self.config.temperature**2)
        )
        if loss <= limit and (math.isfinite(norm) or self.workers.scaled):
            return
        kept = self.keeper.fall_back()
        where = "no state was kept yet" if kept is None else "the last good state is kept as checkpoint"
        raise TrainingError(
            f"training diverged at step {self.step + 1}",
            actual=f"loss {loss:.4g}, gradient norm {norm:.4g}",
            limit=f"loss {limit:.4g}",
            remedy=f"lower --lr or add --warmup-steps and run again; {where}",
        )

    def _score(self) -> tuple[Evaluation, Evaluation | None, dict[str, float]]:
        """Quality of the float student and of its integers, and spike rates of what is deployed."""
        student, held_out, model = self.student, self.prepared.held_out, self.integer_aware
        if self.tunable is not None:
            self.tunable.set_precision(torch.float32)
        if model is not None:
            model.leave_integer_aware()
        student.record_spike_rates(True)
        quality = evaluate(self.model, held_out)
        integer = None
        if model is not None and self.exponent is not None:
            model.set_integer_aware("float32", self.exponent)
            integer = evaluate(self.model, held_out)
            model.leave_integer_aware()
        student.record_spike_rates(False)
        return quality, integer, student.spike_rates()

    def finish(self) -> Trained:
        """Score the student as it is stored, write the artifact and the curve, drop the checkpoint."""
        best = self.keeper.best
        if best is not None and best["phase"] == self.phase and best["step"] != self.step:
            self.model.load_state_dict(self.keeper.best_state())
        state = stored_state(self.model, self.config.storage)
        self.model.load_state_dict(restored_state(state))
        quality, integer, rates = self._score()
        results = {
            "steps": self.step,
            "avg_loss": self.loss_sum / self.step,
            "final_loss": sum(self.recent) / len(self.recent),
            "eval": quality.as_dict(),
            "integer_eval": None if integer is None else integer.as_dict(),
            "logit_exponent": self.exponent,
            "best_step": None if best is None else best["step"],
            "spike_rates": rates,
            "train_tokens": len(self.prepared.corpus.ids),
            "teacher_doubt": self.prepared.teacher_doubt,
            "teacher_positions": None if self.prepared.cache is None else self.prepared.cache.positions,
            "epochs": self.stream.epoch,
            "wall_seconds": round(self.seconds["wall"], 1),
            "cpu_seconds": round(self.seconds["cpu"], 1),
        }
        metadata = describe_run(self.config, self.model, self.prepared, results)
        if self.workers.first:
            write_artifact(
                self.directory,
                state,
                metadata,
                self.prepared.tokenizer,
                self.prepared.held_out,
                trimming=None if self.prepared.cache is None else self.prepared.cache.trimmed.to_bytes(),
            )
            phases = {"norms frozen": self.config.freeze_at}
            if self.exponent is not None:
                phases["integer"] = self.config.integer_at
            draw_curve(self.directory, phases)
        self.workers.barrier()
        self.keeper.forget()
        return Trained(self.directory, metadata)


def _out_of_memory(error: BaseException, config: TrainConfig) -> TrainingError | None:
    """The error that names the knobs, if memory is what was missing."""
    text = str(error)
    known = isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in text
    if not known:
        return None
    return TrainingError(
        "out of memory in a training step",
        actual=text.split("\n", 1)[0][:160],
        limit=f"batch-size {config.batch_size}, max-length {config.max_length}",
        remedy="halve --batch-size and double --grad-accum-steps (the same training), add "
        "--gradient-checkpointing, or lower --max-length or --vocab-size",
    )


def choose_exponent(model: nn.Module, text: EvalDocuments, storage: str) -> int:
    """The exponent of the integer logits with the fewest bits on a text; a tie goes to the smaller one.

    Args:
        model: A student in float form, its norms frozen.
        text: Documents.
        storage: How matrices will be stored: ``float32``, ``float16`` or ``int8``.
    """
    student = cast(registry.IntegerAware, model)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        reach = torch.zeros(1, device=device)
        for a, b in zip(text.doc_starts[:-1].tolist(), text.doc_starts[1:].tolist(), strict=True):
            ids = torch.from_numpy(text.ids[a:b].astype("int64")).to(device)
            reach = torch.maximum(reach, student.logit_reach(ids[None]))
        table = cast(torch.Tensor, model.get_parameter("embed.weight"))
        largest = float((reach * row_scales(table.t()).float()).max())
    top = (math.floor(math.log2(WEIGHT_MAX / largest)) if largest > 0 else 0) + _CLIPPED_TOO
    scores: dict[int, float] = {}
    for exponent in range(top, top - EXPONENTS_TRIED, -1):
        student.set_integer_aware(storage, exponent)
        scores[exponent] = evaluate(model, text).nats
    student.leave_integer_aware()
    model.train(was_training)
    return min(scores, key=lambda f: (scores[f], f))
