"""What course section 4 derives of initial weights, measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import VarianceReport, variance_through_depth
from jaxopt_course.initializers import fan_in_normal, fan_out_normal


def report(initializer, activation="identity", depth=10, **options):
    return variance_through_depth(initializer, activation, depth, key=jax.random.key(0), **options)


@pytest.mark.exhaustive
def test_each_fan_keeps_the_variance_of_its_direction():
    """Course 4, initializers: n_in gamma = 1 keeps the forward variance, n_out the backward."""
    widths = (400, 50)
    narrowing = 50 / 400
    forward = report(fan_in_normal(), widths=widths)
    backward = report(fan_out_normal(), widths=widths)
    # 0.1: a product of 10 factors, each a variance over some thousand entries
    np.testing.assert_allclose(forward.forward_gain, 1, rtol=0.1)
    np.testing.assert_allclose(forward.backward_gain**10, narrowing, rtol=0.8)
    np.testing.assert_allclose(backward.backward_gain, 1, rtol=0.1)
    np.testing.assert_allclose(backward.forward_gain**10, 1 / narrowing, rtol=0.8)
    assert forward.widths[0] == 400
    assert forward.widths[-1] == 50


@pytest.mark.parametrize(
    ("initializer", "activation", "trend"),
    [
        ("glorot_normal", "identity", "kept"),
        ("he_normal", "relu", "kept"),
        ("glorot_normal", "relu", "vanishing"),  # half of the variance is lost in each layer
        ("small_normal", "tanh", "vanishing"),
        ("standard_normal", "identity", "exploding"),
    ],
)
def test_what_is_known_of_initializers_and_activations(initializer, activation, trend):
    """Course 4, initializers: He for ReLU, Glorot for what is nearly linear."""
    found = report(initializer, activation, depth=12, widths=(128, 128), rows=128)
    total = found.forward_gain**12
    said = f"activations {found.forward_gain:.3g} a layer, {total:.2g} in all ({trend})"
    assert said in str(found)


@pytest.mark.parametrize(
    ("total", "trend"),
    [(5e-3, "vanishing"), (0.25, "shrinking"), (0.6, "kept"), (1.9, "kept"), (4.0, "growing")],
)
def test_what_loses_or_gains_a_factor_of_four_is_not_kept(total, trend):
    forward = np.geomspace(1, total, 5)
    text = str(VarianceReport(np.full(5, 8), forward, forward[::-1]))
    assert text.count(f"{total:.2g} in all ({trend})") == 2
    assert text.startswith("Variance through 4 layers: activations")
    one = VarianceReport(np.full(2, 8), np.ones(2), np.ones(2))
    assert "through 1 layer:" in str(one)


def test_a_gain_is_the_known_factor():
    """N(0, 1) multiplies the variance by the width."""
    found = report("standard_normal", depth=4, widths=(200, 200))
    np.testing.assert_allclose(found.forward_gain, 200, rtol=0.1)
    assert found.forward.shape == found.backward.shape == (5,)


def test_what_overflows_is_said_to_explode():
    overflowed = np.array([1.0, np.inf, np.nan])
    found = VarianceReport(np.full(3, 4), overflowed, overflowed[::-1])
    assert str(found).count("exploding") == 2


@pytest.mark.exhaustive
def test_a_product_of_slopes_vanishes_or_explodes_as_the_deck_computes(key):
    """Course 4, vanishing and exploding gradients: 0.8^100 is 2e-10, 1.5^100 is 4e17."""
    for factor, product in ((0.8, 2e-10), (1.5, 4e17)):
        scaled = lambda h, factor=factor: factor * h
        identity = lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)
        found = variance_through_depth(identity, scaled, 100, key=key, widths=(3, 3), rows=9)
        ratio = np.sqrt(found.backward[0] / found.backward[-1])
        np.testing.assert_allclose(ratio, product, rtol=0.02)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("glorot_norml", "relu", 3), "Did you mean 'glorot_normal'"),
        (("glorot_normal", "relo", 3), "Did you mean 'relu'"),
        (("glorot_normal", "relu", 0), r"`depth` must lie in \[1, inf\), got 0"),
    ],
)
def test_bad_arguments_get_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        report(*arguments)
