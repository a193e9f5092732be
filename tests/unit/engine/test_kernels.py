"""Every primitive of every kernel set over its whole range, called directly: membranes, not only spikes."""

import ctypes

import numpy as np
import pytest

from edgesnn.program.golden import lif_membranes
from edgesnn.program.ops import LIF, MEMBRANE_MAX, THETA_MAX
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import kernel_sets

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))

U32, AT = ctypes.c_uint32, ctypes.c_void_p


class Op(ctypes.Structure):
    """snn_op of snn_internal.h."""

    _fields_ = [
        *(
            (name, U32)
            for name in ("kind", "clip", "made", "first", "second", "channels", "width", "steps", "last_use")
        ),
        ("numbers", ctypes.c_int32 * 8),
        *((name, AT) for name in ("weight", "table", "left", "right", "third", "mask")),
        *((name, U32) for name in ("count", "slots")),
        ("extents", U32 * 2),
        ("maps", U32),
        ("kernel", U32 * 2),
        *((name, U32) for name in ("inside", "each")),
        *((name, ctypes.c_uint64) for name in ("value", "state")),
    ]


class Kernels(ctypes.Structure):
    """snn_kernels of snn_internal.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("linear", ctypes.CFUNCTYPE(None, AT)),
        ("lif", ctypes.CFUNCTYPE(None, ctypes.POINTER(Op), AT, ctypes.c_size_t, U32, AT)),
        ("attend", ctypes.CFUNCTYPE(None, AT, AT, AT, U32, U32, U32, AT, AT)),
        ("attend_sums", ctypes.CFUNCTYPE(None, AT, AT, AT, AT, AT, U32, U32, AT, AT)),
        ("project", ctypes.CFUNCTYPE(None, AT, U32, AT, U32, AT)),
        ("logits", ctypes.CFUNCTYPE(None, AT, AT, U32, AT, U32, U32, AT)),
        ("packed_bytes", ctypes.CFUNCTYPE(ctypes.c_size_t, U32, U32)),
        ("pack", ctypes.CFUNCTYPE(None, AT, U32, U32, AT)),
        ("scatter", ctypes.CFUNCTYPE(None, ctypes.POINTER(Op), AT, AT, AT)),
        ("stateful", ctypes.CFUNCTYPE(None, ctypes.POINTER(Op), AT, AT, AT, AT, AT)),
    ]


@pytest.fixture(params=kernel_sets() if native_build.missing() is None else ())
def kernels(request):
    library = ctypes.CDLL(str(native_build.library()[0]))
    return Kernels.in_dll(library, f"snn_kernels_{request.param}")


def fired(kernels, currents, *, n, threshold, bias, clip, stride=None):
    """Spikes [T, c] of a LIF."""
    timesteps, channels = currents.shape
    padded = np.zeros((timesteps, -(-channels // 16) * 16), np.int32)
    padded[:, :channels] = currents
    bits = np.full((timesteps, -(-channels // 64)), 2**64 - 1, np.uint64)
    op = Op(clip=clip, channels=channels, left=threshold.ctypes.data, right=bias.ctypes.data)
    op.numbers[0] = n
    width = padded.shape[1] if stride is None else stride
    kernels.lif(ctypes.byref(op), padded.ctypes.data, width, timesteps, bits.ctypes.data)
    whole = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    assert not whole[:, channels:].any()
    return whole[:, :channels]


def edge_membranes(rng):
    """Membranes over the whole range: ends, around zero, around multiples of the divisor, and random ones."""
    ends = np.array([0, 1, 2, 127, 128, 129, 254, 255, 256, 257, 511, 512, 145_888, 145_889, MEMBRANE_MAX])
    near = np.arange(-600, 600)
    steps = np.arange(-MEMBRANE_MAX, MEMBRANE_MAX, 8191)
    return np.concatenate([ends, -ends, near, steps, rng.integers(-MEMBRANE_MAX, MEMBRANE_MAX, 3001)])


@pytest.mark.parametrize("n", [1, 2, 3, 115, 127, 128, 129, 230, 255, 256])
@pytest.mark.parametrize("clip", [False, True])
def test_the_decayed_membrane_is_exact_over_the_whole_range(kernels, n, clip):
    """V after one decay is pinned from both sides: it fires at Theta = V - 1 and not at Theta = V."""
    before = edge_membranes(np.random.default_rng(n)).astype(np.int64)
    scaled = np.trunc(before * n / 256).astype(np.int64)
    # a second current lifts the decayed membrane above zero, where a threshold can meet it
    lift = np.maximum(0, 2 - scaled - before + 63) // 64 + np.random.default_rng(0).integers(
        0, 50, len(before)
    )
    currents = np.stack([np.zeros_like(lift), lift]).astype(np.int32)
    bias = before.astype(np.int32)  # V = bias at t = 0
    op = LIF("l", "x", "s", n, np.full(len(before), THETA_MAX, np.int32), bias, clip)
    membranes, _ = lif_membranes(currents, op)
    usable = (membranes[0] <= THETA_MAX - 1) & (membranes[1] >= 2) & (membranes[1] <= THETA_MAX)
    usable &= membranes[0] < membranes[1] - 1
    assert usable.sum() > len(before) // 3
    for below in (0, 1):
        threshold = np.clip(membranes[1] - below, 1, THETA_MAX).astype(np.int32)
        spikes = fired(kernels, currents, n=n, threshold=threshold, bias=bias, clip=clip)
        np.testing.assert_array_equal(spikes[1, usable], below)


@pytest.mark.parametrize("timesteps", [1, 2, 4, 7, 127])
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 63, 64, 65, 200])
@pytest.mark.parametrize("clip", [False, True])
def test_spikes_equal_golden_for_every_width_and_number_of_timesteps(kernels, timesteps, channels, clip):
    rng = np.random.default_rng(timesteps * 1000 + channels)
    limit = 2**17 - 1 if clip else 300
    currents = rng.integers(-limit, limit + 1, (timesteps, channels)).astype(np.int32)
    threshold = rng.integers(1, 64 * limit // 2, channels).astype(np.int32)
    bias = rng.integers(-64 * limit // 8, 64 * limit // 8, channels).astype(np.int32)
    for n in (1, 128, 230, 256):
        op = LIF("l", "x", "s", n, threshold, bias, clip)
        _, want = lif_membranes(currents, op)
        np.testing.assert_array_equal(
            fired(kernels, currents, n=n, threshold=threshold, bias=bias, clip=clip), want
        )
        _, held = lif_membranes(np.repeat(currents[:1], timesteps, 0), op)
        np.testing.assert_array_equal(
            fired(
                kernels,
                currents[:1].repeat(timesteps, 0),
                n=n,
                threshold=threshold,
                bias=bias,
                clip=clip,
                stride=0,
            ),
            held,
        )


def test_the_lower_saturation_holds_and_the_largest_bias_does_not_overflow(kernels):
    bias = np.array([-(2**30), -(2**30), 2**30, -MEMBRANE_MAX, 1 - MEMBRANE_MAX], np.int32)
    threshold = np.array([1, THETA_MAX, THETA_MAX, 1, 1], np.int32)
    currents = np.array([[-131071] * 5, [131071] * 5, [131071] * 5], np.int32)
    for n in (1, 230, 256):
        _, want = lif_membranes(currents, LIF("l", "x", "s", n, threshold, bias, True))
        np.testing.assert_array_equal(
            fired(kernels, currents, n=n, threshold=threshold, bias=bias, clip=True), want
        )


@pytest.mark.parametrize("channels", [1, 8, 31, 32, 64, 65, 128, 200, 255])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("slots", [1, 7, 9, 256, 514])
def test_attention_is_exact_up_to_full_scores_of_full_windows(kernels, channels, density, slots):
    slots = min(slots, (2**17 - 1) // channels)
    rng, words = np.random.default_rng(slots), -(-channels // 64)

    def words_of(spikes):
        padded = np.pad(spikes, ((0, 0), (0, 64 * words - channels)))
        return np.packbits(padded, axis=1, bitorder="little").view(np.uint64).copy()

    q, k, v = (rng.random((n, channels)) < density for n in (1, slots, slots))
    out, scores = np.full(channels, 7, np.int32), np.zeros(slots + 64, np.uint32)
    packed = [words_of(x) for x in (q, k, v)]
    addresses = [x.ctypes.data for x in packed]
    kernels.attend(*addresses, slots, words, channels, scores.ctypes.data, out.ctypes.data)
    want = (q.astype(np.int64) @ k.T.astype(np.int64)) @ v.astype(np.int64)
    np.testing.assert_array_equal(out, want[0])


@pytest.mark.parametrize("rank", [1, 4, 21, 64, 65, 1040])
def test_logits_and_projection_are_exact_at_the_extremes(kernels, rank):
    rng, vocab = np.random.default_rng(rank), 77
    for table, codes in (
        (np.full((vocab, rank), 127, np.int8), np.full(rank, -127, np.int8)),
        (np.full((vocab, rank), -127, np.int8), np.full(rank, -127, np.int8)),
        (
            rng.integers(-127, 128, (vocab, rank)).astype(np.int8),
            rng.integers(-127, 128, rank).astype(np.int8),
        ),
    ):
        padded = np.zeros(-(-rank // 64) * 64, np.int8)
        padded[:rank] = codes
        packed = np.zeros(1, np.uint8)
        if kernels.packed_bytes:
            packed = np.zeros(kernels.packed_bytes(vocab, rank), np.uint8)
            kernels.pack(table.ctypes.data, vocab, rank, packed.ctypes.data)
        want = table.astype(np.int64) @ codes.astype(np.int64)
        for first, count in ((0, vocab), (16, 61), (3, 50), (5, 2), (76, 1)):
            out = np.full(count, 9, np.int32)
            kernels.logits(
                table.ctypes.data, packed.ctypes.data, rank, padded.ctypes.data, first, count, out.ctypes.data
            )
            np.testing.assert_array_equal(out, want[first : first + count])
        factors = rng.integers(-127, 128, vocab).astype(np.int16)
        sums = np.empty(rank, np.int32)
        kernels.project(factors.ctypes.data, vocab, table.ctypes.data, rank, sums.ctypes.data)
        np.testing.assert_array_equal(sums, factors.astype(np.int64) @ table.astype(np.int64))
