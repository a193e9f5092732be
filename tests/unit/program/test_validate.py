"""Every rule of a program, broken once: the error names the op."""

import re
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.errors import ProgramFormatError
from edgesnn.program.ops import Add, Count, Embed, Linear, Readout, Saturate, Shift
from edgesnn.program.program import Program
from edgesnn.program.validate import check_program
from tests.support.programs import with_op
from tests.support.random_program import RandomShape, random_program

SHAPE = RandomShape(
    vocab=9, dim=6, depth=1, windows=(1, 3), mlp=5, rank=4, timesteps=2, shifted=3, saturate=True
)


@pytest.fixture
def program():
    return random_program(SHAPE)


def i8(*shape, fill=1):
    return np.full(shape, fill, np.int8)


def i32(*shape, fill=1):
    return np.full(shape, fill, np.int32)


def test_random_programs_obey_every_rule(program):
    check_program(program)
    check_program(random_program())
    check_program(random_program(RandomShape(shifted=0, timesteps=127)))


LIF_IN, QKV, ATTEND = "blocks.0.attn.in", "blocks.0.attn.qkv", "blocks.0.attn.attend"
SHIFT, ADD = "blocks.0.attn.shift", "blocks.0.attn.add"

BROKEN = {
    "table of another dtype": ("embed", {"table": i32(9, 4)}),
    "table of one dimension": ("embed", {"table": i8(9)}),
    "table with -128": ("embed", {"table": i8(9, 4, fill=-128)}),
    "an empty table": ("embed", {"table": i8(0, 4)}),
    "a projection of another rank": ("embed", {"projection": i8(5, 6)}),
    "a projection with -128": ("embed", {"projection": i8(4, 6, fill=-128)}),
    "a negative multiplier": ("embed", {"multiplier": i32(6, fill=-1)}),
    "a multiplier of another width": ("embed", {"multiplier": i32(5)}),
    "a multiplier of int64": ("embed", {"multiplier": np.ones(6, np.int64)}),
    "a shift of 32": ("embed", {"shift": 32}),
    "a negative shift": ("embed", {"shift": -1}),
    "a weight of another fan-in": (QKV, {"weight": i8(7, 18)}),
    "a weight with -128": (QKV, {"weight": i8(6, 18, fill=-128)}),
    "a float weight": (QKV, {"weight": np.ones((6, 18), np.float32)}),
    "a weight without outputs": (QKV, {"weight": i8(6, 0)}),
    "decay 0": (LIF_IN, {"decay": 0}),
    "decay 257": (LIF_IN, {"decay": 257}),
    "threshold 0": (LIF_IN, {"threshold": i32(6, fill=0)}),
    "threshold at the upper saturation": (LIF_IN, {"threshold": i32(6, fill=2**23 - 1)}),
    "too few thresholds": (LIF_IN, {"threshold": i32(5)}),
    "a bias beyond 2**30": (LIF_IN, {"bias": i32(6, fill=2**30 + 1)}),
    "a bias beyond -2**30": (LIF_IN, {"bias": i32(6, fill=-(2**30) - 1)}),
    "a bias of two dimensions": (LIF_IN, {"bias": i32(6, 1)}),
    "no shifted channels": (SHIFT, {"channels": i32(0)}),
    "a channel outside the width": (SHIFT, {"channels": np.array([0, 6], np.int32)}),
    "a negative channel": (SHIFT, {"channels": np.array([-1, 2], np.int32)}),
    "channels out of order": (SHIFT, {"channels": np.array([2, 1], np.int32)}),
    "a channel twice": (SHIFT, {"channels": np.array([1, 1], np.int32)}),
    "no heads": (ATTEND, {"windows": ()}),
    "window 0": (ATTEND, {"windows": (0, 3)}),
    "a window whose sum leaves the range": (ATTEND, {"windows": (1, (2**17 - 1) // 3 + 1)}),
    "head width 0": (ATTEND, {"head_dim": 0}),
    "head width 256": (ATTEND, {"head_dim": 256}),
    "heads that do not fill the width": (ATTEND, {"windows": (1, 3, 3)}),
    "a readout of another width": ("readout", {"weight": i8(7, 4)}),
    "a readout weight with -128": ("readout", {"weight": i8(6, 4, fill=-128)}),
    "a readout bias of -2**31": ("readout", {"bias": i32(4, fill=-(2**31))}),
    "a readout bias of another rank": ("readout", {"bias": i32(5)}),
    "a negative readout multiplier": ("readout", {"multiplier": i32(4, fill=-1)}),
    "a readout shift of 32": ("readout", {"shift": 32}),
    "an exponent of 127": ("readout", {"exponent": 127}),
    "an exponent whose logits leave float32": ("readout", {"exponent": -105}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_refuses_and_names_the_op_with(program, name):
    op, changes = BROKEN[name]
    with pytest.raises(ProgramFormatError, match=re.escape(f"'{op}'")):
        check_program(with_op(program, op, **changes))


@pytest.mark.parametrize("timesteps", [0, -1, 128])
def test_timesteps_outside_1_to_127_are_refused(program, timesteps):
    with pytest.raises(ProgramFormatError, match="timesteps out of range"):
        check_program(replace(program, timesteps=timesteps))


def test_a_rank_whose_logits_are_not_exact_in_float32_is_refused():
    check_program(random_program(replace(SHAPE, rank=1040)))
    with pytest.raises(
        ProgramFormatError, match="rank of 'readout' out of range; actual: 1041; limit: 1..1040"
    ):
        check_program(random_program(replace(SHAPE, rank=1041)))


def test_a_table_that_embedding_and_readout_do_not_share_is_refused(program):
    other = program.embed.table.copy()
    check_program(with_op(program, "readout", table=other))
    other[0, 0] ^= 1
    with pytest.raises(ProgramFormatError, match="must share one table"):
        check_program(with_op(program, "readout", table=other))


def test_a_program_must_start_with_embed_and_end_with_readout(program):
    for ops in (program.ops[1:], program.ops[:-1], (), program.ops[:1]):
        with pytest.raises(ProgramFormatError, match="starts with Embed and ends with Readout"):
            check_program(Program(2, ops))


def test_a_second_embed_or_readout_is_refused_by_name(program):
    second = replace(program.embed, name="again", out="again.x")
    with pytest.raises(ProgramFormatError, match="op 'again' stands in the wrong place"):
        check_program(Program(2, (program.ops[0], second, *program.ops[1:])))
    early = replace(program.readout, name="early", out="early.l")
    with pytest.raises(ProgramFormatError, match="op 'early' stands in the wrong place"):
        check_program(Program(2, (*program.ops[:-1], early, program.ops[-1])))


def test_two_ops_of_one_name_are_refused(program):
    renamed = tuple(replace(op, name=LIF_IN) if op.name == QKV else op for op in program.ops)
    with pytest.raises(ProgramFormatError, match=f"two ops are called '{LIF_IN}'"):
        check_program(Program(2, renamed))


def test_two_ops_that_make_one_value_are_refused(program):
    out = next(op.out for op in program.ops if op.name == LIF_IN)
    with pytest.raises(ProgramFormatError, match=re.escape(f"two ops make the value '{out}'")):
        check_program(with_op(program, SHIFT, out=out))


def test_a_value_that_no_earlier_op_makes_is_refused(program):
    with pytest.raises(ProgramFormatError, match=re.escape(f"op '{LIF_IN}' reads 'nowhere'")):
        check_program(with_op(program, LIF_IN, input="nowhere"))
    last = program.readout.input
    with pytest.raises(ProgramFormatError, match=re.escape(f"op '{LIF_IN}' reads '{last}'")):
        check_program(with_op(program, LIF_IN, input=last))


def test_a_value_that_nothing_reads_is_refused(program):
    idle = Saturate("idle", "x0", "idle.y")
    with pytest.raises(ProgramFormatError, match="nothing reads the value 'idle.y'"):
        check_program(Program(2, (program.ops[0], idle, *program.ops[1:])))


@pytest.mark.parametrize(
    ("op", "kind", "wanted"),
    [
        (Linear("bad", "x0", "bad.o", i8(6, 6)), "current", "spikes"),
        (Shift("bad", "x0", "bad.o", i32(1, fill=0)), "current", "spikes"),
        (Count("bad", "x0", "bad.o"), "current", "spikes"),
        (Saturate("bad", "blocks.0.attn.in.s", "bad.o"), "spikes", "current"),
        (Add("bad", "x0", "blocks.0.attn.in.s", "bad.o"), "spikes", "current"),
    ],
)
def test_an_op_that_reads_another_kind_of_value_is_refused_by_name(program, op, kind, wanted):
    at = 2
    assert program.ops[1].out == "blocks.0.attn.in.s"
    with pytest.raises(ProgramFormatError, match=f"op 'bad' reads .*actual: {kind}; limit: {wanted}"):
        check_program(Program(2, (*program.ops[:at], op, *program.ops[at:])))


def test_an_addition_of_two_widths_is_refused_by_name(program):
    narrow = Linear("narrow", "blocks.0.attn.in.s", "narrow.i", i8(6, 5))
    at = next(i for i, op in enumerate(program.ops) if op.name == ADD)
    ops = (*program.ops[:at], narrow, replace(program.ops[at], left="narrow.i"), *program.ops[at + 1 :])
    with pytest.raises(ProgramFormatError, match=f"op '{ADD}' adds values of different width"):
        check_program(Program(2, ops))


@pytest.mark.parametrize("name", ["", "with space", "tab\t", "grün", "nul\0", "x" * 64, "\x7f"])
def test_a_name_that_the_file_cannot_carry_is_refused(program, name):
    with pytest.raises(ProgramFormatError, match="name of an op"):
        check_program(Program(2, (replace(program.embed, name=name), *program.ops[1:])))
    check_program(Program(2, (replace(program.embed, name="x" * 63), *program.ops[1:])))


def test_the_largest_window_of_a_head_is_the_one_whose_sum_stays_below_2_17():
    program = random_program(replace(SHAPE, windows=(1, (2**17 - 1) // 3)))
    check_program(program)


def test_every_kind_of_op_stands_in_the_program_of_these_tests(program):
    kinds = {type(op).__name__ for op in program.ops}
    assert kinds == {"Embed", "Linear", "LIF", "Shift", "Attend", "Add", "Saturate", "Count", "Readout"}
    assert isinstance(program.embed, Embed) and isinstance(program.readout, Readout)
