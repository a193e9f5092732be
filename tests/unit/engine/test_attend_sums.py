"""Attention by running sums: exact up to sums of 255 in every lane, whatever the width of the head."""

import ctypes

import numpy as np
import pytest

from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import kernel_sets
from tests.unit.engine.test_kernels import Kernels

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))


@pytest.fixture(params=kernel_sets() if native_build.missing() is None else ())
def kernels(request):
    library = ctypes.CDLL(str(native_build.library()[0]))
    return Kernels.in_dll(library, f"snn_kernels_{request.param}")


def words_of(spikes):
    padded = np.pad(spikes, ((0, 0), (0, -spikes.shape[1] % 64)))
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64).copy()


def aligned(size):
    """Bytes of zero at a multiple of 64, as a context has them."""
    memory = np.zeros(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:size]


@pytest.mark.parametrize("channels", [1, 2, 8, 31, 33, 63, 64, 65, 100, 127, 128, 129, 200, 255])
@pytest.mark.parametrize("density", [0.15, 0.6, 1.0])
@pytest.mark.parametrize("ring", [1, 40, 255])
def test_running_sums_equal_a_visit_of_every_slot(kernels, channels, density, ring):
    rng, length = np.random.default_rng(channels * ring), ring + 12
    q, k, v = (rng.random((length, channels)) < density for _ in range(3))
    packed = [words_of(x) for x in (q, k, v)]
    words = packed[0].shape[1]
    nothing = np.zeros(words, np.uint64)
    sums = aligned(words * channels * 64)
    slow = np.array([0, 1, length // 2, *range(max(0, ring - 1), length)])
    for i in range(length):
        now = [x[i].ctypes.data for x in packed]
        old = [x[i - ring].ctypes.data if i >= ring else nothing.ctypes.data for x in packed[1:]]
        out = np.full(channels + 1, 7, np.int32)
        kernels.attend_sums(*now, *old, words, channels, sums.ctypes.data, out.ctypes.data)
        assert out[-1] == 7
        if i in slow:
            past = slice(max(0, i - ring), i + 1)
            want = (q[i].astype(np.int64) @ k[past].T.astype(np.int64)) @ v[past].astype(np.int64)
            np.testing.assert_array_equal(out[:-1], want)
    last = slice(max(0, length - ring), length)
    want = k[last].T.astype(np.int64) @ v[last].astype(np.int64)
    kept = sums.reshape(words, channels, 64).transpose(1, 0, 2).reshape(channels, -1)
    np.testing.assert_array_equal(kept[:, :channels], want)
    assert not kept[:, channels:].any()
