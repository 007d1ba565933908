import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.activations import ACTIVATIONS, activation, elu, leaky_relu, maxout


DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


def check_activation(function):
    """Keeps shapes and dtypes, compiles, and has finite slopes far out."""
    rows = {jnp.dtype(d).name: jnp.array([-1e4, -1.0, 0.0, 0.5, 1e4], d) for d in DTYPES}
    slope = jax.grad(lambda x: function(x).astype(jnp.float32).sum())
    everything = jax.jit(lambda rows: {k: (function(x), slope(x)) for k, x in rows.items()})
    for name, (values, slopes) in everything(rows).items():
        assert values.dtype == slopes.dtype == name
        assert values.shape == (5,)
        assert jnp.isfinite(values).all()
        assert jnp.isfinite(slopes).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_keeps_dtypes_and_has_finite_slopes(name):
    """Course 4, activations: sigmoid, tanh, ReLU, ELU, maxout, softmax and more."""
    check_activation(activation(name))


@pytest.mark.parametrize(
    "broken",
    [
        lambda x: x.astype(jnp.float32),
        lambda x: jnp.exp(x) / (1 + jnp.exp(x)),
        lambda x: jnp.sqrt(jnp.maximum(x, 0)),
        jnp.sum,
    ],
)
def test_the_check_rejects_broken_activations(broken):
    with pytest.raises((AssertionError, TypeError)):
        check_activation(broken)


@pytest.mark.parametrize("name", ["elu", "leaky_relu", "relu", "softplus", "silu", "gelu"])
def test_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    x = np.linspace(-3, 3, 13)
    arguments = {"approximate": "tanh"} if name == "gelu" else {}
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), **arguments).numpy()
    ours = activation(name)(jnp.asarray(x))
    chex.assert_trees_all_close(ours, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("function", [elu, leaky_relu])
def test_the_slope_on_the_left_can_be_vmapped_and_promotes_nothing(function):
    x, slopes = jnp.array([-1.0, 2.0], jnp.bfloat16), jnp.array([0.1, 1.0], jnp.float32)
    together = jax.vmap(lambda a: function(x, a))(slopes)
    assert together.dtype == jnp.bfloat16
    chex.assert_trees_all_close(together, jnp.stack([function(x, float(a)) for a in slopes]))


def test_elu_is_its_formula():
    x = jnp.array([-2.0, -0.1, 0.0, 3.0])
    chex.assert_trees_all_close(elu(x, 0.7), jnp.where(x > 0, x, 0.7 * jnp.expm1(x)))


def test_maxout_is_the_largest_piece_and_sends_the_gradient_there():
    pieces = jnp.array([[1.0, 5.0, 3.0], [-1.0, -2.0, -3.0]])
    chex.assert_trees_all_equal(maxout(pieces), jnp.array([5.0, -1.0]))
    chex.assert_trees_all_equal(maxout(pieces, axis=0), jnp.array([1.0, 5.0, 3.0]))
    slopes = jax.grad(lambda p: maxout(p).sum())(pieces)
    chex.assert_trees_all_equal(slopes, jnp.array([[0.0, 1, 0], [1, 0, 0]]))


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"activation: `name` must be one of elu.*mean 'tanh'"):
        activation("tahn")
