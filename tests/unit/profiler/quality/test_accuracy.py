"""Retention looks where a native token of the teacher starts, and nowhere else."""

import math
from itertools import pairwise

import numpy as np
import pytest

from edgesnn.bundle.bundle import EvalSlice
from edgesnn.profiler.quality.accuracy import (
    NO_TEACHER,
    NO_TEACHER_PROBABILITIES,
    TEACHER_NEVER_RIGHT,
    measure_accuracy,
    perplexity,
)
from edgesnn.profiler.quantities import NO_NATIVE_TOKENS, accuracy_quantities
from edgesnn.program.golden import Golden
from tests.support.random_program import RandomShape, random_program


@pytest.fixture(scope="module")
def program():
    return random_program(RandomShape(dim=16, depth=1, windows=(2, 4), mlp=16, rank=8, shifted=8), seed=3)


@pytest.fixture(scope="module")
def text(program):
    """Three documents; in each, every second id is the one that the program itself says next."""
    rng = np.random.default_rng(0)
    documents = []
    for length in (9, 5, 12):
        ids = rng.integers(0, 257, length)
        for place in range(1, length, 2):
            ids[place] = Golden(program).sequence(ids[None, :place])[0, -1].argmax()
        documents.append(ids.astype(np.int32))
    starts = np.cumsum([0, *map(len, documents)])
    return np.concatenate(documents), starts, np.array([8, 4, 11])


def _places(starts, remainder):
    return np.concatenate([np.arange(a, b)[1:][remainder::2] for a, b in pairwise(starts)])


def test_retention_is_hits_over_the_teachers_hits_at_its_positions(program, text):
    ids, starts, sizes = text
    places = _places(starts, 0)  # where the program is right
    best = ids[places].copy()
    best[::2] = (best[::2] + 1) % 257  # the teacher is right at every other of them
    result = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, best), "test")
    right = len(places) - len(places[::2])
    assert result.retention == pytest.approx(len(places) / right)
    assert result.retention_interval is not None and result.retention_reason is None


def test_hits_elsewhere_do_not_count(program, text):
    ids, starts, sizes = text
    places = _places(starts, 1)  # where the program is wrong, but for chance
    result = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, ids[places]), "test")
    assert result.top1 > 0.4
    assert result.retention < 0.2


def test_the_teachers_bits_per_byte_are_its_own_over_the_same_bytes(program, text):
    ids, starts, sizes = text
    places = _places(starts, 0)
    logp = np.random.default_rng(1).uniform(-3, 0, len(places)).astype(np.float32)
    held_out = EvalSlice(ids, starts, sizes, places, ids[places], logp)
    result = measure_accuracy(program, held_out, "test")
    assert result.teacher_bits_per_byte == pytest.approx(-logp.sum() / np.log(2) / sizes.sum(), rel=1e-6)
    low, high = result.teacher_bits_per_byte_interval
    assert low < result.teacher_bits_per_byte < high
    assert result.teacher_reason is None
    one = measure_accuracy(program, held_out.first(1), "test")
    count = int((places < starts[1]).sum())
    assert one.teacher_bits_per_byte == pytest.approx(-logp[:count].sum() / np.log(2) / sizes[0], rel=1e-6)
    assert one.teacher_bits_per_byte_interval is None


def test_teachers_bits_that_are_missing_say_why(program, text):
    ids, starts, sizes = text
    places = _places(starts, 0)
    without = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, ids[places]), "test")
    assert (without.teacher_bits_per_byte, without.teacher_reason) == (None, NO_TEACHER_PROBABILITIES)
    alone = measure_accuracy(program, EvalSlice(ids, starts, sizes), "test")
    assert (alone.teacher_bits_per_byte, alone.teacher_reason) == (None, NO_TEACHER)


def test_without_a_teacher_or_a_hit_of_it_the_reason_is_told(program, text):
    ids, starts, sizes = text
    assert measure_accuracy(program, EvalSlice(ids, starts, sizes), "test").retention_reason == NO_TEACHER
    places = _places(starts, 0)
    wrong = EvalSlice(ids, starts, sizes, places, (ids[places] + 1) % 257)
    result = measure_accuracy(program, wrong, "test")
    assert result.retention is None and result.retention_reason == TEACHER_NEVER_RIGHT


def test_perplexity_is_the_exponential_of_all_nats_over_all_tokens():
    nats, native = np.array([2.0, 4.0, 6.0]), np.array([1, 2, 3])
    found = perplexity(nats, native)
    assert found.value == pytest.approx(math.exp(12 / 6))
    assert found.interval == pytest.approx((math.exp(2), math.exp(2)))
    assert perplexity(nats, np.array([2, 4, 6])).value == pytest.approx(math.e)


def test_perplexity_stays_finite_and_is_missing_where_nothing_is_counted():
    assert math.isfinite(perplexity(np.array([1e9]), np.array([1])).value)
    assert perplexity(None, np.array([1])).value is None
    assert perplexity(np.array([1.0]), None).value is None
    assert perplexity(np.array([1.0]), np.array([0])).value is None


def test_a_perplexity_per_native_token_is_that_of_the_same_nats_in_other_tokens(program, text):
    ids, starts, sizes = text
    places = _places(starts, 0)
    logp = np.full(len(places), -0.5, np.float32)
    result = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, ids[places], logp), "test")
    nats = result.bits_per_byte * math.log(2) * sizes.sum()
    assert result.native_tokens == len(places)
    assert result.perplexity == pytest.approx(math.exp(nats / len(places)))
    assert result.own_perplexity == pytest.approx(math.exp(nats / (len(ids) - 3)))
    assert result.teacher_perplexity == pytest.approx(math.exp(0.5))
    low, high = result.perplexity_interval
    assert low < result.perplexity < high
    found = accuracy_quantities(result)
    assert found["accuracy.perplexity"].value == result.perplexity
    assert found["accuracy.teacher_perplexity"].value == result.teacher_perplexity


def test_without_native_tokens_the_perplexity_is_that_of_own_tokens_and_says_so(program, text):
    found = accuracy_quantities(measure_accuracy(program, EvalSlice(*text), "test"))
    assert found["accuracy.perplexity"].value is None
    assert found["accuracy.perplexity"].reason == NO_NATIVE_TOKENS
    assert "own tokens" in found["accuracy.own_perplexity"].how


def test_a_teacher_near_chance_leaves_its_reason_at_the_retention(program, text):
    ids, starts, sizes = text
    places = _places(starts, 0)
    guess = np.full(len(places), np.bincount(ids[places]).argmax(), np.int32)
    result = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, guess), "test")
    assert result.retention > 1 and "near chance" in result.teacher_doubt
    found = accuracy_quantities(result)
    assert found["accuracy.retention"].reason == found["accuracy.teacher_top1"].reason == result.teacher_doubt
    good = measure_accuracy(program, EvalSlice(ids, starts, sizes, places, ids[places]), "test")
    assert good.teacher_doubt is None and good.teacher_top1 == 1
    assert accuracy_quantities(good)["accuracy.retention"].reason is None
