"""Stock Loihi neurons: the predicate against brute force, and rounding to their grid."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.program.ops import LIF, THETA_MAX
from edgesnn.program.stock import bias_exponent, on_stock_grid, stock_representable

#: Every bias that a 13-bit signed mantissa and an exponent of 0..7 can hold.
BIASES = np.unique([mantissa << exponent for exponent in range(8) for mantissa in range(-4095, 4096)])
MOST = 4095 << 7

biases = st.one_of(
    st.integers(-MOST - 300, MOST + 300),
    st.integers(-9000, 9000),
    st.sampled_from(BIASES.tolist()),
    st.sampled_from((MOST, -MOST, MOST + 1, -MOST - 1, 2**30, -(2**30))),
)
thresholds = st.one_of(st.integers(1, THETA_MAX), st.integers(1, THETA_MAX // 64).map(lambda n: 64 * n))


def lif(theta, bias):
    return LIF("lif", "i", "s", 230, np.array(theta, np.int32), np.array(bias, np.int32), True)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(thresholds, biases), min_size=1, max_size=3))
def test_the_predicate_equals_brute_force(pairs):
    theta, bias = zip(*pairs, strict=True)
    wanted = all(t % 64 == 0 for t in theta) and all(b in BIASES for b in bias)
    assert stock_representable(lif(theta, bias)) == wanted


def test_the_smallest_exponent_is_the_one_whose_mantissa_fits():
    values = np.array([0, 4095, -4095, 4096, 8190, 8191, MOST, MOST + 1, -MOST - 1], np.int32)
    assert bias_exponent(values).tolist() == [0, 0, 0, 1, 1, 2, 7, 8, 8]


@settings(max_examples=500, deadline=None)
@given(thresholds, st.integers(-MOST, MOST))
def test_values_on_the_grid_are_representable_and_the_nearest(theta, bias):
    moved = on_stock_grid(np.array([theta], np.int32), np.array([bias], np.int32))
    if moved is None:  # rounding at the largest exponents can leave the mantissa's range
        exponent = int(bias_exponent(np.array([bias], np.int32))[0])
        assert abs(round(bias / 2**exponent)) > 4095
        return
    got_theta, got_bias = int(moved[0][0]), int(moved[1][0])
    assert stock_representable(lif([got_theta], [got_bias]))
    largest = THETA_MAX // 64 * 64
    assert abs(got_theta - theta) <= 32 or theta < 64 or theta > largest
    assert 64 <= got_theta <= largest
    assert abs(got_bias - bias) == np.abs(BIASES - bias).min()


def test_values_that_are_on_the_grid_already_stay():
    theta, bias = np.arange(1, 500, dtype=np.int32) * 64, BIASES[::131].astype(np.int32)
    moved = on_stock_grid(theta, np.resize(bias, theta.shape))
    assert moved is not None
    np.testing.assert_array_equal(moved[0], theta)
    np.testing.assert_array_equal(moved[1], np.resize(bias, theta.shape))


def test_one_bias_beyond_the_range_keeps_the_whole_population_off_the_grid():
    theta = np.array([6400, 6400], np.int32)
    assert on_stock_grid(theta, np.array([0, MOST + 1], np.int32)) is None
    assert on_stock_grid(theta, np.array([0, -MOST - 1], np.int32)) is None


def test_thresholds_at_both_ends_stay_inside_their_range():
    theta = np.array([1, 31, THETA_MAX], np.int32)
    moved = on_stock_grid(theta, np.zeros(3, np.int32))
    assert moved is not None
    assert moved[0].tolist() == [64, 64, THETA_MAX // 64 * 64]
