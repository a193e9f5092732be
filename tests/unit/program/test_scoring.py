"""Bits per byte and top-1 against the plain formulas."""

import numpy as np
import pytest
from scipy.special import log_softmax

from edgesnn.program.scoring import padded_batches, score_documents, score_positions

VOCAB = 17


@pytest.fixture
def documents():
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCAB, length) for length in (5, 1, 9, 2, 30, 12, 2, 7, 3, 21, 4)]


def logits_of(ids):
    """Logits that depend on all tokens up to each position, as a causal model's do."""
    rng = np.random.default_rng(1)
    table = rng.normal(0, 2, (VOCAB, VOCAB))
    return np.cumsum(table[ids], axis=1).astype(np.float32)


def plain(documents):
    nats, hits = [], []
    for document in documents:
        logits = logits_of(document[None])[0].astype(np.float64)
        logp = log_softmax(logits, axis=-1)
        nats.append(-sum(logp[i, document[i + 1]] for i in range(len(document) - 1)))
        hits.append(sum(int(logits[i].argmax() == document[i + 1]) for i in range(len(document) - 1)))
    return np.array(nats), np.array(hits)


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_scores_equal_log_softmax_document_by_document_whatever_the_batch(documents, batch):
    sizes = np.array([3 * len(document) for document in documents])
    scores = score_documents(logits_of, documents, sizes, batch=batch)
    nats, hits = plain(documents)
    np.testing.assert_allclose(scores.nats, nats, rtol=1e-5)
    assert scores.hits.tolist() == hits.tolist()
    assert scores.positions.tolist() == [len(document) - 1 for document in documents]
    assert scores.bits_per_byte == pytest.approx(nats.sum() / np.log(2) / sizes.sum(), rel=1e-6)
    assert scores.top1 == pytest.approx(hits.sum() / sum(len(document) - 1 for document in documents))


def test_padding_never_reaches_a_score(documents):
    """Token 0 is padding only; logits at its places are NaN and must not be looked at."""
    sizes, table = np.ones(len(documents)), np.random.default_rng(1).normal(0, 2, (VOCAB, VOCAB))
    documents = [np.where(document == 0, 1, document) for document in documents]

    def clean(ids):
        return np.cumsum(table[ids], axis=1).astype(np.float32)

    def poisoned(ids):
        return np.where(ids[..., None] == 0, np.float32(np.nan), clean(ids))

    np.testing.assert_array_equal(
        score_documents(poisoned, documents, sizes).nats, score_documents(clean, documents, sizes).nats
    )


def test_batches_hold_every_document_once_beside_others_of_similar_length(documents):
    seen = []
    for chosen, ids in padded_batches(documents, 4):
        assert ids.shape == (len(chosen), max(len(documents[i]) for i in chosen))
        for row, i in enumerate(chosen):
            assert ids[row, : len(documents[i])].tolist() == documents[i].tolist()
            assert not ids[row, len(documents[i]) :].any()
        seen += chosen
    assert sorted(seen) == list(range(len(documents)))
    assert [len(documents[i]) for i in seen] == sorted(len(document) for document in documents)


def test_logits_of_any_size_are_scored_without_overflow():
    logits = np.array([[1e5, -1e5, 0.0], [-1e5, -1e5, -1e5]], np.float32)
    nats, hits = score_positions(logits, np.array([0, 2]))
    assert nats == pytest.approx(np.log(3))
    assert hits == 1


def test_a_document_of_one_token_has_nothing_to_score():
    assert score_positions(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) == (0.0, 0)


def test_progress_counts_finished_documents(documents):
    told = []
    score_documents(logits_of, documents, np.ones(11), batch=4, on_progress=told.append)
    assert told == [4, 8, 11]
