from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from .probes import copy_two_back, recall_pairs, solve  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def test_token_shift_supplies_the_order_that_copying_two_back_needs():
    assert solve(copy_two_back, 130) >= 0.95
    assert solve(copy_two_back, 130, shift_channels=0) < 0.60


def test_attention_binds_four_keys_to_their_values():
    assert solve(recall_pairs, 200) > 0.80
