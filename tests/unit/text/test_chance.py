"""What token frequencies score on a text, and teachers that are no better."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.text.chance import TIMES_COMMONEST, Chance, chance_on, doubt_of_teacher, near_chance

#: Two documents of four scored ids each: 1 six times, 2 twice; their first ids are not scored.
IDS = np.array([0, 1, 1, 2, 1, 3, 1, 1, 1, 2], np.int32)
STARTS = np.array([0, 5, 10])
PLACES = np.array([1, 2, 3, 4, 6, 7, 8, 9])


def answered(top1, bits_per_byte, *, doc_bytes=(4, 4)):
    """The text with a teacher that is right at so many of the eight places."""
    said = IDS[PLACES].copy()
    said[round(8 * top1) :] += 1
    logp = np.full(8, -bits_per_byte * math.log(2) * sum(doc_bytes) / 8, np.float32)
    return SimpleNamespace(
        ids=IDS, doc_starts=STARTS, doc_bytes=np.array(doc_bytes), positions=PLACES, teacher_top1=said,
        teacher_native_logp=logp,
    )  # fmt: skip


def test_frequencies_score_what_is_computed_by_hand():
    chance = chance_on(IDS[PLACES], IDS[PLACES], text_bytes=8, vocab_size=4)
    assert chance.top1 == 6 / 8
    # counted once more than they occur: 7, 3, 1 and 1 of 12
    assert chance.bits_per_byte == pytest.approx(-(6 * math.log2(7 / 12) + 2 * math.log2(3 / 12)) / 8)


def test_frequencies_are_never_worse_than_a_guess_at_every_byte():
    assert chance_on(IDS[PLACES], IDS[PLACES], text_bytes=1, vocab_size=4).bits_per_byte == 8
    assert chance_on(IDS[PLACES], IDS[PLACES], text_bytes=0, vocab_size=4).bits_per_byte is None


def test_a_teacher_has_to_beat_the_commonest_token_by_a_margin():
    chance = Chance(0.05, None)
    assert near_chance(0.05 * TIMES_COMMONEST * 1.001, None, chance) is None
    assert "5.00%" in near_chance(0.05 * TIMES_COMMONEST, None, chance)
    assert near_chance(0.0, 1.0, chance) is not None


def test_a_teacher_has_to_need_fewer_bits_than_frequencies_do():
    chance = Chance(0.05, 3.0)
    assert near_chance(0.6, 2.99, chance) is None
    assert "3.00 bits per byte" in near_chance(0.6, 3.0, chance, "reference")


def test_the_teacher_of_a_text_is_judged_where_its_tokens_start():
    assert doubt_of_teacher(answered(1.0, 0.5), 4) is None
    assert "top-1 is 75.00%" in doubt_of_teacher(answered(6 / 8, 0.5), 4)
    assert "bits per byte" in doubt_of_teacher(answered(1.0, 2.0), 4)


def test_a_text_without_a_teacher_raises_no_doubt():
    text = answered(0.0, 9.0)
    text.teacher_top1 = None
    assert doubt_of_teacher(text, 4) is None
