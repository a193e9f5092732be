"""Whole random programs: every form in every runtime, bit for bit golden's logits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.program.golden import Golden
from edgesnn.program.ops import Shift
from edgesnn.program.program import Program
from tests.support.random_program import FLAGSHIP, RandomShape, random_program


@st.composite
def shapes(draw):
    """Shapes that reach every branch of the lowering: windows of 1, no shift, saturation, any decay."""
    heads = draw(st.sampled_from([1, 2, 4]))
    return RandomShape(
        vocab=draw(st.sampled_from([5, 64, 301])),
        dim=heads * draw(st.sampled_from([4, 8])),
        depth=draw(st.integers(1, 2)),
        windows=tuple(draw(st.lists(st.integers(1, 9), min_size=heads, max_size=heads))),
        mlp=draw(st.sampled_from([3, 16])),
        rank=draw(st.sampled_from([1, 8])),
        timesteps=draw(st.sampled_from([1, 2, 3, 5])),
        decay=draw(st.sampled_from([1, 77, 128, 230, 255, 256])),
        shifted=draw(st.integers(0, 3)),
        density=draw(st.sampled_from([0.05, 0.15, 0.5])),
        saturate=draw(st.booleans()),
        clip=draw(st.booleans()),
    )


def compare(runtime, xnnpack, folder, program, *, ids, cut, threads=1):
    want = Golden(program).sequence(ids) * np.float32(program.logit_scale)
    got = runtime.forms(folder, ids, cut, xnnpack=xnnpack, threads=threads)
    np.testing.assert_array_equal(got["sequence"], want)
    np.testing.assert_array_equal(got["step"], want)
    np.testing.assert_array_equal(got["prefill"], want[:, cut - 1 :])
    np.testing.assert_array_equal(got["short"], want[:1, :cut])


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(shape=shapes(), seed=st.integers(0, 2**16), batch=st.integers(1, 3), cut=st.integers(1, 21))
def test_random_programs_are_exact_in_every_form(runtime, xnnpack, export, *, shape, seed, batch, cut):
    program = random_program(shape, seed)
    ids = np.random.default_rng(seed).integers(0, shape.vocab, (batch, 22))
    compare(runtime, xnnpack, export(program), program, ids=ids, cut=cut)


def test_rings_wrap_many_times_and_batches_stay_apart(runtime, xnnpack, export):
    program = random_program(RandomShape(windows=(1, 2, 5, 16), density=0.3), seed=3)
    ids = np.random.default_rng(3).integers(0, program.vocab_size, (3, 70))
    compare(runtime, xnnpack, export(program), program, ids=ids, cut=33)


def test_shifted_channels_may_stand_anywhere(runtime, xnnpack, export):
    program = random_program(RandomShape(), seed=5)
    scattered = np.array([0, 3, 4, 17, 31], np.int32)
    middle = np.arange(7, 20, dtype=np.int32)
    channels = iter([scattered, middle, np.arange(32, dtype=np.int32), scattered[1:]])
    ops = [replace(op, channels=next(channels)) if isinstance(op, Shift) else op for op in program.ops]
    program = Program(program.timesteps, tuple(ops))
    ids = np.random.default_rng(5).integers(0, program.vocab_size, (2, 19))
    compare(runtime, xnnpack, export(program), program, ids=ids, cut=6)


def test_two_threads_give_the_same_bits(runtime, xnnpack, export):
    program = random_program(RandomShape(), seed=6)
    ids = np.random.default_rng(6).integers(0, program.vocab_size, (2, 12))
    compare(runtime, xnnpack, export(program), program, ids=ids, cut=5, threads=2)


@pytest.mark.slow
def test_the_flagship_is_exact_past_its_longest_window(runtime, xnnpack, export):
    program = random_program(replace(FLAGSHIP, vocab=2048), seed=1)
    ids = np.random.default_rng(1).integers(0, program.vocab_size, (1, 300))
    compare(runtime, xnnpack, export(program), program, ids=ids, cut=150)
