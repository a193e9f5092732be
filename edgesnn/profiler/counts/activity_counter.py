"""Watches one run of golden and counts what every op does; see `profiler.counts.activity` for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edgesnn.chips.work import WorkTotals
from edgesnn.program.golden import lif_membranes, readout_codes
from edgesnn.program.golden_frames import conv_currents, largest_values, spread, stateful_lif
from edgesnn.program.ops import LIF, Add, Attend, Embed, Linear, Op, Readout, Shift, inputs_of
from edgesnn.program.ops_frames import Conv, Delay, Frames, Reset, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.record.counts import Layer, OpKind, SynapticOp, TokenShift

IntArray = npt.NDArray[np.integer]
_QUERY_BLOCK = 128


@dataclass(slots=True)
class ActivityCounter:
    """A tap of golden that keeps sums over one sequence.

    Attributes:
        program: The program that runs.
        ids: Token ids of the sequence, ``[length]``, or its frames ``[length, channels]``.
        ops: What was counted of every op with synaptic operations, in order.
        layers: Of every LIF.
        shifts: Of every token shift.
    """

    program: Program
    ids: IntArray
    ops: list[SynapticOp] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    shifts: list[TokenShift] = field(default_factory=list)
    _by_input: dict[str, list[Op]] = field(default_factory=dict)
    _ring_bits: dict[str, int] = field(default_factory=lambda: {"read": 0, "dense": 0, "written": 0})
    _residual_adds: int = 0
    _largest: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._largest = largest_values(self.program)
        for op in self.program.ops:
            for name in dict.fromkeys(inputs_of(op)):
                self._by_input.setdefault(name, []).append(op)

    def __call__(self, name: str, value: IntArray) -> None:
        """Count what every reader of a value does with it.

        Args:
            name: Name of the value.
            value: As golden's tap shows it, batch 1.
        """
        first = self.program.ops[0]
        if isinstance(first, Embed) and name == first.out:
            self._embed(first)
        for op in self._by_input.get(name, []):
            if isinstance(op, Linear):
                self._linear(op, value)
            elif isinstance(op, LIF):
                self._lif(op, value)
            elif isinstance(op, Shift):
                self._shift(op, value)
            elif isinstance(op, Attend):
                self._attend(op, value)
            elif isinstance(op, Add) and name == op.left:
                self._residual_adds += value.size
            elif isinstance(op, Readout):
                self._readout(op, value)
            elif isinstance(op, Conv):
                self._conv(op, value)
            elif isinstance(op, StatefulLIF):
                self._stateful(op, value)
            elif isinstance(op, Delay):
                self._delay(op, value)

    def work(self) -> WorkTotals:
        """The totals of the sequence; call when it has run."""

        def total(attribute: str, *kinds: str) -> int:
            return sum(getattr(op, f"{attribute}_total") for op in self.ops if _kind_of_work(op) in kinds)

        return WorkTotals(
            tokens=len(self.ids),
            timesteps=self.program.timesteps,
            neurons=sum(layer.neurons for layer in self.layers),
            spikes=sum(layer.spikes or 0 for layer in self.layers),
            membrane_updates=sum(layer.membrane_updates or 0 for layer in self.layers),
            linear_effective=total("effective", "linear"),
            linear_dense=total("dense", "linear"),
            linear_weight_bytes=total("weight_bytes", "linear"),
            attend_effective=total("effective", "attend"),
            attend_dense=total("dense", "attend"),
            attend_bits_read=self._ring_bits["read"],
            attend_bits_dense=self._ring_bits["dense"],
            attend_bits_written=self._ring_bits["written"],
            multiply_effective=total("effective", "embed", "readout"),
            multiply_dense=total("dense", "embed", "readout"),
            multiply_weight_bytes=total("weight_bytes", "embed", "readout"),
            lookup_bytes=self._lookup_bytes(),
            residual_adds=self._residual_adds,
            shift_bits=sum(shift.steps for shift in self.shifts),
            stateful=self.program.frames is not None,
        )

    def _graded(self, op: Op) -> bool:
        """Whether an op reads values other than 0 and 1: its operations then multiply."""
        first = self.program.ops[0]
        return isinstance(first, Frames) and self._largest[inputs_of(op)[0]] > 1

    def _lookup_bytes(self) -> int:
        first = self.program.ops[0]
        return len(self.ids) * first.table.shape[1] if isinstance(first, Embed) else 0

    def _add(
        self, op: Op, part: str, kind: OpKind, *, dense: int, effective: int, weight_bytes: int = 0
    ) -> None:
        """Take the synaptic operations of one part of an op; those on spikes are accumulates."""
        tokens = len(self.ids)
        self.ops.append(
            SynapticOp(
                name=f"{op.name}.{part}" if part else op.name,
                kind=kind,
                dense=dense / tokens,
                effective=effective / tokens,
                accumulates=kind in ("linear", "attend") and not self._graded(op),
                op=op.name,
                dense_total=dense,
                effective_total=effective,
                weight_bytes_total=weight_bytes,
            )
        )

    def _matrix(
        self, op: Op, part: str, kind: OpKind, *, used: IntArray, rows: int, weight: IntArray
    ) -> None:
        """Count a matrix ``[in, out]`` that is applied ``rows`` times, ``used[in]`` of them not to 0."""
        self._add(
            op,
            part,
            kind,
            dense=rows * weight.size,
            effective=int(used @ np.count_nonzero(weight, axis=1)),
            weight_bytes=int(used.sum()) * weight.shape[1],
        )

    def _embed(self, op: Embed) -> None:
        used = np.count_nonzero(op.table[self.ids], axis=0)
        self._matrix(op, "projection", "embed", used=used, rows=len(self.ids), weight=op.projection)

    def _linear(self, op: Linear, spikes: IntArray) -> None:
        fired = spikes.reshape(-1, spikes.shape[-1])
        used = np.count_nonzero(fired, axis=0)
        for part, columns in _column_parts(self.program, op):
            self._matrix(op, part, "linear", used=used, rows=len(fired), weight=op.weight[:, columns])

    def _conv(self, op: Conv, value: IntArray) -> None:
        """A weight is applied to a place of the input wherever the window meets it: padding is none."""
        used = (value[0] != 0).astype(np.int8)[None]
        ones, weights = np.ones_like(op.weight), (op.weight != 0).astype(np.int8)

        def applied(weight: npt.NDArray[np.int8], places: IntArray) -> int:
            return int(conv_currents(places, replace(op, weight=weight), 1).sum())

        self._add(
            op,
            "",
            "linear",
            dense=len(self.ids) * applied(ones, np.ones_like(used[:, :1])),
            effective=applied(weights, used),
            weight_bytes=applied(ones, used),
        )

    def _stateful(self, op: StatefulLIF, current: IntArray) -> None:
        start = np.zeros((1, current.shape[-1]), np.int32)
        membranes, spikes, _ = stateful_lif(current, op, start)
        left = membranes[0, :, 0]
        if op.reset is Reset.ZERO:
            left = np.where(spikes[0, :, 0] != 0, 0, left)
        elif op.reset in (Reset.SUBTRACT, Reset.MANY):
            left = left - spikes[0, :, 0] * spread(op.drop, current.shape[-1])
        changed = np.count_nonzero(left[0]) + np.count_nonzero(left[1:] != left[:-1])
        self._layer(op, spikes[0], int(changed))

    def _delay(self, op: Delay, value: IntArray) -> None:
        kept = value[0, :, 0][:, spread(op.delays, value.shape[-1]) > 0]
        fired = int(np.count_nonzero(kept))
        self.shifts.append(TokenShift(name=op.name, channels=kept.shape[1], steps=kept.size, spikes=fired))

    def _lif(self, op: LIF, current: IntArray) -> None:
        membranes, spikes = lif_membranes(current[0], op)
        left = np.where(spikes != 0, 0, membranes)
        changed = left[:, 0].size + int(np.count_nonzero(left[:, 1:] != left[:, :-1]))
        self._layer(op, spikes, changed)

    def _layer(self, op: LIF | StatefulLIF, spikes: IntArray, changed: int) -> None:
        """Take what a layer ``[tokens, T, c]`` did: its spikes, and updates that changed a membrane."""
        fired, tokens = int(spikes.sum(dtype=np.int64)), len(self.ids)
        self.layers.append(
            Layer(
                name=op.name,
                neurons=spikes.shape[-1],
                spikes_per_token=fired / tokens,
                spike_rate=fired / spikes.size,
                membrane_updates_per_token=changed / tokens,
                silent_neurons=int(np.count_nonzero(~spikes.any(axis=(0, 1)))),
                spikes=fired,
                membrane_updates=changed,
            )
        )

    def _shift(self, op: Shift, spikes: IntArray) -> None:
        moved = spikes[0][..., op.channels]
        fired = int(moved.sum(dtype=np.int64))
        self.shifts.append(
            TokenShift(name=op.name, channels=len(op.channels), steps=moved.size, spikes=fired)
        )

    def _attend(self, op: Attend, qkv: IntArray) -> None:
        length, timesteps = qkv.shape[1], qkv.shape[2]
        split = qkv[0].reshape(length, timesteps, 3, len(op.windows), op.head_dim).astype(np.float32)
        pairs = score = value = keys_read = values_read = 0
        for head, window in enumerate(op.windows):
            q, k, v = (split[:, :, part, head].swapaxes(0, 1) for part in range(3))
            queried, valued = np.count_nonzero(q, axis=2), np.count_nonzero(v, axis=2)
            for start in range(0, length, _QUERY_BLOCK):
                stop = min(start + _QUERY_BLOCK, length)
                first = max(0, start - window + 1)
                age = np.arange(start, stop)[:, None] - np.arange(first, stop)[None, :]
                inside = (age >= 0) & (age < window)
                # every partial sum is an integer below 2**17: exact in float32
                scores = (q[:, start:stop] @ k[:, first:stop].swapaxes(1, 2)) * inside
                hits = scores != 0
                pairs += int(inside.sum())
                score += int(scores.sum(dtype=np.float64))
                value += int((hits * valued[:, None, first:stop]).sum(dtype=np.int64))
                keys_read += int((queried[:, start:stop] * inside.sum(axis=1)).sum(dtype=np.int64))
                values_read += int(np.count_nonzero(hits)) * op.head_dim
        dense = timesteps * op.head_dim * pairs
        for part, effective in (("score", score), ("value", value)):
            self._add(op, part, "attend", dense=dense, effective=effective)
        self._ring_bits["read"] += keys_read + values_read
        self._ring_bits["dense"] += 2 * dense
        self._ring_bits["written"] += 2 * length * timesteps * op.channels

    def _readout(self, op: Readout, counts: IntArray) -> None:
        codes = readout_codes(counts, op)[0]
        rows = len(codes)
        used = np.count_nonzero(counts[0], axis=0)
        self._matrix(op, "factor", "readout", used=used, rows=rows, weight=op.weight)
        used = np.count_nonzero(codes, axis=0)
        self._matrix(op, "table", "readout", used=used, rows=rows, weight=op.table.T)


def _kind_of_work(op: SynapticOp) -> str:
    """What a part is charged as: a layer that reads graded values multiplies, as a readout does."""
    return "readout" if op.kind == "linear" and not op.accumulates else op.kind


def _column_parts(program: Program, op: Linear) -> Iterator[tuple[str, slice]]:
    """The parts of a matrix by its columns: q, k and v before attention, else the whole of it."""
    users = [user for lif in program.consumers(op.out) for user in program.consumers(lif.out)]
    width = int(op.weight.shape[1])
    if len(users) == 1 and isinstance(users[0], Attend):
        third = width // 3
        for number, part in enumerate("qkv"):
            yield part, slice(number * third, (number + 1) * third)
    else:
        yield "", slice(0, width)
