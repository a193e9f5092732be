"""The C engine against golden, bit for bit: every kernel set, every form, random programs."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import to_bytes
from edgesnn.program.state import State, state_tensors
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.programs import programs, scattered
from tests.support.random_program import RandomShape, random_program

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))

#: Widths that fill vectors, that leave lanes over, and that are smaller than one vector.
SHAPES = {
    "small": RandomShape(),
    "odd": RandomShape(vocab=101, dim=72, windows=(1, 2, 70), mlp=131, rank=21, timesteps=3, shifted=13),
    "wide": RandomShape(
        vocab=300, dim=320, windows=(4, 33, 2, 1, 9), mlp=500, rank=64, timesteps=4, clip=False
    ),
    "dense": RandomShape(
        vocab=64, dim=64, windows=(4,), mlp=700, rank=16, timesteps=9, density=0.8, saturate=True
    ),
    "wide heads": RandomShape(vocab=64, dim=400, windows=(3, 20), mlp=64, rank=16, timesteps=4, density=0.5),
    "one step": RandomShape(vocab=64, dim=128, windows=(7, 40), mlp=64, rank=3, timesteps=1),
}


def ids_of(vocab, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, vocab, shape).astype(np.uint32)


def check_all_forms(program, ids, kernels, chunk):
    golden, engine = Golden(program), Engine(to_bytes(program), kernels, chunk)
    want, (batch, length) = golden.sequence(ids.astype(np.int64)), ids.shape
    engine.reset(batch, 2)
    np.testing.assert_array_equal(engine.sequence(ids), want)
    engine.reset(batch)
    steps = [engine.steps(np.ascontiguousarray(ids[:, i])) for i in range(length)]
    np.testing.assert_array_equal(np.stack(steps, 1), want)
    cut = length // 2 + 1
    engine.reset(batch)
    np.testing.assert_array_equal(engine.prefill(np.ascontiguousarray(ids[:, :cut])), want[:, cut - 1])
    rest = [engine.steps(np.ascontiguousarray(ids[:, i])) for i in range(cut, length)]
    if rest:
        np.testing.assert_array_equal(np.stack(rest, 1), want[:, cut:])
    k = min(5, program.vocab_size)
    for row in range(batch):
        best = np.argsort(-want[row, -1].astype(np.int64), kind="stable")[:k]
        found, values = engine.top(k, row)
        np.testing.assert_array_equal(found, best)
        np.testing.assert_array_equal(values, want[row, -1][best])
    engine.close()


@pytest.mark.parametrize("kernels", kernel_sets() if native_build.missing() is None else ())
@pytest.mark.parametrize("name", SHAPES)
def test_all_forms_equal_golden_past_the_wrap_of_every_ring(name, kernels):
    program = scattered(random_program(SHAPES[name], 3), 3)
    check_all_forms(program, ids_of(program.vocab_size, 2, 160), kernels, 7)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs(), chunk=st.sampled_from((1, 3, 16)), length=st.integers(1, 30))
def test_random_programs_equal_golden_in_all_kernel_sets(program, chunk, length):
    for kernels in kernel_sets():
        check_all_forms(program, ids_of(program.vocab_size, 2, length), kernels, chunk)


@pytest.mark.parametrize("kernels", kernel_sets() if native_build.missing() is None else ())
def test_a_saved_state_is_goldens_state_and_continues_it(kernels):
    program = scattered(random_program(SHAPES["odd"], 5), 5)
    golden, engine = Golden(program), Engine(to_bytes(program), kernels, 4)
    for length in (1, 40, 100):
        ids = ids_of(program.vocab_size, 1, length, seed=length)
        state = State(program)
        for i in range(length):
            golden.step(ids[:, i], state)
        _, turned = golden.prefill(ids.astype(np.int64))
        engine.reset(1)
        engine.prefill(ids)
        for oldest_first, want in ((False, state), (True, turned)):
            flat, position = engine.save(oldest_first=oldest_first)
            tensors = [want.tensors[tensor.name].ravel() for tensor in state_tensors(program)]
            np.testing.assert_array_equal(flat, np.concatenate(tensors))
            assert position == want.count
            engine.restore(flat, position)
            following = ids_of(program.vocab_size, 90, seed=1)
            logits = np.empty((1, program.vocab_size), np.int32)
            for token in following:
                engine.step(int(token), logits.ctypes.data)
                np.testing.assert_array_equal(logits, golden.step(np.array([token]), want))
            engine.restore(flat, position)


@pytest.mark.parametrize(
    "texts",
    [
        2,
        pytest.param(
            10,
            marks=pytest.mark.long(
                guarded_by="tests/parity/native/test_programs.py"
                "::test_thousands_of_tokens_of_a_flagship_size_program_equal_golden"
            ),
        ),
    ],
)
def test_thousands_of_tokens_of_a_flagship_size_program_equal_golden(texts):
    program = random_program(
        RandomShape(
            vocab=2048, dim=256, depth=4, windows=(8, 32, 128, 256), mlp=512, rank=64, shifted=128, clip=False
        )
    )
    engine, golden = Engine(to_bytes(program)), Golden(program)
    engine.reset(2)
    for seed in range(texts):
        ids = ids_of(2048, 2, 512, seed=seed)
        np.testing.assert_array_equal(engine.sequence(ids), golden.sequence(ids.astype(np.int64)))
        engine.reset(2)
