"""Windows on both sides of the limits between which a head keeps running sums, against golden."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import to_bytes
from edgesnn.program.state import State, state_tensors
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.random_program import RandomShape, random_program

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))

#: Around the least window that keeps sums (41) and the largest (256).
EDGES = (40, 41, 42, 255, 256, 257)


def steps_of(engine, vocab, ids):
    logits = np.empty((len(ids), vocab), np.int32)
    for i, token in enumerate(ids):
        engine.step(int(token), logits[i].ctypes.data)
    return logits


@pytest.mark.parametrize("density", [0.15, 0.97])
@pytest.mark.parametrize("head_dim", [5, 64, 70])
def test_every_edge_of_the_windows_equals_golden_past_their_wrap(head_dim, density):
    """Past the largest window nearly every sum has been added to and taken off."""
    shape = RandomShape(
        vocab=13,
        dim=head_dim * len(EDGES),
        depth=1,
        windows=EDGES,
        mlp=8,
        rank=4,
        timesteps=2,
        density=density,
    )
    program = random_program(shape, 5)
    ids = np.random.default_rng(1).integers(0, 13, (1, 300)).astype(np.uint32)
    want = Golden(program).sequence(ids.astype(np.int64))
    for kernels in kernel_sets():
        engine = Engine(to_bytes(program), kernels, 16)
        np.testing.assert_array_equal(engine.sequence(ids), want, err_msg=kernels)
        engine.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    windows=st.lists(st.sampled_from((1, 2, 40, 41, 47, 64)), min_size=1, max_size=3),
    head_dim=st.sampled_from((1, 3, 8, 32, 63, 64, 65)),
    timesteps=st.integers(1, 8),
    density=st.sampled_from((0.1, 0.5, 0.9)),
    seed=st.integers(0, 2**16),
)
def test_odd_heads_equal_golden_in_all_kernel_sets(windows, head_dim, timesteps, density, seed):
    shape = RandomShape(
        vocab=11,
        dim=head_dim * len(windows),
        depth=1,
        windows=tuple(windows),
        mlp=5,
        rank=3,
        timesteps=timesteps,
        shifted=0,
        density=density,
    )
    program = random_program(shape, seed)
    ids = np.random.default_rng(seed).integers(0, 11, (1, 100)).astype(np.uint32)
    want = Golden(program).sequence(ids.astype(np.int64))
    for kernels in kernel_sets():
        engine = Engine(to_bytes(program), kernels, 7)
        np.testing.assert_array_equal(engine.sequence(ids), want, err_msg=kernels)
        engine.close()


@pytest.mark.parametrize("kernels", kernel_sets() if native_build.missing() is None else ())
def test_a_state_restored_at_any_position_of_a_window_continues_it(kernels):
    program = random_program(
        RandomShape(vocab=17, dim=24, depth=1, windows=(3, 45, 43), mlp=9, rank=4, timesteps=3), 2
    )
    vocab, length, more = program.vocab_size, 100, 50
    ids = np.random.default_rng(2).integers(0, vocab, length + more).astype(np.uint32)
    engine, other = (Engine(to_bytes(program), kernels, 5) for _ in range(2))
    want = Golden(program).sequence(ids[None].astype(np.int64))[0]
    for position in range(1, length):
        engine.step(int(ids[position - 1]), 0)
        for oldest_first in (False, True):
            other.restore(*engine.save(oldest_first=oldest_first))
            found = steps_of(other, vocab, ids[position : position + more])
            np.testing.assert_array_equal(found, want[position : position + more])


@pytest.mark.parametrize("kernels", kernel_sets() if native_build.missing() is None else ())
def test_a_state_of_full_rings_that_no_tokens_left_continues_as_goldens(kernels):
    """A restored state is any zeros and ones: all ones bring every sum to its limit."""
    shape = RandomShape(
        vocab=7, dim=10, depth=1, windows=(256, 41), mlp=4, rank=2, timesteps=2, shifted=3, density=0.9
    )
    program = random_program(shape, 3)
    engine, state = Engine(to_bytes(program), kernels, 3), State(program)
    for tensor in state_tensors(program):
        state.tensors[tensor.name][...] = 1
    engine.restore(np.ones(engine.info.state_bytes, np.int8), 77)
    state.count = 77
    golden = Golden(program)
    for token in np.random.default_rng(4).integers(0, 7, 300):
        found = steps_of(engine, 7, [token])[0]
        np.testing.assert_array_equal(found, golden.step(np.array([token]), state)[0])
