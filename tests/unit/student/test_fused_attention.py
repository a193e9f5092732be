"""The compiled attention against matrix products in float64."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student.kernels import fused_attention  # noqa: E402
from edgesnn.student.kernels.library import compiled_library  # noqa: E402
from edgesnn.student.model.attention import attend  # noqa: E402

pytestmark = pytest.mark.torch

BF16, F32 = torch.bfloat16, torch.float32
HEAD_WIDTHS = [3, 16, 64, 70, 255]


@pytest.fixture(autouse=True)
def _compiled():
    if compiled_library() is None:
        pytest.skip("no C compiler on this machine")


def spikes(length, width, *, rate=0.3, heads=3):
    random = torch.Generator().manual_seed(length + width)
    qkv = torch.rand((2, 2, length, 3 * heads * width), generator=random) < rate
    weight = torch.randn((2, 2, length, heads * width), generator=random)
    return qkv.double(), weight


def attended(qkv, dtype, windows, segments, weight):
    leaf = qkv.detach().to(dtype, copy=True).requires_grad_()
    out = attend(leaf, windows, segments)
    out.backward(weight.to(dtype))
    return out.detach(), leaf.grad


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("width", HEAD_WIDTHS)
@pytest.mark.parametrize("length", [1, 16, 33, 50])
def test_currents_are_exact_and_gradients_those_of_float64(length, width, cut):
    qkv, weight = spikes(length, width)
    segments = (
        torch.tensor([[0] * length, [0] * (length // 3) + [4] * (length - length // 3)]) if cut else None
    )
    arguments = ((1, 4, 20), segments, weight)
    exact, gradient = attended(qkv, torch.float64, *arguments)
    out, grad = attended(qkv, F32, *arguments)
    assert torch.equal(out.double(), exact)
    torch.testing.assert_close(grad.double(), gradient, rtol=1e-5, atol=1e-4)


def test_bfloat16_is_float32_rounded_once():
    qkv, weight = spikes(40, 16)
    arguments = ((2, 8, 64), torch.zeros((2, 40), dtype=torch.int32), weight.bfloat16().float())
    wide, narrow = (attended(qkv, dtype, *arguments) for dtype in (F32, BF16))
    assert all(torch.equal(a.bfloat16(), b) for a, b in zip(wide, narrow, strict=True))


def test_the_number_of_threads_changes_no_bit():
    qkv, weight = spikes(40, 16)
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(attended(qkv, F32, (2, 8, 64), None, weight))
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_windows_too_long_for_single_scores_are_matrix_products_with_the_same_currents(monkeypatch):
    qkv, weight = spikes(40, 16)
    results = []
    for longest in (256, 0):
        monkeypatch.setattr(fused_attention, "LONGEST_WINDOW", longest)
        results.append(attended(qkv, F32, (2, 8, 64), None, weight))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-4)
