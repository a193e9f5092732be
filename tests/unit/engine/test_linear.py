"""Linear layers of every kernel set: rows grouped by their spikes over the timesteps, and every width."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import kernel_sets
from tests.unit.engine.test_kernels import Kernels

pytestmark = pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))

U32, AT, SIZE = ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t
SETS = kernel_sets() if native_build.missing() is None else ()


class Layer(ctypes.Structure):
    """snn_layer of snn_internal.h."""

    _fields_ = [
        *((name, AT) for name in ("weight", "bits", "out")),
        *((name, SIZE) for name in ("bits_stride", "stride")),
        *((name, U32) for name in ("rows", "columns", "tokens", "timesteps")),
        *((name, AT) for name in ("list", "parts", "groups", "masks")),
    ]


def linear(name, weight, spikes):
    """Sums [tokens, timesteps, columns] of spikes [tokens, timesteps, rows]; nothing else is written."""
    library = ctypes.CDLL(str(native_build.library()[0]))
    library.snn_masks_bytes.restype = SIZE
    (tokens, timesteps, rows), columns = spikes.shape, weight.shape[1]
    padded = np.pad(spikes, ((0, 0), (0, 0), (0, -rows % 64)))
    bits = np.packbits(padded, axis=2, bitorder="little").view(np.uint64).reshape(tokens, -1)
    bits = np.pad(bits, ((0, 0), (0, 3)), constant_values=2**64 - 1).copy()
    groups = tokens * -(-timesteps // 4)
    parts = groups * library.snn_parts_max(U32(rows))
    memory = {
        "list": np.zeros(tokens * timesteps * rows + 64, np.uint16),
        "parts": np.full(parts + 1, 2**64 - 1, np.uint64),
        "groups": np.full(groups + 2, 2**32 - 1, np.uint32),
        "masks": np.full(library.snn_masks_bytes(U32(rows)) // 8 + 1, 2**64 - 1, np.uint64),
    }
    stride = -(-columns // 16) * 16
    out = np.full((tokens * timesteps + 1, stride), 99, np.int32)
    layer = Layer(
        weight=weight.ctypes.data,
        bits=bits.ctypes.data,
        out=out.ctypes.data,
        bits_stride=bits.shape[1],
        stride=stride,
        rows=rows,
        columns=columns,
        tokens=tokens,
        timesteps=timesteps,
        **{key: array.ctypes.data for key, array in memory.items()},
    )
    Kernels.in_dll(library, f"snn_kernels_{name}").linear(ctypes.byref(layer))
    assert memory["parts"][-1] == memory["masks"][-1] == 2**64 - 1 and memory["groups"][-1] == 2**32 - 1
    assert (out[:, columns:] == 99).all() and (out[-1] == 99).all()
    return out[:-1, :columns].reshape(tokens, timesteps, columns)


def check(name, weight, spikes):
    want = spikes.astype(np.int64) @ weight.astype(np.int64)
    np.testing.assert_array_equal(linear(name, weight, spikes), want, err_msg=name)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("columns", [1, 5, 16, 31, 63, 64, 65, 128, 161, 256, 300, 768])
def test_sums_at_the_extremes_are_exact_past_every_flush(name, columns):
    rng, rows = np.random.default_rng(columns), 1032
    always, never = np.ones(rows, bool), np.zeros(rows, bool)
    vectors = [always, never, rng.random(rows) < 0.15, rng.random(rows) < 0.6]
    for order in (vectors, [always] * 4, [always, always, never, always], vectors[::-1] + vectors):
        spikes = np.stack(order)[None]
        for value in (127, -127):
            check(name, np.full((rows, columns), value, np.int8), spikes)
        check(name, rng.integers(-127, 128, (rows, columns)).astype(np.int8), spikes)


@pytest.mark.parametrize("rows", [255, 256, 257, 258, 512, 513])
@pytest.mark.parametrize("name", SETS)
def test_sums_are_put_away_at_the_last_row_that_fits_their_lanes(name, rows):
    for timesteps in (1, 2, 4):
        check(name, np.full((rows, 48), -127, np.int8), np.ones((1, timesteps, rows), bool))


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 330)),
    columns=st.integers(1, 700),
    density=st.sampled_from((0.0, 0.03, 0.15, 0.5, 0.95, 1.0)),
    seed=st.integers(0, 2**16),
)
def test_sums_of_any_shape_are_exact_in_all_kernel_sets(shape, columns, density, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (shape[2], columns)).astype(np.int8)
    spikes = rng.random(shape) < density
    for name in SETS:
        check(name, weight, spikes)
