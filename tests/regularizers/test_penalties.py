"""Penalties against their formulas in NumPy, and which parameters they concern."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import nn, regularizers
from jaxopt_course.regularizers import (
    by_path,
    elastic_net_penalty,
    group_lasso_penalty,
    l1_penalty,
    l2_penalty,
    nuclear_norm_penalty,
    penalty,
    weights_only,
)
from jaxopt_course.transforms import masked, scale


W = np.random.default_rng(0).normal(size=(4, 3))
NETWORK = {
    "Dense_0": {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([7.0, 7.0])},
    "BatchNorm_0": {"scale": jnp.array([7.0, 7.0]), "bias": jnp.array([7.0, 7.0])},
    "Dense_1": {"kernel": jnp.array([[1.0], [-2.0]]), "bias": jnp.array([7.0])},
}


@pytest.mark.parametrize(
    ("value", "formula"),
    [
        (lambda w: l1_penalty(w, 0.3), 0.3 * np.abs(W).sum()),
        (lambda w: l2_penalty(w, 0.3), 0.3 / 2 * (W**2).sum()),
        (
            lambda w: elastic_net_penalty(w, 0.3, 0.2),
            0.3 * np.abs(W).sum() + 0.1 * (W**2).sum(),
        ),
        (lambda w: group_lasso_penalty(w, 0.3), 0.3 * np.linalg.norm(W, axis=1).sum()),
        (lambda w: group_lasso_penalty(w, 0.3, axis=0), 0.3 * np.linalg.norm(W, axis=0).sum()),
        (lambda w: group_lasso_penalty(w, 0.3, axis=(0, 1)), 0.3 * np.linalg.norm(W)),
        (lambda w: nuclear_norm_penalty(w, 0.3), 0.3 * np.linalg.norm(W, ord="nuc")),
    ],
)
def test_each_penalty_is_its_formula(value, formula):
    np.testing.assert_allclose(value(jnp.asarray(W)), formula, rtol=1e-14)


def test_l2_conventions_differ_by_the_factor_that_the_docstring_says():
    """Course 2, L2 in the loss: L + lambda/2 |w|^2, biases left out, 1/N the caller's scale.

    K writes lambda / (2N) sum w^2, and takes Keras's ``L2(l)``, which is l sum w^2, for it.
    """
    decay, examples = 0.3, 50
    loss = lambda params: penalty(params, lambda w: l2_penalty(w, decay / examples))
    squares = 25.0 + 5.0  # of the two kernels
    np.testing.assert_allclose(loss(NETWORK), decay / (2 * examples) * squares, rtol=1e-14)
    slopes = jax.jit(jax.grad(loss))(NETWORK)
    np.testing.assert_allclose(slopes["Dense_0"]["kernel"], decay / examples * np.array([[3, -4]]))
    assert not slopes["Dense_0"]["bias"].any()
    assert not slopes["BatchNorm_0"]["scale"].any()


def test_keras_adds_twice_the_l2_penalty():
    keras = pytest.importorskip("keras")
    theirs = float(keras.regularizers.L2(0.1)(keras.ops.array(W, "float64")))
    np.testing.assert_allclose(theirs, l2_penalty(jnp.asarray(W), 2 * 0.1), rtol=1e-6)


def test_the_slope_of_l1_at_zero_is_zero():
    """``jnp.abs`` has slope 1 there, which would push zeros away to one side."""
    slope = jax.jit(jax.grad(l1_penalty))
    slopes = slope(jnp.array([2.0, 0.0, -3.0]))
    np.testing.assert_array_equal(slopes, [1.0, 0.0, -1.0])
    complex_slopes = slope(jnp.array([3.0 + 4.0j, 0.0j]))
    np.testing.assert_allclose(complex_slopes, [0.6 - 0.8j, 0.0], rtol=1e-15)


def test_slopes_are_finite_at_zero():
    def of_all(w):
        convex = (l1_penalty, l2_penalty, group_lasso_penalty, nuclear_norm_penalty)
        return sum(fn(w) for fn in convex)

    assert np.isfinite(jax.jit(jax.grad(of_all))(jnp.zeros((3, 2)))).all()


def test_narrow_parameters_are_summed_in_float32():
    many = jnp.full(4096, 0.1, jnp.bfloat16)
    value = l1_penalty(many)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 4096 * float(many[0]), rtol=1e-6)


def test_weights_are_told_from_biases_and_norms_in_flax_and_plain_trees():
    model = nn.MLP(outputs=2, hidden=(3,), normalization="layer")
    params = jax.eval_shape(
        lambda key: model.init(key, jnp.ones((1, 2)), train=False), jax.random.key(0)
    )["params"]
    assert weights_only(params) == {
        "Dense_0": {"kernel": True, "bias": False},
        "LayerNorm_0": {"scale": False, "bias": False},
        "Dense_1": {"kernel": True, "bias": False},
    }
    assert weights_only({"w": 1.0, "b": 0.0, "norm1": [1.0]}) == {
        "w": True,
        "b": False,
        "norm1": [False],
    }
    assert weights_only(1.0) is True


def test_weights_are_told_from_biases_in_nnx_and_equinox():
    nnx, eqx = pytest.importorskip("flax.nnx"), pytest.importorskip("equinox")
    linear = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)
    marks = {str(p): m for p, m in jax.tree.leaves_with_path(weights_only(linear))}
    assert sorted("bias" in path for path, mark in marks.items() if not mark) == [True]
    assert sorted("kernel" in path for path, mark in marks.items() if mark) == [True]
    layer = weights_only(eqx.nn.Linear(2, 3, key=jax.random.key(0)))
    assert (layer.weight, layer.bias) == (True, False)


def test_a_mask_of_paths_serves_wrappers_and_penalties_alike():
    first = by_path({"Dense_0/kernel": True}, otherwise=False)
    np.testing.assert_allclose(penalty(NETWORK, l1_penalty, first), 7.0)
    tx = masked(scale(10.0), first)
    updates, _ = tx.update(NETWORK, tx.init(NETWORK))
    np.testing.assert_array_equal(updates["Dense_0"]["kernel"], [[30.0, -40.0]])
    np.testing.assert_array_equal(updates["Dense_1"]["kernel"], [[1.0], [-2.0]])


def test_each_layer_may_have_its_own_strength_and_it_may_be_traced():
    """Course 2, L1 + L2, per-layer strengths: elastic net, alpha_l for layer l."""
    numbers = {"l1": 0.5, "l2": 0.25}

    def loss(strengths):
        rules = {"bias|scale": False, "Dense_0": strengths[0], "Dense_1": strengths[1]}
        return penalty(NETWORK, lambda w: elastic_net_penalty(w, **numbers), by_path(rules, False))

    of_layers = np.array([0.5 * 7 + 0.25 / 2 * 25, 0.5 * 3 + 0.25 / 2 * 5])
    strengths = jnp.array([[0.1, 0.01], [0.0, 2.0]])
    np.testing.assert_allclose(jax.vmap(loss)(strengths), strengths @ of_layers, rtol=1e-14)
    np.testing.assert_allclose(jax.grad(loss)(strengths[0]), of_layers, rtol=1e-14)


def test_a_prefix_and_missing_leaves_are_understood():
    params = {"a": {"u": jnp.array([1.0]), "v": None}, "b": jnp.array([2.0])}
    np.testing.assert_allclose(penalty(params, l1_penalty, {"a": True, "b": 3.0}), 7.0)
    assert penalty({}, l1_penalty) == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: l1_penalty(jnp.ones(2), -1.0), r"l1_penalty: `strength` must lie in \[0, inf\)"),
        (lambda: l2_penalty(jnp.ones(2), np.nan), r"l2_penalty: `strength` must lie in \[0, inf\)"),
        (lambda: elastic_net_penalty(jnp.ones(2), 1.0, -1.0), "elastic_net_penalty: `l2` must lie"),
        (lambda: penalty(NETWORK, l1_penalty, by_path({"bias": -1.0}, False)), "penalty: `where`"),
        (lambda: penalty(NETWORK, jnp.abs), "penalty: `fn` must return a scalar, got an array of"),
        (lambda: by_path({"Dense_9": 0.1}, 0.0)(NETWORK), "by_path: .* got 'Dense_9' for Batch"),
        (
            lambda: regularizers.project_l2_constraint(NETWORK, -1.0),
            r"project_l2_constraint: `limit` must lie in \[0, inf\), got -1.0",
        ),
    ],
)
def test_bad_arguments_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
