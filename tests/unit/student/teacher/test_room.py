"""Room taken ahead holds what the cache of transformers holds, however often it grows and rows leave."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers.cache_utils import DynamicCache

from edgesnn.student.sampling.room import with_room

WIDTHS = (2, 3)


def states(seed, rows, length):
    numbers = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 3, length, width, generator=numbers).bfloat16() for width in WIDTHS]


@pytest.mark.parametrize("drop", [False, True])
def test_what_is_kept_is_what_was_given(drop):
    plain = DynamicCache()
    for layer in range(2):
        plain.update(*states(layer, 6, 9), layer)
    roomy = with_room(copy.deepcopy(plain))
    rows = 6
    for step in range(200):  # the room grows three times
        if drop and step % 50 == 49:
            rows -= 1
            kept = torch.arange(rows + 1)[torch.arange(rows + 1) != step % 3]
            plain.batch_select_indices(kept)
            roomy.batch_select_indices(kept)
        for layer in range(2):
            new = states(1000 + 2 * step + layer, rows, 1)
            for mine, theirs in zip(roomy.update(*new, layer), plain.update(*new, layer), strict=True):
                assert torch.equal(mine, theirs)
        assert roomy.get_seq_length() == plain.get_seq_length() == 10 + step


def test_what_is_no_plain_cache_is_left_alone():
    state = object()
    assert with_room(state) is state
    assert with_room(DynamicCache()).get_seq_length() == 0
