import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import losses


ENTRYWISE = ["squared_error", "l2_loss", "absolute_error", "huber_loss", "log_cosh"]
BY_ROW = ["mean_squared_error", "half_squared_error"]


@pytest.fixture
def pair(key):
    predictions, targets = 3 * jax.random.normal(key, (2, 40, 3))
    return predictions, targets


@pytest.mark.parametrize("name", ["squared_error", "l2_loss", "huber_loss", "log_cosh"])
@pytest.mark.parametrize("n_arguments", [1, 2])
def test_agrees_with_optax(name, n_arguments, pair, standard_promotion):
    # log_cosh: optax subtracts log(2) from a sum, an absolute error of a few ulps of 1.
    atol = 1e-14 if name == "log_cosh" else 0
    libraries = losses, optax
    ours, theirs = (jax.jit(getattr(lib, name))(*pair[:n_arguments]) for lib in libraries)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12, atol=atol)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("squared_error", "mse_loss"),
        ("absolute_error", "l1_loss"),
        ("huber_loss", "huber_loss"),
    ],
)
def test_agrees_with_torch(ours, theirs, pair):
    torch = pytest.importorskip("torch")
    expected = getattr(torch.nn.functional, theirs)(
        *(torch.from_numpy(np.array(x)) for x in pair), reduction="none"
    )
    chex.assert_trees_all_close(getattr(losses, ours)(*pair), expected.numpy(), rtol=1e-12)


def test_the_course_squared_error_is_the_mean_of_half_squared_errors():
    y, a = jnp.array([[3.0, 4], [5, 2]]), jnp.array([[2.1, 2.5], [6.3, 2.7]])
    assert float(losses.half_squared_error(a, y).mean()) == pytest.approx(1.31, rel=1e-12)
    y, a = jnp.array([[1.0, 0], [1, 1]]), jnp.array([[0.8, 0.2], [0.7, 0.9]])
    assert float(losses.half_squared_error(a, y).mean()) == pytest.approx(0.045, rel=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 3, 4)])
def test_the_mean_and_the_half_sum_differ_by_half_the_number_of_entries(shape, key):
    predictions, targets = jax.random.normal(key, (2, *shape))
    mean, half = (jax.jit(getattr(losses, name))(predictions, targets) for name in BY_ROW)
    assert mean.shape == half.shape == (5,)
    np.testing.assert_allclose(half, np.array(mean) * math.prod(shape[1:]) / 2, rtol=1e-12)


def test_log_cosh_keeps_its_digits_near_zero():
    # log(cosh(r)) = r^2 / 2 - r^4 / 12 + ...; the next term is below 1e-12 of it at r = 1e-3.
    r = jnp.array([1e-3, 1e-6, 1e-9])
    series = r**2 / 2 - r**4 / 12
    chex.assert_trees_all_close(jax.jit(losses.log_cosh)(r), series, rtol=1e-12)
    assert float(jax.grad(losses.absolute_error)(0.0)) == 0  # that of jnp.abs is 1
    slopes = jax.jit(jax.vmap(jax.grad(losses.log_cosh)))(r)
    chex.assert_trees_all_close(slopes, jnp.tanh(r), rtol=1e-12)


def test_huber_is_quadratic_inside_and_linear_outside():
    r = jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    slopes = jax.jit(jax.grad(lambda r: losses.huber_loss(r, delta=2.0).sum()))(r)
    chex.assert_trees_all_close(slopes, jnp.clip(r, -2, 2))
    chex.assert_trees_all_close(losses.huber_loss(r, delta=2.0), jnp.array([4, 0.125, 0, 0.125, 4]))


def test_huber_delta_can_be_vmapped_and_differentiated(pair):
    deltas = jnp.array([0.1, 1.0, 5.0])
    loss = jax.jit(lambda delta: losses.huber_loss(*pair, delta=delta))
    one_by_one = jnp.stack([loss(float(delta)) for delta in deltas])
    chex.assert_trees_all_close(jax.vmap(loss)(deltas), one_by_one, rtol=1e-12)
    slope = jax.grad(lambda delta: loss(delta).sum())(1.0)
    difference = (loss(1 + 1e-6).sum() - loss(1 - 1e-6).sum()) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("name", ENTRYWISE + BY_ROW)
def test_dtype_is_kept_and_gradients_are_finite_in_every_dtype(name):
    loss, targets = getattr(losses, name), jnp.zeros(5, jnp.int32)
    dtypes = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]
    rows = [jnp.array([-1e4, -1.0, 0.0, 0.5, 1e4], dtype) for dtype in dtypes]
    assert [jax.eval_shape(loss, row, targets).dtype for row in rows] == dtypes
    slope = jax.grad(lambda p: loss(p, targets).astype(jnp.float32).sum())
    slopes = jax.jit(lambda rows: [slope(row) for row in rows])(rows)
    assert [x.dtype for x in slopes] == dtypes
    assert all(jnp.isfinite(x).all() for x in slopes)


def test_rows_are_summed_in_float32():
    # In bfloat16 a running sum of ones stops at 256.
    ones = jnp.ones((1, 4096), jnp.bfloat16)
    assert float(losses.half_squared_error(ones, jnp.zeros_like(ones))[0]) == 2048


@pytest.mark.usefixtures("as_users_run_it")
class TestBadArguments:
    @pytest.mark.parametrize("name", ENTRYWISE + BY_ROW)
    def test_shapes_that_merely_broadcast_are_refused(self, name):
        sentence = rf"{name}: `targets` has shape \(3, 1\), `predictions` has \(3,\)\."
        with pytest.raises(ValueError, match=sentence):
            getattr(losses, name)(jnp.ones(3), jnp.ones((3, 1)))

    @pytest.mark.parametrize("name", ENTRYWISE + BY_ROW)
    def test_integer_predictions_are_refused(self, name):
        with pytest.raises(TypeError, match=rf"{name}: `predictions` must be floating-point"):
            getattr(losses, name)(jnp.ones(3, jnp.int32), jnp.ones(3))

    @pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
    def test_delta_must_be_positive(self, delta):
        with pytest.raises(ValueError, match=r"huber_loss: `delta` must lie in \(0, inf\), got"):
            losses.huber_loss(jnp.ones(3), delta=delta)

    @pytest.mark.parametrize("name", BY_ROW)
    def test_a_lone_number_is_no_batch(self, name):
        with pytest.raises(ValueError, match="axis of examples"):
            getattr(losses, name)(jnp.array(1.0), jnp.array(0.0))
