"""What a program remembers, as the manifest describes it to hosts in other languages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.program.golden import Golden
from edgesnn.program.ops import Attend, Shift
from edgesnn.program.state import State, ring_from_history, state_tensors
from tests.support.programs import programs, scattered
from tests.support.random_program import RandomShape, random_program

WINDOWS = (1, 2, 4, 7)


@pytest.fixture(scope="module")
def program():
    shape = RandomShape(vocab=31, dim=12, depth=1, windows=WINDOWS, mlp=6, rank=4, timesteps=3, shifted=5)
    return scattered(random_program(shape, 8), 8)


def test_every_shift_and_every_attention_with_a_past_has_its_tensors(program):
    tensors = {tensor.name: tensor.shape for tensor in state_tensors(program)}
    assert tensors == {
        "shift.blocks.0.attn.shift": (3, 5),
        "k.blocks.0.attn.attend": (3, 3, 0 + 1 + 3 + 6),
        "v.blocks.0.attn.attend": (3, 0 + 1 + 3 + 6, 3),
        "shift.blocks.0.mlp.shift": (3, 5),
    }


def test_attention_that_sees_only_its_own_token_has_no_state():
    shape = RandomShape(vocab=9, dim=6, depth=1, windows=(1, 1), mlp=4, rank=3, shifted=0)
    assert state_tensors(random_program(shape)) == ()


def test_a_new_state_is_zero_int8_and_has_the_batch_first(program):
    state = State(program, batch=5)
    assert all(array.dtype == np.int8 and not array.any() for array in state.tensors.values())
    assert {array.shape[0] for array in state.tensors.values()} == {5}


def test_every_head_owns_a_ring_of_its_own_length(program):
    attend = next(program.all(Attend))
    assert attend.rings == ((0, 0), (0, 1), (1, 3), (4, 6))
    assert attend.slots == 10


@settings(max_examples=25, deadline=None)
@given(programs(), st.integers(0, 30), st.integers(0, 99))
def test_token_n_lies_in_slot_n_modulo_the_ring_of_every_head_and_nothing_else_does(program, length, seed):
    """Recomputed from the spikes that a sequence shows."""
    ids = np.random.default_rng(seed).integers(0, program.vocab_size, (2, length + 1))
    golden, state, seen = Golden(program), State(program, 2), {}
    for i in range(length + 1):
        golden.step(ids[:, i], state)
    golden.sequence(ids, seen.__setitem__)
    for op in program.all(Shift):
        np.testing.assert_array_equal(
            state.tensors[f"shift.{op.name}"], seen[op.input][:, -1][..., op.channels]
        )
    for op in program.all(Attend):
        if op.slots == 0:
            continue
        spikes = seen[op.input].reshape(2, length + 1, program.timesteps, 3, len(op.windows), op.head_dim)
        keys = np.zeros_like(state.tensors[f"k.{op.name}"])
        values = np.zeros_like(state.tensors[f"v.{op.name}"])
        first = 0
        for head, window in enumerate(op.windows):
            for n in range(length + 1):
                if window > 1:
                    slot = first + n % (window - 1)
                    keys[:, :, :, slot] = spikes[:, n, :, 1, head]
                    values[:, :, slot] = spikes[:, n, :, 2, head]
            first += window - 1
        np.testing.assert_array_equal(state.tensors[f"k.{op.name}"], keys)
        np.testing.assert_array_equal(state.tensors[f"v.{op.name}"], values)


def test_a_prefill_puts_the_oldest_token_first_and_counts_from_zero(program):
    golden, ids = Golden(program), np.random.default_rng(0).integers(0, 31, (1, 20))
    seen = {}
    golden.sequence(ids, seen.__setitem__)
    _, state = golden.prefill(ids)
    assert state.count == 0
    attend = next(program.all(Attend))
    spikes = seen[attend.input].reshape(1, 20, 3, 3, 4, 3)
    for head, (first, size) in enumerate(attend.rings):
        for slot in range(size):
            np.testing.assert_array_equal(
                state.tensors[f"k.{attend.name}"][0, :, :, first + slot],
                spikes[0, 20 - size + slot, :, 1, head],
            )


def test_a_history_shorter_than_the_ring_stands_at_its_end_behind_zeros():
    history = np.arange(1, 4).reshape(1, 3, 1)
    assert ring_from_history(history, 5)[0, :, 0].tolist() == [0, 0, 1, 2, 3]
    assert ring_from_history(history, 3)[0, :, 0].tolist() == [1, 2, 3]
    assert ring_from_history(history, 2)[0, :, 0].tolist() == [2, 3]


def test_two_states_share_nothing(program):
    golden, one, other = Golden(program), State(program), State(program)
    for token in (1, 2, 3):
        golden.step(np.array([token]), one)
    assert any(array.any() for array in one.tensors.values())
    assert not any(array.any() for array in other.tensors.values())
