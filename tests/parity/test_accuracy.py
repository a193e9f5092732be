"""Quality on golden: figures, retention and their intervals."""

from dataclasses import replace

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.quality.accuracy import (
    NO_TEACHER,
    TEACHER_NEVER_RIGHT,
    bootstrap_ratio,
    measure_accuracy,
)
from edgesnn.program.golden import Golden
from tests.support.bundles import shared_bundle


@pytest.fixture(scope="module")
def program():
    return Bundle(shared_bundle()).program()


@pytest.fixture(scope="module")
def held_out():
    return Bundle(shared_bundle()).eval_slice()


def test_figures_are_those_of_every_document_alone_on_golden(program, held_out):
    golden, nats, hits, positions = Golden(program), 0.0, 0, 0
    for document in held_out.documents():
        logits = golden.sequence(document[None])[0, :-1] * program.logit_scale
        shifted = logits - logits.max(axis=-1, keepdims=True)
        logp = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        nats -= logp[np.arange(len(document) - 1), document[1:]].sum()
        hits += int((logits.argmax(axis=-1) == document[1:]).sum())
        positions += len(document) - 1
    result = measure_accuracy(program, held_out, "text")
    assert result.bits_per_byte == pytest.approx(nats / np.log(2) / held_out.doc_bytes.sum(), rel=1e-5)
    assert result.top1 == hits / positions
    assert (result.tokens, result.documents) == (positions, 6)
    low, high = result.bits_per_byte_interval
    assert low < result.bits_per_byte < high


def test_without_a_teacher_retention_is_absent_with_its_reason(program, held_out):
    result = measure_accuracy(program, held_out, "text")
    assert (result.retention, result.retention_interval) == (None, None)
    assert result.retention_reason == NO_TEACHER


def _answered(held_out, right):
    """A teacher that answers at every scored place, always right or never."""
    places = np.setdiff1d(np.arange(len(held_out.ids)), held_out.doc_starts[:-1])
    best = held_out.ids[places] + (0 if right else 1)
    return replace(held_out, positions=places, teacher_top1=best.astype(np.int32))


def test_retention_is_right_answers_over_the_teachers(program, held_out):
    result = measure_accuracy(program, _answered(held_out, right=True), "text")
    assert result.retention == pytest.approx(result.top1)
    assert result.retention_reason is None


def test_a_teacher_that_is_never_right_gives_no_ratio(program, held_out):
    result = measure_accuracy(program, _answered(held_out, right=False), "text")
    assert result.retention is None
    assert result.retention_reason == TEACHER_NEVER_RIGHT


def test_an_interval_of_documents_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        size = rng.integers(20, 60, 80)
        low, high = bootstrap_ratio(rng.binomial(size, 0.3), size, seed=trial)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_document_has_no_interval_and_a_seed_repeats_one():
    one = np.array([3.0])
    assert bootstrap_ratio(one, one) is None
    many, size = np.arange(10.0), np.full(10, 7.0)
    assert bootstrap_ratio(many, size, 4) == bootstrap_ratio(many, size, 4)
