"""The golden interpreter against a second implementation, against itself in every form, and at its edges."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import TextError
from edgesnn.program.golden import Golden, decay, lif_membranes, readout_codes, trunc_shift
from edgesnn.program.ops import LIF, MEMBRANE_MAX, THETA_MAX, Readout
from edgesnn.program.state import State
from tests.support import slow
from tests.support.programs import one_layer, programs, scattered
from tests.support.random_program import RandomShape, random_program

quick = settings(max_examples=25, deadline=None)
MIXED = RandomShape(vocab=31, dim=12, depth=2, windows=(1, 2, 4, 7), mlp=10, rank=5, timesteps=3, shifted=6)


@pytest.fixture(scope="module")
def mixed():
    return scattered(random_program(MIXED, 3), 3)


def neuron(n, theta, bias, timesteps_first_currents):
    """Golden's membranes and spikes of one neuron."""
    current = np.array(timesteps_first_currents, np.int64)[:, None]
    op = LIF("lif", "i", "s", n, np.array([theta], np.int32), np.array([bias], np.int32), True)
    membranes, spikes = lif_membranes(current, op)
    return membranes[:, 0].tolist(), spikes[:, 0].tolist()


@quick
@given(programs(), st.data())
def test_golden_equals_a_plain_python_implementation_value_by_value(program, data):
    ids = data.draw(st.lists(st.integers(0, program.vocab_size - 1), min_size=1, max_size=5))
    wanted, got = {}, {}
    logits = slow.run(program, ids, lambda op, value: wanted.__setitem__(op.out, value))
    result = Golden(program).sequence(np.array([ids]), lambda name, value: got.__setitem__(name, value[0]))
    assert result[0].tolist() == logits
    for op in program.ops:
        if op.out in wanted and not isinstance(op, (LIF, Readout)):
            assert got[op.out].tolist() == wanted[op.out], op.name


@quick
@given(programs(), st.data())
def test_sequence_equals_step_equals_prefill_and_step_bit_for_bit(program, data):
    batch = data.draw(st.integers(1, 3))
    length = data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = rng.integers(0, program.vocab_size, (batch, length))
    golden = Golden(program)
    whole = golden.sequence(ids)
    state = State(program, batch)
    for i in range(length):
        np.testing.assert_array_equal(golden.step(ids[:, i], state), whole[:, i])
    cut = data.draw(st.integers(1, length))
    logits, state = golden.prefill(ids[:, :cut])
    np.testing.assert_array_equal(logits, whole[:, :cut])
    for i in range(cut, length):
        np.testing.assert_array_equal(golden.step(ids[:, i], state), whole[:, i])


def test_rings_of_mixed_windows_expire_exactly_far_past_the_wrap(mixed):
    golden, ids = Golden(mixed), np.random.default_rng(0).integers(0, 31, (1, 150))
    whole = golden.sequence(ids)
    state = State(mixed)
    steps = np.stack([golden.step(ids[:, i], state) for i in range(150)], axis=1)
    np.testing.assert_array_equal(steps, whole)
    assert state.count == 150
    assert np.unique(whole).size > 20


def test_blocks_of_queries_change_nothing(mixed, monkeypatch):
    ids = np.random.default_rng(1).integers(0, 31, (2, 40))
    whole = Golden(mixed).sequence(ids)
    monkeypatch.setattr("edgesnn.program.golden._QUERY_BLOCK", 3)
    np.testing.assert_array_equal(Golden(mixed).sequence(ids), whole)


def test_a_token_forgets_what_left_every_window_and_the_shift(mixed):
    """Two blocks: a token sees at most 2 * (7 - 1) tokens by attention and 4 by shifts."""
    golden, rng = Golden(mixed), np.random.default_rng(2)
    reach = 2 * (7 - 1) + 4
    first = rng.integers(0, 31, (1, 40))
    second = first.copy()
    second[0, :5] = (second[0, :5] + 1) % 31
    a, b = golden.sequence(first), golden.sequence(second)
    assert (a[:, :5] != b[:, :5]).any()
    np.testing.assert_array_equal(a[:, 5 + reach :], b[:, 5 + reach :])


@quick
@given(programs(), st.data())
def test_logits_never_depend_on_later_tokens(program, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = rng.integers(0, program.vocab_size, (1, 9))
    cut = data.draw(st.integers(1, 8))
    other = ids.copy()
    other[:, cut:] = rng.integers(0, program.vocab_size, (1, 9 - cut))
    golden = Golden(program)
    np.testing.assert_array_equal(golden.sequence(ids)[:, :cut], golden.sequence(other)[:, :cut])


def test_rows_of_a_batch_are_independent(mixed):
    golden, rng = Golden(mixed), np.random.default_rng(4)
    ids = rng.integers(0, 31, (4, 20))
    together = golden.sequence(ids)
    for row in range(4):
        np.testing.assert_array_equal(together[row], golden.sequence(ids[row : row + 1])[0])
    np.testing.assert_array_equal(golden.sequence(ids[::-1])[::-1], together)


def test_counts_are_what_reaches_the_readout(mixed):
    ids, seen = np.arange(20)[None], {}
    golden = Golden(mixed)
    golden.sequence(ids, seen.__setitem__)
    np.testing.assert_array_equal(golden.counts(ids), seen[mixed.readout.input])


# The neuron -----------------------------------------------------------------------------------------------

currents = st.one_of(
    st.integers(-(2**17) + 1, 2**17 - 1), st.sampled_from((-(2**17) + 1, -1, 0, 1, 2**17 - 1))
)
biases = st.one_of(st.integers(-(2**30), 2**30), st.integers(-300, 300), st.sampled_from((-(2**30), 2**30)))
thresholds = st.one_of(st.integers(1, THETA_MAX), st.integers(1, 200), st.sampled_from((1, THETA_MAX)))


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 256), thresholds, biases, st.lists(currents, min_size=1, max_size=8))
def test_a_neuron_equals_the_scalar_definition(n, theta, bias, drive):
    _, membranes, spikes = slow.lif(drive, n, theta, bias)
    assert neuron(n, theta, bias, drive) == (membranes, spikes)


@pytest.mark.parametrize("n", [1, 2, 115, 128, 230, 255, 256])
def test_the_decay_truncates_toward_zero_over_the_whole_membrane_range(n):
    edges = np.arange(-70_000, 70_000)
    far = np.linspace(-MEMBRANE_MAX, MEMBRANE_MAX, 150_001).astype(np.int64)
    values = np.concatenate([edges, far, [-MEMBRANE_MAX, MEMBRANE_MAX]])
    magnitude = np.array([abs(v) * n // 256 for v in values.tolist()])
    np.testing.assert_array_equal(decay(values, n), np.sign(values) * magnitude)
    assert int(np.abs(values * n).max()) < 2**31


def test_decay_numerator_256_keeps_the_membrane_and_1_divides_by_256():
    values = np.array([-MEMBRANE_MAX, -257, -256, -255, -1, 0, 1, 255, 256, 257, MEMBRANE_MAX])
    assert decay(values, 256).tolist() == values.tolist()
    assert decay(values, 1).tolist() == [-32767, -1, -1, 0, 0, 0, 0, 0, 1, 1, 32767]


def test_a_membrane_equal_to_the_threshold_does_not_fire_and_one_above_does():
    assert neuron(230, 6400, 0, [100])[1] == [0]
    assert neuron(230, 6399, 0, [100])[1] == [1]
    assert neuron(230, 6400, 1, [100])[1] == [1]


def test_a_spike_resets_the_membrane_to_zero_not_by_subtraction():
    membranes, spikes = neuron(256, 100, 0, [1000, 1, 1])
    assert spikes == [1, 0, 1]
    assert membranes == [64_000, 64, 128]


def test_the_membrane_starts_at_zero_for_every_token():
    program = one_layer([[1]], [10_000], [0])
    seen = []
    ids = np.zeros((1, 5), np.int64)
    Golden(program).sequence(ids, lambda name, value: seen.append(value) if name == "o" else None)
    assert (seen[0] == seen[0][:, :1]).all()


def test_both_saturations_hold_and_the_lower_one_is_kept_over_time():
    low, _ = neuron(256, 1, -(2**30), [0, 0])
    assert low == [-MEMBRANE_MAX, -MEMBRANE_MAX]
    high, spikes = neuron(256, THETA_MAX, 2**30, [0, 0])
    assert high == [MEMBRANE_MAX, MEMBRANE_MAX]
    assert spikes == [1, 1]
    # without the lower saturation the second membrane would be 64 * -300000 + 64 * 131071
    rises, _ = neuron(256, THETA_MAX, 0, [-131_071, -131_071, 131_071])
    assert rises == [-8_388_544, -MEMBRANE_MAX, -MEMBRANE_MAX + 64 * 131_071]


def test_the_largest_threshold_fires_only_at_the_upper_saturation():
    assert neuron(256, THETA_MAX, THETA_MAX, [0])[1] == [0]
    assert neuron(256, THETA_MAX, THETA_MAX + 1, [0])[1] == [1]


# Multiply and shift ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 31))
def test_the_shift_divides_toward_zero(value, shift):
    assert int(trunc_shift(np.array([value]), shift)[0]) == slow.truncated(value, 2**shift)


def test_codes_of_the_readout_round_toward_zero_and_clip_at_127_on_both_sides():
    one = np.ones(6, np.int32)
    op = Readout(
        "readout",
        "c",
        "z",
        np.array([[127, -127, 1, -1, 1, -1]], np.int8),
        np.array([0, 0, -2, 2, 0, 0], np.int32),
        np.array([3, 3, 3, 3, 1, 1], np.int32) * one,
        1,
        np.ones((2, 6), np.int8),
        0,
    )
    assert readout_codes(np.array([1]), op).tolist() == [127, -127, -1, 1, 0, 0]


def test_an_embedding_of_negative_codes_rounds_toward_zero():
    program = one_layer([[1]], [1], [0], table=[[1], [-1], [3], [-3]])
    program = replace(program, ops=(replace(program.embed, shift=1), *program.ops[1:]))
    seen = []
    Golden(program).sequence(np.array([[0, 1, 2, 3]]), lambda n, v: seen.append(v) if n == "x" else None)
    assert seen[0][0, :, 0, 0].tolist() == [0, 0, 1, -1]
    assert (seen[0] == seen[0][:, :, :1]).all()


def test_products_beyond_float32_are_exact():
    """Sums of 1032 weights of 127 and counts of 127 leave the range in which float32 is exact."""
    rng = np.random.default_rng(5)
    shape = RandomShape(vocab=7, dim=1032, depth=1, windows=(1,) * 8, mlp=4, rank=3, timesteps=1, shifted=0)
    program = random_program(shape, 0)
    seen = {}
    logits = Golden(program).sequence(rng.integers(0, 7, (1, 3)), seen.__setitem__)
    codes = readout_codes(seen[program.readout.input], program.readout)
    table = program.readout.table.astype(np.int64)
    np.testing.assert_array_equal(logits, codes @ table.T)


# What golden refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        np.array([[0, 31]]),
        np.array([[-1, 0]]),
        np.array([[2**40]]),
        np.zeros((1, 0), np.int64),
        np.zeros((0, 1), np.int64),
        np.array([0, 1]),
        np.array([[0.0, 1.0]]),
    ],
    ids=["above", "below", "far above", "no tokens", "no rows", "one dimension", "floats"],
)
def test_unusable_token_ids_are_refused_in_every_form(mixed, ids):
    golden = Golden(mixed)
    for form in (golden.sequence, golden.prefill, golden.counts):
        with pytest.raises(TextError):
            form(ids)


def test_a_step_outside_the_vocabulary_is_refused_and_leaves_the_state_alone(mixed):
    golden, state = Golden(mixed), State(mixed)
    golden.step(np.array([3]), state)
    before = {name: array.copy() for name, array in state.tensors.items()}
    with pytest.raises(TextError, match="outside the vocabulary.*actual: 31"):
        golden.step(np.array([31]), state)
    assert state.count == 1
    assert all((before[name] == array).all() for name, array in state.tensors.items())
