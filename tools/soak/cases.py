"""What a round runs: a random program of text or of frames, and what it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import EdgesnnError
from edgesnn.program.bounds import prove, secure
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Linear, Op
from edgesnn.program.ops_frames import Conv, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.program.snn_format import read_program, to_bytes
from edgesnn.program.validate import check_program
from tests.support.frame_programs import random_frames, random_frames_program
from tests.support.programs import scattered
from tests.support.random_program import RandomShape, random_program


@dataclass(frozen=True, eq=False)
class Case:
    """A program and its input.

    Attributes:
        program: The program.
        inputs: Token ids int64 ``[batch, length]``, or frames int8 ``[batch, length, channels]``.
    """

    program: Program
    inputs: npt.NDArray[Any]

    @property
    def tokens(self) -> int:
        """Tokens or frames of all sequences."""
        return int(self.inputs.shape[0] * self.inputs.shape[1])

    @cached_property
    def wanted(self) -> npt.NDArray[np.int32]:
        """What golden makes of it ``[batch, length, outputs]``."""
        return Golden(self.program).sequence(self.inputs)

    def save(self, folder: Path) -> None:
        """Write it as ``program.snn`` and ``inputs.json``."""
        (folder / "program.snn").write_bytes(to_bytes(self.program))
        (folder / "inputs.json").write_text(json.dumps(self.inputs.tolist()) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Case:
        """Read what `save` wrote."""
        program = read_program(folder / "program.snn").program
        inputs = json.loads((folder / "inputs.json").read_text("utf-8"))
        return cls(program, np.array(inputs, np.int64 if program.frames is None else np.int8))


def is_sound(program: Program) -> bool:
    """Whether a program keeps every rule and nothing in it can overflow."""
    try:
        check_program(program)
        prove(program)
    except EdgesnnError:
        return False
    return True


def draw(seed: int, number: int) -> Case:
    """The case of one round: text in even rounds, frames in odd ones."""
    rng = np.random.default_rng((seed, number))
    return _text(rng) if number % 2 == 0 else _frames(rng)


def _text(rng: np.random.Generator) -> Case:
    heads = int(rng.integers(1, 5))
    dim = heads * int(rng.choice([1, 2, 3, 5, 8, 16, 20]))
    longest = int(rng.choice([3, 9, 33, 70]))
    shape = RandomShape(
        vocab=int(rng.choice([2, 5, 16, 31, 64, 101, 257])),
        dim=dim,
        depth=int(rng.integers(1, 4)),
        windows=tuple(int(w) for w in rng.integers(1, longest + 1, heads)),
        mlp=int(rng.choice([1, 3, 16, 48, 65, 131])),
        rank=int(rng.choice([1, 3, 8, 16, 21, 64])),
        timesteps=int(rng.choice([1, 2, 3, 4, 5, 8, 9])),
        decay=int(rng.choice([1, 77, 128, 200, 230, 255, 256])),
        shifted=int(rng.integers(0, dim + 1)),
        density=float(rng.choice([0.02, 0.15, 0.5, 0.8])),
        saturate=bool(rng.integers(2)),
        clip=bool(rng.integers(2)),
    )
    program = random_program(shape, int(rng.integers(2**31)))
    if rng.random() < 0.5:
        program = scattered(program, int(rng.integers(2**31)))
    program = at_limits(program, rng)
    batch, length = [(1, 192), (2, 128), (4, 96), (7, 40)][rng.integers(4)]
    return Case(program, rng.integers(0, shape.vocab, (batch, length)))


def _frames(rng: np.random.Generator) -> Case:
    program = at_limits(random_frames_program(int(rng.integers(2**31))), rng)
    batch, length = [(1, 192), (2, 128), (4, 96), (7, 40)][rng.integers(4)]
    density = float(rng.choice([0.02, 0.3, 1.0]))
    return Case(program, random_frames(program, rng, batch, length, density))


def at_limits(program: Program, rng: np.random.Generator) -> Program:
    """In a third of the programs, neurons at the limits of what is allowed and weights of the largest size.

    What could overflow then stays as it was drawn.
    """
    if rng.random() > 1 / 3:
        return program

    def pushed(op: Op) -> Op:
        if isinstance(op, (LIF, StatefulLIF)) and rng.random() < 0.5:
            size = len(op.threshold)
            thetas = [1, 2, 2**16, 2**22, 2**23 - 2]
            if isinstance(op, StatefulLIF) and op.reset.name == "MANY":
                thetas = [300, 2**16]
            theta = rng.choice(thetas, size).astype(np.int32)
            bias = rng.choice([-(2**22), -5, 0, 5, 2**22], size).astype(np.int32)
            return replace(op, threshold=theta, bias=bias)
        if isinstance(op, (Linear, Conv)) and rng.random() < 0.3:
            return replace(op, weight=rng.choice(np.array([-127, 0, 127], np.int8), op.weight.shape))
        return op

    ops = list(program.ops)
    for index, op in enumerate(ops):
        trial = Program(program.timesteps, (*ops[:index], pushed(op), *ops[index + 1 :]))
        if is_sound(trial) or (program.frames is None and is_sound(_secured(trial))):
            ops = list(trial.ops)
    made = Program(program.timesteps, tuple(ops))
    return made if is_sound(made) else _secured(made)


def _secured(program: Program) -> Program:
    try:
        return secure(program)
    except EdgesnnError:
        return program


def kinds(program: Program) -> set[str]:
    """The kinds of op in a program."""
    return {type(op).__name__ for op in program.ops}


def describe(case: Case) -> str:
    """One line that says what a case is."""
    widths = case.program.channels()
    ops = ", ".join(f"{type(op).__name__} {widths[op.out]}" for op in case.program.ops)
    return f"T={case.program.timesteps}, input {list(case.inputs.shape)}: {ops}"


def same_op(op: Op, names: dict[str, str]) -> Op:
    """The op with other names of what it reads."""
    read = {f.name for f in fields(op)} & {"input", "left", "right"}
    return replace(op, **{one: names.get(getattr(op, one), getattr(op, one)) for one in read})
