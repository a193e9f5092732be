"""The proof that nothing overflows: never wrong, reached by the worst case, and loud where it fails."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import CompileError
from edgesnn.program.bounds import embedding_codes, membrane_low, prove, secure, signed_sums
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, LIF_BIAS_MAX, MEMBRANE_MAX, Add, Linear, Saturate
from edgesnn.program.validate import check_program
from tests.support import slow
from tests.support.programs import one_layer, programs, residual, with_op
from tests.support.random_program import RandomShape, random_program


def full(rows, columns, value):
    return np.full((rows, columns), value, np.int8)


def signs(rows):
    """A column of weights, the first half 127 and the second -127."""
    return np.where(np.arange(rows) < rows // 2, 127, -127).astype(np.int8)[:, None]


def bound(program, name):
    return next(bound for bound in prove(program) if bound.op == name)


def flat(value):
    return np.array(value, np.int64).ravel()


@settings(max_examples=30, deadline=None)
@given(programs(), st.data())
def test_no_value_of_a_run_ever_leaves_its_proven_interval(program, data):
    secured = secure(program)
    bounds = {bound.op: bound for bound in prove(secured)}
    ids = data.draw(st.lists(st.integers(0, program.vocab_size - 1), min_size=1, max_size=4))

    def see(op, value):
        values = flat(value)
        low, high = bounds[op.name].low, bounds[op.name].high
        assert low <= values.min() and values.max() <= high, op.name
        if isinstance(op, LIF) and not op.clip:
            early = flat([token[:-1] for token in value])
            assert early.size == 0 or early.min() >= -MEMBRANE_MAX

    slow.run(secured, ids, see)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 256), st.integers(1, 6), st.integers(-(2**23), 2**20), st.data())
def test_the_bound_of_a_membrane_holds_for_every_drive_and_is_reached_by_the_lowest(n, timesteps, bias, data):
    low, high = data.draw(st.integers(-(2**17) + 1, 0)), data.draw(st.integers(0, 2**17 - 1))
    program = one_layer([[1]], [100], [bias], decay=n, timesteps=timesteps)
    op = next(op for op in program.ops if op.name == "lif")
    lows = [int(b[0]) for b in membrane_low(op, signed_interval(low, high), timesteps)]
    drive = data.draw(st.lists(st.integers(low, high), min_size=timesteps, max_size=timesteps))
    raw, _, _ = slow.lif(drive, n, 100, bias)
    assert all(bottom <= v for bottom, v in zip(lows, raw, strict=True))
    if bias <= 0:
        assert slow.lif([low] * timesteps, n, 100, bias)[0] == lows


def test_the_bound_of_a_membrane_counts_with_a_reset_before_every_timestep():
    """A bias alone drives the neuron above its threshold: it is at 0 again, not at what it had reached."""
    program = one_layer([[1]], [100], [1000], decay=256, timesteps=3)
    op = next(op for op in program.ops if op.name == "lif")
    assert [int(low[0]) for low in membrane_low(op, signed_interval(0, 0), 3)] == [1000] * 3
    assert slow.lif([0, 0, 0], 256, 100, 1000)[0] == [1000] * 3


def signed_interval(low, high):
    from edgesnn.program.bounds import ChannelBounds

    return ChannelBounds(np.array([low]), np.array([high]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 999))
def test_sums_of_signed_weights_are_the_extremes_over_all_spike_vectors(fan_in, fan_out, seed):
    weight = np.random.default_rng(seed).integers(-127, 128, (fan_in, fan_out)).astype(np.int8)
    spikes = (np.arange(2**fan_in)[:, None] >> np.arange(fan_in)) & 1
    sums = spikes @ weight.astype(np.int64)
    made = signed_sums(weight)
    np.testing.assert_array_equal(made.low, sums.min(axis=0))
    np.testing.assert_array_equal(made.high, sums.max(axis=0))


def test_the_embedding_is_bounded_over_every_row_of_a_vocabulary_larger_than_one_block(monkeypatch):
    rng = np.random.default_rng(0)
    table = rng.integers(-127, 128, (103, 6)).astype(np.int8)
    projection = rng.integers(-127, 128, (6, 4)).astype(np.int8)
    monkeypatch.setattr("edgesnn.program.bounds._VOCAB_BLOCK", 10)
    codes = table.astype(np.int64) @ projection.astype(np.int64)
    made = embedding_codes(table, projection)
    np.testing.assert_array_equal(made.low, codes.min(axis=0))
    np.testing.assert_array_equal(made.high, codes.max(axis=0))


def test_a_fan_in_of_1032_of_the_largest_weights_is_proven_and_1033_is_refused():
    assert bound(one_layer(full(1032, 1, 127), [1], [0], table=full(1, 1, 1)), "linear").high == 1032 * 127
    assert bound(one_layer(full(1032, 1, -127), [1], [0], table=full(1, 1, 1)), "linear").low == -1032 * 127
    for value in (127, -127):
        with pytest.raises(CompileError, match="op 'linear' .Linear. can overflow.*131191.*below 131072"):
            prove(one_layer(full(1033, 1, value), [1], [0], table=full(1, 1, 1)))


def test_the_worst_token_reaches_the_bound_of_a_current():
    weight = np.random.default_rng(1).integers(-127, 128, (8, 3)).astype(np.int8)
    for sign in (1, -1):
        table = np.where(sign * weight[:, :1].T > 0, 127, -127).astype(np.int8)
        program = one_layer(weight, [1] * 3, [0] * 3, table=np.vstack([table, -table]))
        program = with_op(program, "embed", projection=np.eye(8, dtype=np.int8), multiplier=full32(8, 2))
        seen = {}
        Golden(program).sequence(np.array([[0, 1]]), seen.__setitem__)
        made = signed_sums(weight)
        assert seen["i"][..., 0].max() == made.high[0]
        assert seen["i"][..., 0].min() == made.low[0]


def full32(size, value):
    return np.full(size, value, np.int32)


def test_a_residual_stream_sums_the_intervals_of_its_writers():
    program = residual(signs(10), signs(10), full(10, 1, 3))
    assert (bound(program, "second.add").low, bound(program, "second.add").high) == (-10 * 127, 10 * 127)
    assert (bound(program, "third.add").low, bound(program, "third.add").high) == (-10 * 127, 10 * 127 + 30)


def test_secure_guards_exactly_the_additions_that_can_leave_the_range():
    tight = residual(full(1032, 1, 60), full(1032, 1, 60))
    assert not list(secure(tight).all(Saturate))
    wide = residual(full(1032, 1, 60), full(1032, 1, 60), full(1032, 1, 60))
    secured = secure(wide)
    assert [op.name for op in secured.all(Saturate)] == ["third.add.saturate"]
    check_program(secured)
    assert bound(secured, "third.add.saturate").high == 2**17 - 1
    assert bound(secured, "third.add").high == 3 * 60 * 1032
    with pytest.raises(CompileError, match="op 'third.add' .Add. can overflow"):
        prove(wide)


def test_an_addition_is_guarded_from_2_17_on():
    """516 * 127 + 4 is 2**16."""
    half = np.append(np.full(516, 127), 4)[:, None]
    below = np.append(np.full(516, 127), 3)[:, None]
    assert [op.name for op in secure(residual(half, half)).all(Saturate)] == ["second.add.saturate"]
    assert not list(secure(residual(half, below)).all(Saturate))
    assert not list(secure(residual(-half, -below)).all(Saturate))


def test_every_later_reader_sees_the_guarded_stream():
    secured = secure(residual(full(1032, 1, 127), full(1032, 1, 127), full(1032, 1, 127)))
    adds = list(secured.all(Add))
    assert adds[1].left == f"{adds[0].out}.saturate"
    assert next(op for op in secured.ops if op.name == "last").input == f"{adds[1].out}.saturate"
    check_program(secured)
    prove(secured)


def test_securing_twice_changes_nothing():
    once = secure(residual(full(1032, 1, 127), full(1032, 1, 127), full(1032, 1, 127)))
    twice = secure(once)
    assert [op.name for op in twice.ops] == [op.name for op in once.ops]
    check_program(twice)


def test_a_program_that_is_guarded_everywhere_can_be_secured():
    program = random_program(RandomShape(saturate=True, clip=False), seed=1)
    check_program(program)
    prove(program)


@settings(max_examples=25, deadline=None)
@given(programs(), st.integers(0, 99))
def test_leaving_out_a_clip_that_cannot_be_reached_changes_no_spike(program, seed):
    """The spikes of a LIF that is marked `clip: false` are those of arithmetic without any saturation."""
    secured = secure(program)
    ids = np.random.default_rng(seed).integers(0, program.vocab_size, (1, 3))
    free = [op for op in secured.all(LIF) if not op.clip]
    seen = {}
    Golden(secured).sequence(ids, seen.__setitem__)
    for op in free:
        current, spikes = seen[op.input].astype(np.int64), seen[op.out]
        membrane = np.zeros_like(current[:, :, 0])
        for t in range(program.timesteps):
            decayed = np.sign(membrane) * (np.abs(membrane) * op.decay // 256)
            membrane = decayed + 64 * current[:, :, t] + op.bias
            np.testing.assert_array_equal(membrane > op.threshold, spikes[:, :, t])
            membrane = np.where(membrane > op.threshold, 0, membrane)
    marked = Golden(replace(secured, ops=tuple(map(always_clipped, secured.ops))))
    np.testing.assert_array_equal(Golden(secured).sequence(ids), marked.sequence(ids))


def always_clipped(op):
    return replace(op, clip=True) if isinstance(op, LIF) else op


def deep(weight, bias, timesteps):
    return one_layer(weight, [1000], [bias], decay=256, timesteps=timesteps, table=full(1, 1, 1))


def test_clip_is_kept_exactly_where_the_lower_saturation_can_be_reached_before_the_last_timestep():
    """1032 * 127 * 64 is 257 above the saturation: one timestep stays inside, a bias of -257 goes outside."""
    inside = secure(deep(full(1032, 1, -127), 0, 2))
    assert [op.clip for op in inside.all(LIF)] == [False, False]
    edge = MEMBRANE_MAX - 64 * 127 * 1032
    assert [op.clip for op in secure(deep(full(1032, 1, -127), -edge, 2)).all(LIF)] == [False, False]
    assert [op.clip for op in secure(deep(full(1032, 1, -127), -edge - 1, 2)).all(LIF)] == [False, True]
    assert [op.clip for op in secure(deep(full(1032, 1, -127), -edge - 1, 1)).all(LIF)] == [False, False]
    prove(secure(deep(full(1032, 1, -127), -edge - 1, 1)))


def test_a_lif_that_lies_about_its_clip_is_refused_by_name():
    program = deep(full(1032, 1, -127), -(2**22), 2)
    lying = with_op(program, "lif", clip=False)
    with pytest.raises(CompileError, match="LIF 'lif' can reach its lower saturation"):
        prove(lying)
    assert bound(program, "lif").clip_reachable is True


def test_a_membrane_fits_int32_with_the_largest_bias_and_current():
    for sign in (1, -1):
        program = deep(full(1032, 1, sign * 127), sign * LIF_BIAS_MAX, 8)
        made = bound(program, "lif")
        assert max(abs(made.low), abs(made.high)) < 2**31


def test_an_embedding_whose_product_leaves_int32_is_refused_by_name():
    program = one_layer([[1]], [1], [0], table=[[127]])
    program = with_op(program, "embed", projection=full(1, 1, 127), shift=31)
    fits = (2**31 - 1) // (127 * 127)
    prove(with_op(program, "embed", multiplier=full32(1, fits)))
    with pytest.raises(CompileError, match="op 'embed' .Embed. can overflow"):
        prove(with_op(program, "embed", multiplier=full32(1, fits + 1)))


def test_an_embedding_beyond_the_current_limit_is_refused_by_name():
    program = with_op(one_layer([[1]], [1], [0], table=[[1]]), "embed", multiplier=full32(1, 2**17 - 1))
    prove(program)
    with pytest.raises(CompileError, match="op 'embed' .Embed. can overflow.*131072"):
        prove(with_op(program, "embed", multiplier=full32(1, 2**17)))


def test_a_readout_whose_product_leaves_int32_is_refused_by_name():
    program = one_layer([[1]], [1], [0], table=[[1]], timesteps=4)
    top = 4 * 1 + 100
    program = with_op(program, "readout", bias=full32(1, 100))
    fits = (2**31 - 1) // top
    assert bound(with_op(program, "readout", multiplier=full32(1, fits)), "readout").high == top * fits
    with pytest.raises(CompileError, match="op 'readout' .Readout. can overflow"):
        prove(with_op(program, "readout", multiplier=full32(1, fits + 1)))


def test_a_readout_sum_beyond_int32_is_refused_even_when_its_multiplier_is_zero():
    program = one_layer([[1]], [1], [0], table=[[1]], timesteps=4)
    program = with_op(program, "readout", bias=full32(1, 2**31 - 1), multiplier=full32(1, 0))
    with pytest.raises(CompileError, match="op 'readout' .Readout. can overflow"):
        prove(program)


def test_a_readout_product_beyond_int64_does_not_wrap_into_the_range():
    """z = 2**33 + 4 and M = 2**31 - 1: in int64 the product is -4."""
    wide = 400_000
    program = one_layer(np.zeros((1, wide)), full32(wide, 1), full32(wide, 0), table=[[1]], timesteps=127)
    bias = 2**33 + 4 - 127 * 127 * wide
    changes = {"weight": full(wide, 1, 127), "bias": full32(1, bias), "multiplier": full32(1, 2**31 - 1)}
    with pytest.raises(CompileError, match="op 'readout' .Readout. can overflow"):
        prove(with_op(program, "readout", **changes))


def test_attention_reaches_its_bound_when_everything_fires():
    shape = RandomShape(vocab=4, dim=6, depth=1, windows=(2, 5), mlp=3, rank=2, timesteps=1, shifted=0)
    program = random_program(shape)
    attend = next(op for op in program.ops if op.name.endswith("attend"))
    qkv = next(op for op in program.ops if op.name.endswith("qkv_lif"))
    fires = with_op(program, qkv.name, bias=full32(18, 2**24), threshold=full32(18, 1))
    seen = []
    Golden(fires).sequence(
        np.zeros((1, 9), np.int64), lambda n, v: seen.append(v) if n == attend.out else None
    )
    assert seen[0].max() == bound(fires, attend.name).high == 5 * 3
    assert seen[0][0, -1, 0].tolist() == [2 * 3] * 3 + [5 * 3] * 3


def test_the_proof_names_every_op_in_order():
    program = random_program()
    bounds = prove(program)
    assert [bound.op for bound in bounds] == [op.name for op in program.ops]
    assert {bound.limit for bound in bounds if bound.kind == Linear.__name__} == {2**17}
