"""Each helper against the defect that it prevents."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.core import global_norm, numerics, tree


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"),
     ("float64", "float64"), ("complex64", "complex64")],
)  # fmt: skip
def test_narrow_dtypes_widen_to_float32(narrow, wide):
    assert numerics.wide_dtype(jnp.dtype(narrow)) == wide


def test_the_complement_is_formed_before_rounding():
    exact = 1 - 0.99999
    assert float(numerics.complement(0.99999, jnp.float32)) == pytest.approx(exact, rel=1e-7)
    rounded_first = 1 - np.float32(0.99999)
    assert abs(rounded_first / exact - 1) > 1e-4


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999, 0.99999])
@pytest.mark.parametrize("count", [1, 2, 1000, 10**6])
def test_one_minus_power_keeps_its_digits(decay, count):
    exact = -math.expm1(count * math.log(decay)) if decay else 1.0
    ours = numerics.one_minus_power(decay, jnp.asarray(count, jnp.int32), jnp.float32)
    np.testing.assert_allclose(ours, exact, rtol=2e-7)  # one float32 rounding


def test_one_minus_power_has_finite_slopes_at_zero():
    slope = jax.grad(lambda b: numerics.one_minus_power(b, jnp.asarray(3, jnp.int32), jnp.float64))(
        0.0
    )
    assert np.isfinite(slope)


def test_the_root_has_slope_zero_at_zero_and_is_right_elsewhere():
    value, slope = jax.vmap(jax.value_and_grad(numerics.safe_sqrt))(jnp.array([0.0, 4.0]))
    np.testing.assert_allclose(value, [0.0, 2.0])
    np.testing.assert_allclose(slope, [0.0, 0.25])
    assert np.isinf(jax.grad(jnp.sqrt)(0.0))  # what it prevents
    curvature = jax.grad(jax.grad(numerics.safe_sqrt))
    np.testing.assert_allclose(curvature(jnp.array(4.0)), -1 / 32)
    assert np.isfinite(curvature(jnp.array(0.0)))


def test_nothing_over_nothing_is_nothing():
    ratio = numerics.safe_divide(jnp.array([0.0, 1.0, 6.0]), jnp.array([0.0, 0.0, 3.0]))
    np.testing.assert_allclose(ratio, [0.0, 0.0, 2.0])
    slopes = jax.grad(lambda d: numerics.safe_divide(jnp.ones(2), d).sum())(jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(slopes, [0.0, -0.25])


def test_counts_do_not_wrap_around():
    last = jnp.iinfo(jnp.int32).max
    assert int(numerics.safe_increment(jnp.asarray(last, jnp.int32))) == last
    assert int(numerics.safe_increment(jnp.asarray(0, jnp.int32))) == 1


def test_counts_become_floats():
    assert numerics.as_float(jnp.asarray(3, jnp.int32)).dtype == jnp.result_type(float)


def test_squares_of_complex_numbers_are_real():
    np.testing.assert_allclose(numerics.abs_sq(jnp.array([3 + 4j])), [25.0])


def test_accumulators_are_wide_and_keep_masked_leaves():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": None}
    zeros = tree.accumulator_like(params)
    assert zeros["a"].dtype == jnp.float32
    assert zeros["b"] is None
    assert tree.accumulator_like(params, jnp.float16, fill=2.0)["a"].tolist() == [2.0, 2.0]
    assert tree.cast_like(zeros, params)["a"].dtype == jnp.bfloat16


def test_means_and_sums():
    old, new = {"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}
    np.testing.assert_allclose(tree.update_moment(new, old, 0.75, 1)["w"], [1.5])
    np.testing.assert_allclose(tree.running_sum(old, new, 0.75)["w"], [3.75])
    np.testing.assert_allclose(tree.scale(new, -2.0)["w"], [-6.0])
    np.testing.assert_allclose(tree.squared(new)["w"], [9.0])
    corrected = tree.bias_correction(new, 0.5, jnp.asarray(2, jnp.int32))
    np.testing.assert_allclose(corrected["w"], [4.0])


def test_a_half_precision_square_does_not_vanish():
    tiny = jnp.asarray([1e-4], jnp.float16)
    assert float(jnp.square(tiny)[0]) == 0.0  # what it prevents
    np.testing.assert_allclose(tree.squared({"w": tiny})["w"], [1e-8], rtol=1e-3)


def test_division_by_a_root_takes_both_eps():
    ratio = tree.divide_by_root({"w": jnp.array([6.0])}, {"w": jnp.array([5.0])}, 1.0, 4.0)
    np.testing.assert_allclose(ratio["w"], [1.5])


def test_the_norm_is_that_of_all_entries():
    tree = {"a": jnp.array([3.0]), "b": [jnp.array([[4.0j]]), None]}
    np.testing.assert_allclose(global_norm(tree), 5.0)
    assert float(global_norm({})) == 0.0
    np.testing.assert_array_equal(jax.grad(global_norm)(jnp.zeros(2)), 0.0)
