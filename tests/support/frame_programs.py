"""Random programs that read frames, and a second interpreter of them in plain Python loops."""

from __future__ import annotations

import math

import numpy as np

from edgesnn.program.ops import Add, Linear, Op, Saturate
from edgesnn.program.ops_frames import Conv, Delay, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program


def neuron(name, source, channels, rng, *, reset=Reset.ZERO, spread=200.0, **more):
    """A neuron whose thresholds lie about where its currents do."""
    size = int(rng.choice([n for n in {1, channels, _divisor(channels, rng)}]))
    fraction = more.pop("fraction", 6)
    level = 2**fraction * spread * rng.uniform(0.5, 2.0, size)
    return StatefulLIF(
        name,
        source,
        name,
        rng.integers(0, 257, size).astype(np.int32),
        np.clip(np.rint(level), 1, 2**23 - 2).astype(np.int32),
        np.rint(2**fraction * spread * rng.normal(0, 0.2, size)).astype(np.int32),
        reset,
        fraction=fraction,
        **more,
    )


def weights(rng, *shape):
    return np.clip(np.rint(rng.normal(0, 50, shape)), -127, 127).astype(np.int8)


def _divisor(channels, rng):
    return int(rng.choice([d for d in range(1, channels + 1) if channels % d == 0]))


def random_frames_program(seed: int) -> Program:
    """A program of every op, its sizes drawn: maps, resets, outputs, samples or spikes."""
    rng = np.random.default_rng(seed)
    flat, line = rng.random() < 0.2, rng.random() < 0.3
    shape = (int(rng.integers(1, 5)), 1 if line else int(rng.integers(3, 10)), int(rng.integers(3, 12)))
    low, high = [(0, 1), (0, 1), (0, 5), (-127, 127), (-3, 90)][rng.integers(5)]
    asked = (math.prod(shape),) if flat else (shape[0], shape[2]) if line else shape
    ops: list[Op] = [Frames("frames", "frames", asked, low, high, float(np.float32(rng.uniform(0.01, 1))))]
    value, largest = "frames", max(-low, high)
    for block in range(int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            channels = math.prod(shape)
            delays = rng.integers(0, 5, _divisor(channels, rng)).astype(np.int32)
            delays[0] += 1
            ops.append(Delay(f"delay{block}", value, f"delay{block}", delays))
            value = f"delay{block}"
        conv, made = _random_conv(rng, f"conv{block}", value, shape)
        ops.append(conv)
        value, channels = conv.out, conv.channels
        if rng.random() < 0.3 and made == shape:
            other, _ = _random_conv(rng, f"again{block}", conv.input, shape, like=conv)
            ops += [other, Add(f"add{block}", value, other.out, f"add{block}")]
            ops.append(Saturate(f"saturate{block}", f"add{block}", f"saturate{block}"))
            value = f"saturate{block}"
        shape = made
        fan_in = conv.weight.size // conv.weight.shape[0]
        spread = 25.0 * math.sqrt(fan_in) * max(1.0, largest / 3)
        reset = Reset(int(rng.integers(0, 5)))
        if reset is Reset.MANY:
            spread *= 0.3
        lif = neuron(
            f"lif{block}",
            value,
            channels,
            rng,
            reset=reset,
            spread=spread,
            inclusive=bool(rng.integers(2)),
            fraction=int(rng.integers(0, 7)),
        )
        ops.append(lif)
        value, largest = lif.out, 3 if reset is Reset.MANY else 1
        if rng.random() < 0.5 and min(shape[1:]) >= 1:
            kernel = (min(2, shape[1]), min(int(rng.integers(1, 4)), shape[2]))
            padding = (0, int(rng.integers(0, kernel[1])))
            pool = SumPool(f"pool{block}", value, f"pool{block}", shape, kernel, kernel, padding)
            ops.append(pool)
            value, shape, largest = pool.out, pool.out_shape, largest * kernel[0] * kernel[1]
    width = int(rng.integers(1, 40))
    ops.append(Linear("linear", value, "linear", weights(rng, math.prod(shape), width)))
    form = ("counts", "spikes", "membranes")[rng.integers(3)]
    last = neuron(
        "last",
        "linear",
        width,
        rng,
        reset=Reset(int(rng.integers(0, 5))),
        spread=15.0 * math.sqrt(math.prod(shape)) * largest,
        membrane=form == "membranes",
    )
    ops.append(last)
    ops.append(FrameOutput("output", "last", "output", form == "counts", 0.25))
    return Program(1, tuple(ops))


def _random_conv(rng, name, value, shape, like=None):
    groups = 1
    if like is None:
        groups = int(rng.choice([g for g in (1, shape[0]) if shape[0] % g == 0]))
        out = groups * int(rng.integers(1, 20 if groups == 1 else 4))
        kernel = (1 if shape[1] == 1 else min(3, shape[1]), int(rng.integers(1, min(4, shape[2]) + 1)))
        stride = (1, 1) if rng.random() < 0.6 else (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = tuple(int(rng.integers(0, k)) for k in kernel)
        dilation = (1, 1)
        if rng.random() < 0.2 and kernel[1] * 2 - 1 <= shape[2]:
            dilation = (1, 2)
        if rng.random() < 0.3:  # the size stays
            kernel, padding, stride, dilation = (1, 1), (0, 0), (1, 1), (1, 1)
            out, groups = shape[0], 1
    else:
        out, groups, kernel = like.weight.shape[0], like.groups, like.weight.shape[2:]
        stride, padding, dilation = like.stride, like.padding, like.dilation
    weight = weights(rng, out, shape[0] // groups, *kernel)
    conv = Conv(name, value, name, weight, shape, stride, padding, dilation, groups)
    return conv, conv.out_shape


def smallest_frames() -> Program:
    """Every op of programs of frames, a file of a few kilobytes."""
    rng = np.random.default_rng(5)
    two = np.array([1, 2], np.int32)
    return Program(
        1,
        (
            Frames("frames", "frames", (2, 3, 4), -3, 4, 0.5),
            Delay("delay", "frames", "delay", two),
            Conv("conv", "delay", "conv", weights(rng, 4, 1, 2, 3), (2, 3, 4), (1, 2), (1, 1), (1, 1), 2),
            Add("add", "conv", "conv", "add"),
            Saturate("saturate", "add", "saturate"),
            neuron("lif", "saturate", 32, rng, reset=Reset.MANY, inclusive=True, spread=300.0),
            SumPool("pool", "lif", "pool", (4, 4, 2), (2, 2), (2, 1), (0, 1)),
            Linear("linear", "pool", "linear", weights(rng, 24, 3)),
            neuron("last", "linear", 3, rng, reset=Reset.LATE, spread=100.0),
            FrameOutput("output", "last", "output", True, 0.25),
        ),
    )


def random_frames(program: Program, rng, batch: int, length: int, density: float) -> np.ndarray:
    """Frames int8 ``[batch, length, channels]`` of which a share is not 0."""
    op = program.frames
    assert op is not None
    samples = rng.integers(op.low, op.high, (batch, length, op.channels), endpoint=True)
    return (samples * (rng.random(samples.shape) < density)).astype(np.int8)


def plain(program: Program, frames: np.ndarray) -> np.ndarray:
    """Outputs ``[length, channels]`` of one sequence ``[length, channels]``: Python integers, one by one."""
    memory: dict[str, list] = {}
    rows = []
    for frame in frames.tolist():
        values: dict[str, list[int]] = {}
        for op in program.ops:
            values[op.out] = _plain_op(op, values, frame, memory)
        rows.append(values[program.ops[-1].out])
    return np.array(rows)


def _plain_op(op, values, frame, memory):
    if isinstance(op, Frames):
        return frame
    if isinstance(op, (StatefulLIF, Delay, FrameOutput)):
        return _plain_memory(op, values[op.input], memory)
    if isinstance(op, Add):
        return [a + b for a, b in zip(values[op.left], values[op.right], strict=True)]
    given = values[op.input]
    if isinstance(op, Saturate):
        return [max(-(2**17 - 1), min(2**17 - 1, x)) for x in given]
    if isinstance(op, Linear):
        rows, columns = op.weight.shape
        return [sum(given[j] * int(op.weight[j, c]) for j in range(rows) if given[j]) for c in range(columns)]
    return _plain_conv(op, given) if isinstance(op, Conv) else _plain_pool(op, given)


def _plain_memory(op, given, memory):
    if isinstance(op, StatefulLIF):
        return _plain_lif(op, given, memory)
    if isinstance(op, Delay):
        past = memory.setdefault(op.name, [])
        past.append(given)
        each = len(given) // len(op.delays)
        delays = [int(op.delays[c // each]) for c in range(len(given))]
        return [past[-1 - d][c] if d < len(past) else 0 for c, d in enumerate(delays)]
    if not op.summed:
        return given
    sums = [
        max(-(2**24 - 1), min(2**24 - 1, a + b))
        for a, b in zip(memory.get(op.name, [0] * len(given)), given, strict=True)
    ]
    memory[op.name] = sums
    return sums


def _plain_conv(op, given):
    _, high, wide = op.shape
    out, rows, columns = op.out_shape
    inside, each = op.weight.shape[1], out // op.groups
    made = []
    for o in range(out):
        for y in range(rows):
            for x in range(columns):
                total = 0
                for i in range(inside):
                    for u in range(op.weight.shape[2]):
                        for v in range(op.weight.shape[3]):
                            a = y * op.stride[0] - op.padding[0] + u * op.dilation[0]
                            b = x * op.stride[1] - op.padding[1] + v * op.dilation[1]
                            if 0 <= a < high and 0 <= b < wide:
                                channel = o // each * inside + i
                                total += int(op.weight[o, i, u, v]) * given[(channel * high + a) * wide + b]
                made.append(total)
    return made


def _plain_pool(op, given):
    _, high, wide = op.shape
    channels, rows, columns = op.out_shape
    made = []
    for c in range(channels):
        for y in range(rows):
            for x in range(columns):
                total = 0
                for u in range(op.kernel[0]):
                    for v in range(op.kernel[1]):
                        a, b = y * op.stride[0] - op.padding[0] + u, x * op.stride[1] - op.padding[1] + v
                        if 0 <= a < high and 0 <= b < wide:
                            total += given[(c * high + a) * wide + b]
                made.append(total)
    return made


def _plain_lif(op, given, memory):
    each = len(given) // len(op.threshold)
    old = memory.get(op.name, [0] * len(given))
    left, spikes, membranes = [], [], []
    for c, current in enumerate(given):
        n, theta, bias = (int(t[c // each]) for t in (op.decay, op.threshold, op.bias))
        drop = theta + 1 if op.inclusive else theta
        v = int(math.copysign(abs(old[c]) * n // 256, old[c])) + current * 2**op.fraction + bias
        if op.reset is Reset.LATE and old[c] > theta:
            v -= drop
        v = max(-(2**23 - 1), min(2**23 - 1, v))
        membranes.append(v)
        s = 1 if v > theta else 0
        if op.reset is Reset.MANY:
            s *= v // drop
        spikes.append(s)
        if op.reset is Reset.ZERO and s:
            v = 0
        if op.reset in (Reset.SUBTRACT, Reset.MANY):
            v -= s * drop
        left.append(v)
    memory[op.name] = left
    return membranes if op.membrane else spikes
