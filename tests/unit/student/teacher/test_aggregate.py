"""Aggregation against a brute force that follows the definition word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student.teacher.aggregate import FLOOR, Aggregator  # noqa: E402
from edgesnn.student.teacher.trimming import NO_TOKEN  # noqa: E402

pytestmark = pytest.mark.torch

NATIVE, ROWS, STUDENT, TURN_END, PROMPT_END = 90, 96, 20, 3, 2


def brute_force(logits, first_piece, at_prompt_end, k, tau):
    result = []
    for row, at_end in zip(logits.astype(np.float64), at_prompt_end, strict=True):
        p = np.exp(row - row.max())
        p /= p.sum()
        sums, nowhere = dict.fromkeys(range(STUDENT), 0.0), 0.0
        for native, probability in enumerate(p):
            piece = first_piece[native] if native < NATIVE else NO_TOKEN
            if native == TURN_END and at_end:
                piece = PROMPT_END
            if piece == NO_TOKEN:
                nowhere += probability
            else:
                sums[int(piece)] += probability
        best = sorted(sums, key=lambda i: -sums[i])[:k]
        tail = [sums[i] for i in sums if i not in best] + [nowhere]
        result.append((best, sums, sum(tail), sum(q ** (1 / tau) for q in tail if q > 0)))
    return result


@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("count", [1, 33, 70])
def test_every_native_token_gives_its_probability_to_its_first_piece(tau, count):
    rng = np.random.default_rng(count)
    first_piece = rng.integers(0, STUDENT - 1, NATIVE).astype(np.int32)  # the last one is nobody's piece
    first_piece[5] = NO_TOKEN
    logits = (rng.normal(size=(count, ROWS)) * 3).astype(np.float32)
    at_end = rng.random(count) < 0.3
    native, student = rng.integers(0, NATIVE, count), rng.integers(0, STUDENT - 1, count)
    aggregate = Aggregator(first_piece, ROWS, STUDENT, k=6, tau=tau, turn_end=TURN_END, prompt_end=PROMPT_END)
    got = aggregate(*(torch.from_numpy(np.asarray(a)) for a in (logits, native, student, at_end)))
    for i, (best, sums, tail, powered) in enumerate(brute_force(logits, first_piece, at_end, 6, tau)):
        assert got.topk_ids[i].tolist() == best
        np.testing.assert_allclose(got.topk_logp[i], [math.log(sums[b]) for b in best], atol=4e-3)
        assert got.tail_logp[i] == pytest.approx(math.log(tail), abs=1e-4)
        assert got.tail_log_sum_tau[i] == pytest.approx(math.log(powered), abs=1e-3)
        assert got.target_logp[i] == pytest.approx(math.log(sums[int(student[i])]), abs=1e-4)
        expected = logits[i] - np.logaddexp.reduce(logits[i].astype(np.float64))
        assert got.native_logp[i] == pytest.approx(expected[native[i]], abs=1e-4)
        assert np.exp(got.topk_logp[i].astype(float)).sum() + math.exp(got.tail_logp[i]) == pytest.approx(
            1, abs=2e-3
        )


def test_a_token_without_probability_gets_the_floor_and_k_never_exceeds_the_vocabulary():
    aggregate = Aggregator(
        np.zeros(NATIVE, np.int32), NATIVE, 4, k=64, tau=2.0, turn_end=TURN_END, prompt_end=PROMPT_END
    )
    nothing = torch.zeros(1, dtype=torch.int64)
    got = aggregate(torch.zeros(1, NATIVE), nothing, nothing, torch.zeros(1, dtype=torch.bool))
    assert aggregate.k == 4
    assert got.topk_ids.shape == (1, 4)
    assert got.topk_logp[0].tolist() == [pytest.approx(0, abs=1e-3), FLOOR, FLOOR, FLOOR]
    assert got.tail_logp[0] == FLOOR
    assert np.isfinite(got.tail_log_sum_tau).all()
