"""Quantising: float ops become integer ops of the same names.

A spike is 0 or 1, so the scale of a linear's output channel never has to be multiplied back: it divides into
the threshold and bias of the LIF that reads it. Values that meet in an `Add` share one scale per channel, the
largest of their writers'; the embedding joins through its own multiplier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.program.bounds import embedding_codes, signed_sums
from edgesnn.program.float_program import (
    FloatEmbed,
    FloatLIF,
    FloatLinear,
    FloatProgram,
    FloatReadout,
)
from edgesnn.program.ops import (
    LIF,
    LIF_BIAS_MAX,
    MEMBRANE_SCALE,
    PRODUCT_LIMIT,
    THETA_MAX,
    WEIGHT_MAX,
    Add,
    Attend,
    Embed,
    Int8Array,
    Int32Array,
    Linear,
    Op,
    Readout,
)
from edgesnn.program.stock import on_stock_grid

_Float64Array = npt.NDArray[np.float64]
#: Above this median threshold a LIF's values move to the grid of stock Loihi neurons.
STOCK_MEDIAN = 64 * 64
_MAX_SHIFT = 31
_BIAS_CODE_MAX = 2**20


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What quantisation did to one op.

    Attributes:
        op: Name of the op.
        kind: Its class.
        relative_error: Root mean square of the rounding over root mean square of the values, or None.
        dead: Neurons whose threshold lies above the range: they can never fire.
        floored: Neurons whose threshold lies below 1/64 of a current and was raised to it.
        stock: Whether a LIF's threshold and bias are those of a stock Loihi neuron; None for other ops.
    """

    op: str
    kind: str
    relative_error: float | None = None
    dead: int = 0
    floored: int = 0
    stock: bool | None = None


@dataclass(frozen=True, slots=True)
class Quantised:
    """Integer ops, and what was lost.

    Attributes:
        ops: In the order of the float ops.
        layers: One report per op that has parameters.
    """

    ops: tuple[Op, ...]
    layers: tuple[LayerReport, ...]


def quantise(program: FloatProgram, exponent: int, *, stock_grid: bool = True) -> Quantised:
    """Quantise a folded student.

    Args:
        program: The folded student.
        exponent: f, the exponent of the integer logits (see `quantise_readout`).
        stock_grid: Whether large thresholds move to the grid of stock Loihi neurons.

    Returns:
        Integer ops. No bound is proven and no `Saturate` inserted yet.
    """
    table, column_scale = quantise_columns(program.embed.table)
    scales = _current_scales(program)
    ops: list[Op] = []
    layers: list[LayerReport] = []
    for op in program.ops:
        report: LayerReport | None = None
        made: Op
        if isinstance(op, FloatEmbed):
            made, report = _embed(op, table, column_scale, scales[op.out])
        elif isinstance(op, FloatLinear):
            made, report = _linear(op, scales[op.out])
        elif isinstance(op, FloatLIF):
            made, report = _lif(op, scales[op.input], stock_grid)
        elif isinstance(op, FloatReadout):
            made, error = quantise_readout(op, table, column_scale, program.timesteps, exponent)
            report = LayerReport(op.name, "Readout", error)
        else:
            made = op
        ops.append(made)
        if report is not None:
            layers.append(report)
    return Quantised(tuple(ops), tuple(layers))


def quantise_columns(matrix: npt.NDArray[np.floating]) -> tuple[Int8Array, _Float64Array]:
    """Round a matrix to int8 with one scale per column.

    Args:
        matrix: ``[rows, columns]``.

    Returns:
        Codes int8 ``[rows, columns]`` and scales ``[columns]``; a column of zeros has scale 1.
    """
    largest = np.abs(matrix).max(axis=0).astype(np.float64)
    scale = np.where(largest > 0, largest / WEIGHT_MAX, 1.0)
    return _codes(matrix, scale), scale


def _codes(matrix: npt.NDArray[np.floating], scale: _Float64Array) -> Int8Array:
    return np.clip(np.rint(matrix / scale), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def _relative_error(matrix: npt.NDArray[np.floating], codes: Int8Array, scale: _Float64Array) -> float:
    norm = float(np.sqrt(np.mean(np.square(matrix, dtype=np.float64))))
    rounding = float(np.sqrt(np.mean(np.square(codes * scale - matrix))))
    return rounding / norm if norm else 0.0


def _current_scales(program: FloatProgram) -> dict[str, _Float64Array]:
    """One scale per channel for every current; values that meet in an Add share it."""
    group: dict[str, str] = {}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for op in program.ops:
        if isinstance(op, (FloatEmbed, FloatLinear, Attend, Add)):
            group[op.out] = op.out
        if isinstance(op, Add):
            for part in (op.left, op.right):
                group[root(part)] = root(op.out)
    scales: dict[str, _Float64Array] = {}
    for op in program.ops:
        if isinstance(op, FloatLinear):
            largest = np.abs(op.weight).max(axis=0).astype(np.float64)
            owner = root(op.out)
            scales[owner] = np.maximum(scales.get(owner, np.zeros_like(largest)), largest / WEIGHT_MAX)
        elif isinstance(op, Attend):
            scales[root(op.out)] = np.ones(op.channels)
    embed = program.embed
    if root(embed.out) not in scales:
        scales[root(embed.out)] = np.abs(embed.table @ embed.projection).max(axis=0) / (WEIGHT_MAX * 32.0)
    for owner, scale in scales.items():
        silent = scale <= 0
        scales[owner] = np.where(silent, np.median(scale[~silent]) if (~silent).any() else 1.0, scale)
    return {name: scales[root(name)] for name in group}


def _embed(
    op: FloatEmbed, table: Int8Array, column_scale: _Float64Array, scale: _Float64Array
) -> tuple[Embed, LayerReport]:
    absorbed = op.projection.astype(np.float64) * column_scale[:, None]
    projection, projection_scale = quantise_columns(absorbed)
    codes = embedding_codes(table, projection)
    largest = np.maximum(np.abs(codes.low), np.abs(codes.high))
    multiplier, shift = multiply_shift(projection_scale / scale, largest)
    error = _relative_error(absorbed, projection, projection_scale)
    return Embed(op.name, op.out, table, projection, multiplier, shift), LayerReport(op.name, "Embed", error)


def multiply_shift(ratio: _Float64Array, largest: npt.NDArray[np.integer]) -> tuple[Int32Array, int]:
    """Integer multipliers and one common shift for per-channel ratios.

    Args:
        ratio: Non-negative factors ``[c]``.
        largest: Largest magnitude that each will multiply ``[c]``.

    Returns:
        Multipliers int32 ``[c]`` with ``ratio ~ multiplier / 2**shift``, and the largest shift up to 31 for
        which ``largest * multiplier < 2**31`` everywhere.
    """
    for shift in range(_MAX_SHIFT, -1, -1):
        multiplier = np.rint(ratio * 2.0**shift)
        if (multiplier * np.maximum(largest, 1) < PRODUCT_LIMIT).all():
            return multiplier.astype(np.int32), shift
    most = (PRODUCT_LIMIT - 1) // np.maximum(largest, 1)
    return np.minimum(np.rint(ratio), most).astype(np.int32), 0


def _linear(op: FloatLinear, scale: _Float64Array) -> tuple[Linear, LayerReport]:
    codes = _codes(op.weight, scale)
    error = _relative_error(op.weight, codes, scale)
    return Linear(op.name, op.input, op.out, codes), LayerReport(op.name, "Linear", error)


def _lif(op: FloatLIF, scale: _Float64Array, stock_grid: bool) -> tuple[LIF, LayerReport]:
    """``V >= theta`` is ``V_q > ceil(64 * theta / scale) - 1``."""
    exact = np.ceil(MEMBRANE_SCALE * op.threshold.astype(np.float64) / scale) - 1
    theta = np.clip(exact, 1, THETA_MAX).astype(np.int32)
    offset = np.rint(MEMBRANE_SCALE * op.bias.astype(np.float64) / scale)
    bias = np.clip(offset, -LIF_BIAS_MAX, LIF_BIAS_MAX).astype(np.int32)
    stock = False
    if stock_grid and np.median(theta) >= STOCK_MEDIAN:
        moved = on_stock_grid(theta, bias)
        if moved is not None:
            theta, bias = moved
            stock = True
    dead, floored = int((exact > THETA_MAX).sum()), int((exact < 1).sum())
    made = LIF(op.name, op.input, op.out, op.decay, theta, bias, clip=True)
    return made, LayerReport(op.name, "LIF", None, dead, floored, stock)


def quantise_readout(
    op: FloatReadout, table: Int8Array, column_scale: _Float64Array, timesteps: int, exponent: int
) -> tuple[Readout, float]:
    """Quantise a readout for one exponent of the logits.

    The code of channel j is ``z8_j = z_j * column_scale_j * 2**f``, so ``E @ z8 * 2**-f`` are the logits.

    Args:
        op: The float readout.
        table: E as codes.
        column_scale: Scales of E's columns.
        timesteps: T.
        exponent: f.

    Returns:
        The integer readout, and the relative rounding error of D.
    """
    largest = np.abs(op.weight).max(axis=0).astype(np.float64)
    magnitude = np.abs(op.bias).astype(np.float64)
    silent = np.maximum(magnitude, 1e-12) / 2**12
    # where the bias dwarfs the weights it sets the scale, so that its code leaves room for the multiplier
    scale = np.where(largest > 0, np.maximum(largest / WEIGHT_MAX, magnitude / _BIAS_CODE_MAX), silent)
    weight = _codes(op.weight, scale)
    bias = np.rint(op.bias / scale).astype(np.int32)
    sums = signed_sums(weight)
    reach = np.maximum(np.abs(timesteps * sums.low + bias), np.abs(timesteps * sums.high + bias))
    multiplier, shift = multiply_shift(scale * column_scale * 2.0**exponent, reach)
    made = Readout(op.name, op.input, op.out, weight, bias, multiplier, shift, table, exponent)
    return made, _relative_error(op.weight, weight, scale)
