"""Norms of numbers of any size, against ``math.hypot``, which scales too."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.core import global_norm, l2_norm, root_mean_square, tree
from tests.tiers import everyday_first


SIZES = {  # far beyond the roots of the largest and the smallest number
    "float16": (6e4, 1e-4),
    "bfloat16": (1e38, 1e-36),
    "float32": (1e38, 1e-36),
    "float64": (1e300, 1e-300),
    "complex64": (1e38, 1e-36),
}
CASES = [(dtype, size) for dtype, sizes in SIZES.items() for size in (*sizes, 1.0)]
SHAPE = np.array([[0.5, -1.0, 0.25], [0.0, 0.75, -0.5]])


def tree_of(dtype, size):
    x = jnp.asarray(SHAPE * size, dtype)
    return {"a": x, "b": (x[0], x[1, 1])}


def flat(tree):
    leaves = [np.asarray(leaf).astype(complex).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves)


def check_norm(norm, dtype, size):
    tree = tree_of(dtype, size)
    exact = math.hypot(*abs(flat(tree)))
    rounding = 1e-12 if dtype == "float64" else 1e-6
    value, slopes = jax.jit(jax.value_and_grad(norm))(tree)
    np.testing.assert_allclose(value, exact, rtol=rounding)
    narrow = 1e-2 if dtype == "bfloat16" else 1e-3 if dtype == "float16" else rounding
    np.testing.assert_allclose(flat(slopes), flat(tree).conj() / exact, rtol=narrow)
    along = jax.jit(lambda t: jax.jvp(norm, (t,), (t,))[1])(tree)
    np.testing.assert_allclose(along, exact, rtol=rounding)


@pytest.mark.parametrize(("dtype", "size"), everyday_first(5, CASES))
def test_the_norm_and_its_slopes_are_right_at_any_size(dtype, size):
    check_norm(global_norm, dtype, size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_check_rejects_the_plain_formula(dtype):
    def plain(tree):
        return jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))

    check_norm(plain, dtype, 1.0)
    for size in SIZES[dtype]:
        with pytest.raises(AssertionError):
            check_norm(plain, dtype, size)


@pytest.mark.exhaustive
def test_norms_along_axes_differ_in_size():
    rows = jnp.array([[3e30, 4e30], [3e-30, 4e-30], [0, 0], [3, 4]], jnp.float32)
    expected = np.array([5e30, 5e-30, 0, 5])
    for norms in (l2_norm(rows, 1), jax.vmap(global_norm)(rows)):
        np.testing.assert_allclose(norms, expected, rtol=1e-6)
    np.testing.assert_allclose(root_mean_square(rows, -1), expected / 2**0.5, rtol=1e-6)
    assert l2_norm(rows, (0, 1), keepdims=True).shape == (1, 1)
    assert l2_norm(jnp.ones((0, 3)), 0).shape == (3,)
    slopes = jax.grad(lambda x: l2_norm(x, 1).sum())(rows)
    np.testing.assert_allclose(slopes[:, 0], [0.6, 0.6, 0, 0.6], rtol=1e-6)


def test_ends():
    largest = float(jnp.finfo(jnp.float32).max)
    assert global_norm(jnp.full(4, largest, jnp.float32)) == largest
    mean = root_mean_square(jnp.full(4, 3e38, jnp.float32))
    np.testing.assert_allclose(mean, 3e38, rtol=1e-6)
    assert global_norm(jnp.array([jnp.inf, 1.0])) == jnp.inf
    assert jnp.isnan(global_norm(jnp.array([jnp.inf, jnp.nan])))
    assert global_norm({}) == 0
    assert global_norm(jnp.zeros((0, 2))) == 0
    zeros = jnp.zeros(3)
    assert (jax.grad(global_norm)(zeros) == 0).all()
    assert jax.jvp(global_norm, (zeros,), (zeros + 1,))[1] == 0


@pytest.mark.exhaustive
def test_the_curvature_is_that_of_a_sphere():
    x = jnp.array([1.0, 2.0, -3.0])
    norm = jnp.sqrt(14.0)
    curvature = jax.hessian(global_norm)(x)
    expected = jnp.eye(3) / norm - jnp.outer(x, x) / norm**3
    np.testing.assert_allclose(curvature, expected, atol=1e-15)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_usual_numbers_have_the_norm_of_the_plain_formula(size):
    """Two programs may sum in other orders, so the last place may differ."""
    x = jax.random.normal(jax.random.key(0), (size,), jnp.float32)
    plain = jax.jit(lambda x: jnp.sqrt(jnp.sum(jnp.square(x))))
    np.testing.assert_allclose(jax.jit(global_norm)(x), plain(x), rtol=1e-6)


@pytest.mark.parametrize("size", [1e30, 1.0, 1e-30, 0.0])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,)])
def test_a_compiler_does_not_take_the_factor_out_of_the_sum(shape, size):
    """Its square is infinite: the norm of one entry, or of equal ones, would be NaN."""
    x = jnp.full(shape, size, jnp.float32)
    expected = float(x.ravel()[0]) * math.sqrt(x.size)
    np.testing.assert_allclose(jax.jit(global_norm)(x), expected, rtol=1e-6)
    norms = jax.jit(lambda x: jax.lax.scan(lambda c, _: (c, global_norm(c)), x, length=2)[1])(x)
    np.testing.assert_allclose(norms, [expected, expected], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e30, 1.0, 1e-30])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_long_leaves_and_short_ones_make_one_norm(dtype, scale):
    """The squares of long leaves take a second pass; the short leaf is the wider one."""
    tree = {
        "long": jnp.full((400, 400), scale, jnp.float32),
        "short": jnp.full(3, 300 * scale, dtype),
    }
    expected = scale * math.sqrt(160_000 + 3 * 300**2)
    np.testing.assert_allclose(jax.jit(global_norm)(tree), expected, rtol=1e-6)
    rows = l2_norm(tree["long"] * jnp.float32([[1.0]] * 399 + [[0.0]]), 1)
    np.testing.assert_allclose(rows, [20 * scale] * 399 + [0.0], rtol=1e-6)


def test_division_by_numbers_of_any_size():
    for size in (3e38, 1.0, 3e-38):
        quotient = jax.jit(tree.divide)(jnp.full(3, size, jnp.float32), jnp.float32(size))
        np.testing.assert_allclose(quotient, 1.0, rtol=1e-6)
