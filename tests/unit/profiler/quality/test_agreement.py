"""Agreement with a float reference: what is counted, and which limits hold for which arithmetic."""

import numpy as np
import pytest

from edgesnn.profiler.quality.agreement import Agreement, measure_agreement

VOCAB = 5


def reference(ids):
    """The best token is the last one of the sequence: not causal, as the students that are judged so."""
    logits = np.zeros((*ids.shape, VOCAB), np.float32)
    np.put_along_axis(logits, np.broadcast_to(ids[:, -1:, None], (*ids.shape, 1)), 2.0, axis=2)
    return logits


def measured(engine, arithmetic="float32", sequences=([0, 1, 2, 3], [4, 4]), margin=1.0):
    return measure_agreement(
        engine,
        lambda ids: (reference(ids), np.full(len(ids), margin)),
        [np.array(ids) for ids in sequences],
        target="t",
        arithmetic=arithmetic,
        text="a text",
    )


def test_every_place_but_the_first_of_a_sequence_is_judged_once():
    found = measured(reference)
    assert (found.sequences, found.positions) == (2, 4)
    # runs of 1, 2 and 3 tokens of the first sequence, of 1 token of the second
    assert found.logits_compared == (1 + 2 + 3 + 1) * VOCAB
    assert (found.top1, found.largest_difference, found.rise) == (1.0, 0.0, 0.0)
    assert found.failures() == []


def test_cross_entropy_is_that_of_the_next_token_from_those_before_it():
    hit, miss = -2 + np.log(np.exp(2) + 4), np.log(np.exp(2) + 4)
    assert measured(reference).reference_cross_entropy == pytest.approx((3 * miss + hit) / 4, abs=1e-6)


def test_an_engine_that_names_another_token_at_one_place_is_seen():
    def engine(ids):
        logits = reference(ids)
        if ids.shape[1] == 3:
            logits[:, -1] = np.roll(logits[:, -1], 1, axis=-1)
        return logits

    found = measured(engine)
    assert (found.top1, found.largest_difference) == (0.75, 2.0)
    assert len(found.failures()) == 2


def test_a_difference_anywhere_in_a_run_counts_and_is_no_matter_for_int8():
    def engine(ids):
        logits = reference(ids)
        logits[:, 0, 0] += 0.01 * (ids.shape[1] == 3)
        return logits

    assert measured(engine).failures() == ["largest difference 0.01 (limit 0.0001)"]
    assert measured(engine, "weights").failures() == []


def test_runs_that_float32_leaves_undecided_count_for_the_best_token_only():
    def engine(ids):
        return reference(ids) + 0.5

    found = measured(engine, margin=1e-7)
    assert (found.undecided, found.logits_compared, found.positions) == (4, 0, 4)
    assert found.failures() == ["no run is decided by float32"]
    assert measured(engine, margin=1e-5).largest_difference == 0.5


@pytest.mark.parametrize(
    ("top1", "entropy", "beyond"),
    [(0.9, 2.01, 0), (0.8999, 2.0, 1), (1.0, 2.0101, 1), (0.5, 3.0, 2), (0.95, 1.0, 0)],
)
def test_int8_is_judged_by_cross_entropy_and_the_best_token(top1, entropy, beyond):
    found = Agreement("t", "static", "a text", 1, 100, 0, 500, 9.0, top1, entropy, 2.0)
    assert len(found.failures()) == beyond
    assert found.as_dict()["failures"] == found.failures()
    assert "a text, 100 places" in found.sentence()
