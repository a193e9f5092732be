"""Choosing tokens: exact supports, exact probabilities, the same draws for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from edgesnn.errors import UsageError
from edgesnn.text.sampling import Sampler, SamplingOptions, Scores

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2]))


def drawn(options, logits=LOGITS, count=4000):
    sampler = Sampler(options)
    return np.bincount([sampler(Scores(logits)) for _ in range(count)], minlength=len(logits))


def test_greedy_takes_the_best_token_and_the_smallest_id_of_equals():
    assert Sampler(SamplingOptions())(Scores(LOGITS)) == 1
    assert Sampler(SamplingOptions())(Scores(np.array([1, 7, 7, 7, 0], np.float32))) == 1
    assert Sampler(SamplingOptions())(Scores(np.zeros(9, np.float32))) == 0


def test_greedy_draws_nothing_so_any_seed_gives_the_same():
    assert {Sampler(SamplingOptions(seed=seed))(Scores(LOGITS)) for seed in range(20)} == {1}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature):
    wanted = np.exp(LOGITS / temperature)
    counts = drawn(SamplingOptions(temperature=temperature, seed=1))
    assert chisquare(counts, 4000 * wanted / wanted.sum()).pvalue > 1e-3


@pytest.mark.parametrize("k", [1, 2, 3, 5, 99])
def test_top_k_draws_from_exactly_the_best_k_in_their_proportions(k):
    counts = drawn(SamplingOptions(temperature=1.0, top_k=k, seed=2))
    best = np.argsort(-LOGITS)[:k]
    assert set(np.flatnonzero(counts)) == set(best)
    wanted = np.exp(LOGITS[best])
    if k > 1:
        assert chisquare(counts[best], 4000 * wanted / wanted.sum()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.01, {1}),
        (0.4, {1}),
        (0.41, {1, 3}),
        (0.65, {1, 3}),
        (0.66, {1, 3, 4}),
        (0.96, {0, 1, 2, 3, 4}),
        (1.0, {0, 1, 2, 3, 4}),
    ],
)
def test_top_p_keeps_the_fewest_best_tokens_that_reach_the_probability(p, kept):
    exact = np.array([1, 4, 0.5, 2.5, 2]) * 2.0**-3  # powers of two keep sums exact
    logits = np.log(exact / exact.sum())
    assert set(np.flatnonzero(drawn(SamplingOptions(temperature=1.0, top_p=p, seed=3), logits, 2000))) == kept


def test_top_p_is_taken_of_what_top_k_left_over():
    counts = drawn(SamplingOptions(temperature=1.0, top_k=2, top_p=0.6, seed=4))
    assert set(np.flatnonzero(counts)) == {1}


def test_equal_logits_are_kept_by_smallest_id():
    counts = drawn(SamplingOptions(temperature=1.0, top_k=2, seed=5), np.zeros(5), 500)
    assert set(np.flatnonzero(counts)) == {0, 1}


def test_a_seed_repeats_its_draws_and_another_seed_draws_otherwise():
    def draws(seed):
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed))
        return [sampler(Scores(LOGITS)) for _ in range(50)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_draws_do_not_depend_on_the_width_or_offset_of_the_logits():
    sampler, other = (Sampler(SamplingOptions(temperature=0.7, top_p=0.9, seed=1)) for _ in range(2))
    logits = np.array([3.5, -2.25, 1.0, 0.125], np.float32)
    assert [sampler(Scores(logits)) for _ in range(40)] == [
        other(Scores(logits.astype(np.float64) + 1024)) for _ in range(40)
    ]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-308, 5e-324])
def test_the_smallest_temperatures_are_greedy_without_a_warning(temperature, recwarn):
    counts = drawn(SamplingOptions(temperature=temperature), LOGITS * 1000, 50)
    assert set(np.flatnonzero(counts)) == {1}
    assert not recwarn.list


def test_huge_temperatures_draw_evenly():
    assert chisquare(drawn(SamplingOptions(temperature=1e300, seed=1))).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.01}, "top-p"),
        ({"top_p": float("nan")}, "top-p"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_out_of_range_are_usage_errors_that_name_them(options, what):
    with pytest.raises(UsageError, match=f"{what} out of range"):
        SamplingOptions(**options)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=40),
    st.sampled_from([(0.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 40, 0.8), (0.01, 2, 0.5), (1.0, 1, 1.0)]),
    st.integers(0, 9),
)
def test_the_deciding_tokens_alone_give_the_same_draws_as_all(integers, numbers, seed):
    temperature, top_k, top_p = numbers
    options = SamplingOptions(temperature, top_k, top_p, seed)
    logits = np.array(integers, np.float32) / 8  # with equal ones among them
    best = np.argsort(-logits, kind="stable")[: options.deciding]
    whole, few = Sampler(options), Sampler(options)
    for _ in range(20):
        assert few(Scores(logits[best], best)) == whole(Scores(logits))


def test_all_tokens_decide_where_nothing_limits_them():
    assert SamplingOptions(temperature=1.0, top_p=0.9).deciding is None
