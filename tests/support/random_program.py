"""Random programs with the statistics of trained ones, for conformance tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.program.bounds import secure
from edgesnn.program.ops import (
    LIF,
    Add,
    Attend,
    Count,
    Embed,
    Linear,
    Op,
    Readout,
    Saturate,
    Shift,
)
from edgesnn.program.program import Program


@dataclass(frozen=True, slots=True)
class RandomShape:
    """Sizes of a random program.

    Attributes:
        vocab: Token ids.
        dim: d, channels of the residual stream.
        depth: N, blocks.
        windows: Attention window per head; its length is the number of heads.
        mlp: Channels of the MLP.
        rank: r of the factorised embedding.
        timesteps: T.
        decay: n.
        shifted: Channels that are shifted, from the first.
        density: Spike rate aimed at.
        saturate: Whether a `Saturate` stands after every `Add`.
        clip: Whether every LIF keeps its lower saturation; else it stands only where it can be reached.
    """

    vocab: int = 257
    dim: int = 32
    depth: int = 2
    windows: tuple[int, ...] = (1, 3, 5, 9)
    mlp: int = 48
    rank: int = 16
    timesteps: int = 4
    decay: int = 230
    shifted: int = 16
    density: float = 0.15
    saturate: bool = False
    clip: bool = True


FLAGSHIP = RandomShape(
    vocab=49_152, dim=256, depth=4, windows=(8, 32, 128, 256), mlp=512, rank=64, shifted=128, clip=False
)


def random_program(shape: RandomShape = RandomShape(), seed: int = 0) -> Program:
    """A random program of the spiking transformer's form.

    Args:
        shape: Its sizes.
        seed: Seed of numpy's PCG64.

    Returns:
        The program. Thresholds are set from the spread of each current, so that about
        ``shape.density`` of the neurons fire.
    """
    rng = np.random.default_rng(seed)
    ops: list[Op] = []
    head_dim = shape.dim // len(shape.windows)

    def weight(rows: int, columns: int) -> npt.NDArray[np.int8]:
        return np.clip(np.rint(rng.normal(0, 40, (rows, columns))), -127, 127).astype(np.int8)

    def lif(name: str, source: str, channels: int, spread: float, offset: float = 0.0) -> str:
        level = 64 * (offset + spread * rng.uniform(1.2, 2.2, channels))
        theta = np.clip(np.rint(level), 1, 2**23 - 2).astype(np.int32)
        bias = np.rint(64 * spread * rng.normal(0, 0.2, channels)).astype(np.int32)
        ops.append(LIF(name, source, f"{name}.s", shape.decay, theta, bias, shape.clip))
        return f"{name}.s"

    def shift(name: str, source: str) -> str:
        if shape.shifted == 0:
            return source
        ops.append(Shift(name, source, f"{name}.s", np.arange(shape.shifted, dtype=np.int32)))
        return f"{name}.s"

    def linear(name: str, source: str, rows: int, columns: int) -> str:
        ops.append(Linear(name, source, f"{name}.i", weight(rows, columns)))
        return f"{name}.i"

    def add(name: str, left: str, right: str) -> str:
        ops.append(Add(name, left, right, f"{name}.x"))
        if not shape.saturate:
            return f"{name}.x"
        ops.append(Saturate(f"{name}.saturate", f"{name}.x", f"{name}.y"))
        return f"{name}.y"

    table = weight(shape.vocab, shape.rank)
    projection = weight(shape.rank, shape.dim)
    multiplier = rng.integers(400, 900, shape.dim).astype(np.int32)
    ops.append(Embed("embed", "x0", table, projection, multiplier, 12))
    residual = 40 * np.sqrt(shape.dim * shape.density)
    stream, spread = "x0", float(40 * 40 * np.sqrt(shape.rank) * 650 / 4096)
    for i in range(shape.depth):
        prefix = f"blocks.{i}"
        spikes = shift(f"{prefix}.attn.shift", lif(f"{prefix}.attn.in", stream, shape.dim, spread))
        qkv = linear(f"{prefix}.attn.qkv", spikes, shape.dim, 3 * shape.dim)
        fired = lif(f"{prefix}.attn.qkv_lif", qkv, 3 * shape.dim, residual)
        ops.append(Attend(f"{prefix}.attn.attend", fired, f"{prefix}.attn.attend.i", head_dim, shape.windows))
        mean = np.repeat(np.array(shape.windows), head_dim) * head_dim * shape.density**3
        attended = f"{prefix}.attn.attend.i"
        theta = np.maximum(1, np.rint(64 * (mean * rng.uniform(1, 3, shape.dim) + 0.5))).astype(np.int32)
        bias = np.rint(rng.normal(0, 20, shape.dim)).astype(np.int32)
        ops.append(
            LIF(f"{prefix}.attn.out_lif", attended, f"{attended}.s", shape.decay, theta, bias, shape.clip)
        )
        out = linear(f"{prefix}.attn.out", f"{attended}.s", shape.dim, shape.dim)
        stream = add(f"{prefix}.attn.add", stream, out)
        spread = float(np.hypot(spread, residual))
        spikes = shift(f"{prefix}.mlp.shift", lif(f"{prefix}.mlp.in", stream, shape.dim, spread))
        up = linear(f"{prefix}.mlp.up", spikes, shape.dim, shape.mlp)
        hidden = lif(f"{prefix}.mlp.up_lif", up, shape.mlp, residual)
        down = linear(f"{prefix}.mlp.down", hidden, shape.mlp, shape.dim)
        stream = add(f"{prefix}.mlp.add", stream, down)
        spread = float(np.hypot(spread, residual))
    last = lif("readout.lif", stream, shape.dim, spread)
    ops.append(Count("readout.count", last, "readout.c"))
    ops.append(
        Readout(
            "readout",
            "readout.c",
            "logits",
            weight(shape.dim, shape.rank),
            rng.integers(-300, 300, shape.rank).astype(np.int32),
            rng.integers(800, 1200, shape.rank).astype(np.int32),
            15,
            table,
            10,
        )
    )
    program = Program(shape.timesteps, tuple(ops))
    return program if shape.clip else secure(program)
