"""The compiler: folded student in, safe integer program and its report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import CompileError
from edgesnn.program.bounds import OpBound, prove, secure
from edgesnn.program.float_program import FloatProgram, float_logits
from edgesnn.program.golden import Golden, readout_codes
from edgesnn.program.ops import LIF, LOGIT_LIMIT, WEIGHT_MAX, Readout, Saturate
from edgesnn.program.program import Program
from edgesnn.program.quantise import LayerReport, quantise, quantise_columns, quantise_readout
from edgesnn.program.scoring import padded_batches, score_documents, score_positions
from edgesnn.program.stock import stock_representable
from edgesnn.program.validate import check_program

IntArray = npt.NDArray[np.integer]
Progress = Callable[[str, int, int], None]
#: Exponents tried below the largest at which no code of the calibration text is clipped.
_EXPONENTS_TRIED = 4
_CLIPPED_TOO = 2
#: Documents run side by side.
_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationText:
    """Text that the compiler measures on.

    Attributes:
        documents: Token ids ``[length]`` each.
        doc_bytes: UTF-8 bytes of the scored text of each document.
        source: What the text is, for the report.
    """

    documents: Sequence[IntArray]
    doc_bytes: IntArray
    source: str


@dataclass(frozen=True, slots=True)
class IntegerCost:
    """Cost of the integers on text, float against integer student.

    Attributes:
        source: What the text is.
        documents: Documents scored.
        tokens: Scored positions.
        float_bits_per_byte: Of the folded float32 student.
        integer_bits_per_byte: Of the integer program.
        loss_percent: Rise of bits per byte from float to integer.
        float_top1: Share of right best tokens, float.
        integer_top1: Share of right best tokens, integer.
        same_top1: Share of positions at which both agree.
        spike_rates: Mean of every spike value of the integer program, by LIF.
        silent: Neurons that never fired, by LIF.
        constant: Neurons that fired at every inner timestep, by LIF.
    """

    source: str
    documents: int
    tokens: int
    float_bits_per_byte: float
    integer_bits_per_byte: float
    loss_percent: float
    float_top1: float
    integer_top1: float
    same_top1: float
    spike_rates: dict[str, float]
    silent: dict[str, int]
    constant: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """What the compiler made.

    Attributes:
        program: The integer program, proven safe.
        bounds: The proof, by op.
        layers: What rounding did, by op.
        saturates: Ops that had to be guarded.
        stock: Whether stock Loihi neurons serve a LIF, by name.
        calibration: Cost on text, or None without text.
        exponent_choice: Bits per byte by tried exponent of the logits; empty without text.
    """

    program: Program
    bounds: tuple[OpBound, ...]
    layers: tuple[LayerReport, ...]
    saturates: tuple[str, ...]
    stock: dict[str, bool]
    calibration: IntegerCost | None
    exponent_choice: dict[int, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The quantisation report as plain data."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "saturate": list(self.saturates),
            "stock_representable": self.stock,
            "logit_exponent": self.program.readout.exponent,
            "logit_exponent_tried": {str(f): bits for f, bits in self.exponent_choice.items()},
            "calibration": None if self.calibration is None else asdict(self.calibration),
        }


def compile_program(
    folded: FloatProgram,
    text: CalibrationText | None,
    *,
    stock_grid: bool = True,
    on_progress: Progress | None = None,
) -> Compiled:
    """Compile a folded student into an integer program.

    Args:
        folded: The folded student.
        text: Text to calibrate on; without it the logits' exponent follows from bounds alone.
        stock_grid: Whether large thresholds move to the grid of stock Loihi neurons.
        on_progress: Called with a stage, steps done and steps in all.

    Returns:
        The program with its proof and report.

    Raises:
        CompileError: The student cannot be made safe.
    """
    tell = on_progress or (lambda stage, done, total: None)
    rank = folded.readout.table.shape[1]
    if rank * WEIGHT_MAX**2 >= LOGIT_LIMIT:
        raise CompileError(
            "rank of the embedding is too large for exact float32 logits",
            actual=rank,
            limit=(LOGIT_LIMIT - 1) // WEIGHT_MAX**2,
        )
    exponent = _safe_exponent(folded)
    quantised = quantise(folded, exponent, stock_grid=stock_grid)
    program = secure(Program(folded.timesteps, quantised.ops))
    choice: dict[int, float] = {}
    counted = None
    if text is not None:
        counted = _count(program, text, tell)
        program, choice = _choose_exponent(folded, program, counted, text)
    check_program(program)
    bounds = prove(program)
    calibration = None
    if text is not None and counted is not None:
        calibration = _calibrate(folded, program, counted, text, tell)
    return Compiled(
        program,
        bounds,
        quantised.layers,
        tuple(op.name for op in program.all(Saturate)),
        {op.name: stock_representable(op) for op in program.all(LIF)},
        calibration,
        choice,
    )


def _safe_exponent(folded: FloatProgram) -> int:
    """The largest exponent at which no code can be clipped, by bounds alone."""
    readout = folded.readout
    weight = readout.weight.astype(np.float64)
    reach = np.maximum(
        np.abs(folded.timesteps * np.maximum(weight, 0).sum(axis=0) + readout.bias),
        np.abs(folded.timesteps * np.minimum(weight, 0).sum(axis=0) + readout.bias),
    )
    return _exponent_for(reach, quantise_columns(readout.table)[1])


def _exponent_for(reach: npt.NDArray[np.floating], column_scale: npt.NDArray[np.float64]) -> int:
    largest = float((reach * column_scale).max())
    return int(np.floor(np.log2(WEIGHT_MAX / largest))) if largest > 0 else 0


@dataclass(slots=True, eq=False)
class _Counted:
    """The calibration text through the integer layers, which no choice of the readout changes.

    Attributes:
        counts: Spike counts ``[length, d]`` of each document, in the order of the documents.
        fired: Spikes of every neuron, by LIF.
        slots: Tokens times inner timesteps.
    """

    counts: list[npt.NDArray[np.integer]]
    fired: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    slots: int = 0


def _count(program: Program, text: CalibrationText, tell: Progress) -> _Counted:
    golden = Golden(program)
    lifs = {op.out: op.name for op in program.all(LIF)}
    counted = _Counted([np.zeros((0, 0), np.int32)] * len(text.documents))
    done = 0
    for chosen, ids in padded_batches(text.documents, _BATCH):
        lengths = np.array([len(text.documents[i]) for i in chosen])
        held = np.arange(ids.shape[1]) < lengths[:, None]

        def tap(name: str, value: npt.NDArray[np.integer], held: npt.NDArray[np.bool_] = held) -> None:
            if name in lifs:
                count = value[held].sum(axis=(0, 1), dtype=np.int64)
                counted.fired[lifs[name]] = counted.fired.get(lifs[name], 0) + count

        counts = golden.counts(ids, tap)
        for row, i in enumerate(chosen):
            counted.counts[i] = counts[row, : lengths[row]]
        counted.slots += int(lengths.sum()) * program.timesteps
        done += len(chosen)
        tell("calibrating integers", done, len(text.documents))
    return counted


def _choose_exponent(
    folded: FloatProgram, program: Program, counted: _Counted, text: CalibrationText
) -> tuple[Program, dict[int, float]]:
    """Try exponents around the one that clips nothing on the text; keep the one with the fewest bits.

    A smaller exponent rounds codes coarsely, a larger one clips the largest: text decides.
    """
    table, column_scale = quantise_columns(folded.readout.table)
    pairs = zip(counted.counts, text.documents, strict=True)
    scored_at = [(block[:-1], np.asarray(ids[1:])) for block, ids in pairs if len(ids) > 1]
    counts, targets = [block for block, _ in scored_at], [target for _, target in scored_at]
    reach = np.zeros(table.shape[1])
    for block in counts:
        z = block @ folded.readout.weight + folded.readout.bias
        reach = np.maximum(reach, np.abs(z).max(axis=0))
    top = _exponent_for(reach, column_scale) + _CLIPPED_TOO
    scored: dict[int, float] = {}
    made: dict[int, Readout] = {}
    total_bytes = float(np.asarray(text.doc_bytes).sum())
    tied = np.ascontiguousarray(table.T.astype(np.float32))
    for exponent in range(top, top - _EXPONENTS_TRIED, -1):
        readout, _ = quantise_readout(folded.readout, table, column_scale, folded.timesteps, exponent)
        nats = 0.0
        for block, target in zip(counts, targets, strict=True):
            codes = readout_codes(block, readout).astype(np.float32)
            nats += score_positions(codes @ tied * np.float32(2.0**-exponent), target)[0]
        scored[exponent] = float(nats / np.log(2) / total_bytes)
        made[exponent] = readout
    best = min(scored, key=lambda f: (scored[f], f))
    return Program(program.timesteps, (*program.ops[:-1], made[best])), scored


def _calibrate(
    folded: FloatProgram, program: Program, counted: _Counted, text: CalibrationText, tell: Progress
) -> IntegerCost:
    golden = Golden(program)
    best: dict[str, dict[bytes, npt.NDArray[np.integer]]] = {"float": {}, "integer": {}}
    batches = (chosen for chosen, _ in padded_batches(text.documents, _BATCH))

    def integer(ids: IntArray) -> npt.NDArray[np.float32]:
        counts = np.zeros((*ids.shape, program.readout.weight.shape[0]), np.int32)
        for row, i in enumerate(next(batches)):
            counts[row, : len(counted.counts[i])] = counted.counts[i]
        logits = golden.logits_of(counts) * np.float32(program.logit_scale)
        best["integer"][ids.tobytes()] = logits.argmax(axis=-1)
        return logits

    def floating(ids: IntArray) -> npt.NDArray[np.float32]:
        logits = float_logits(folded, ids)
        best["float"][ids.tobytes()] = logits.argmax(axis=-1)
        return logits

    total = len(text.documents)
    exact = score_documents(integer, text.documents, text.doc_bytes, batch=_BATCH)
    real = score_documents(
        floating,
        text.documents,
        text.doc_bytes,
        batch=_BATCH,
        on_progress=lambda n: tell("calibrating float32", n, total),
    )
    same = compared = 0
    for chosen, ids in padded_batches(text.documents, _BATCH):
        agree = best["float"][ids.tobytes()] == best["integer"][ids.tobytes()]
        for row, i in enumerate(chosen):
            length = len(text.documents[i]) - 1
            same += int(agree[row, :length].sum())
            compared += length
    return IntegerCost(
        source=text.source,
        documents=total,
        tokens=int(exact.positions.sum()),
        float_bits_per_byte=real.bits_per_byte,
        integer_bits_per_byte=exact.bits_per_byte,
        loss_percent=100 * (exact.bits_per_byte / real.bits_per_byte - 1),
        float_top1=real.top1,
        integer_top1=exact.top1,
        same_top1=same / compared,
        spike_rates={name: float(count.mean() / counted.slots) for name, count in counted.fired.items()},
        silent={name: int((count == 0).sum()) for name, count in counted.fired.items()},
        constant={name: int((count == counted.slots).sum()) for name, count in counted.fired.items()},
    )
