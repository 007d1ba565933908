"""Gradients that are wrong, vanish, explode or die are found, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import check_gradients, gradient_flow
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task, linen_task
from jaxopt_course.training import init_state


@jax.custom_vjp
def tanh_with_a_wrong_slope(x):
    return jnp.tanh(x)


tanh_with_a_wrong_slope.defvjp(
    lambda x: (jnp.tanh(x), x), lambda x, slope: (slope * (1 - jnp.tanh(x)),)
)


def network(act):
    """Two layers in float32; the first is larger than what is checked axis by axis."""
    x = jax.random.normal(jax.random.key(1), (5, 8), jnp.float32)

    def loss(params):
        h = jnp.tanh(x @ params["first"])
        return jnp.mean(act(h @ params["second"]) ** 2)

    keys = jax.random.split(jax.random.key(2))
    params = {
        "first": jax.random.normal(keys[0], (8, 9), jnp.float32),
        "second": jax.random.normal(keys[1], (9, 2), jnp.float32),
    }
    return loss, params


def test_right_gradients_pass_far_below_the_tolerance(key):
    """Course 4, gradient checking: against central differences, leaf by leaf, in float64."""
    report = check_gradients(*network(jnp.tanh), key=key)
    assert not report.wrong
    assert max(report.errors.values()) < 1e-7
    assert "All 2 leaves" in str(report)


def test_a_planted_wrong_rule_is_found_and_the_worst_leaf_named(key):
    loss, params = network(tanh_with_a_wrong_slope)
    report = check_gradients(loss, params, key=key)
    assert sorted(report.wrong) == ["['first']", "['second']"]
    last = lambda p: jnp.sum(jnp.sin(p["a"])) + jnp.sum(tanh_with_a_wrong_slope(p["b"]))
    report = check_gradients(last, {"a": jnp.ones(3), "b": jnp.ones((40, 2))}, key=key)
    assert report.wrong == [report.worst] == ["['b']"]
    assert "worst at ['b']" in str(report)


def test_a_leaf_that_does_not_matter_is_right(key):
    """Its slopes and differences are 0 and rounding."""
    report = check_gradients(
        lambda p: 1e6 + jnp.sum(p["a"] ** 2), {"a": jnp.ones(2), "b": jnp.ones(2)}, key=key
    )
    assert not report.wrong


def test_a_gradient_that_is_no_number_is_wrong(key):
    report = check_gradients(lambda p: jnp.sqrt(jnp.sum(p**2)), jnp.zeros(2), key=key)
    assert report.wrong == [""]


def test_an_infinite_slope_hides_no_wrong_one_and_is_the_worst(key):
    loss = lambda p: jnp.cbrt(p["c"]) + jnp.sum(tanh_with_a_wrong_slope(p["b"]))
    report = check_gradients(loss, {"b": jnp.ones(2), "c": jnp.array(0.0)}, key=key)
    assert report.wrong == ["['b']", "['c']"]
    assert "worst at ['c']" in str(report)


def test_a_kink_is_flagged_and_parameters_that_are_slightly_moved_are_not(key):
    """ReLU at 0: a slope of 0, a difference of 1/2."""
    loss = lambda params: jnp.sum(jax.nn.relu(jnp.zeros(3) @ params["w"] + params["b"]))
    params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    assert check_gradients(loss, params, key=key).wrong == ["['b']"]
    moved = params | {"b": params["b"] + 0.01 * jax.random.normal(key, 2)}
    assert not check_gradients(loss, moved, key=key).wrong


def test_a_leaf_without_entries_is_right(key):
    report = check_gradients(
        lambda p: jnp.sum(p["a"]), {"a": jnp.ones(2), "b": jnp.ones(0)}, key=key
    )
    assert report.errors["['b']"] == 0


@pytest.mark.parametrize(("params", "tolerance"), [({}, 1e-5), ({"a": 1.0}, 0.0)])
def test_bad_arguments_of_the_check_get_a_sentence(params, tolerance, key):
    with pytest.raises(ValueError, match=r"check_gradients: `(params|tolerance)` must"):
        check_gradients(lambda p: 0.0, params, key=key, tolerance=tolerance)


def flow_of(model, key, optimizer=None, change=lambda params: params):
    task = linen_task(model, jnp.zeros((1, 4)), problem("multiclass"))
    state = jax.jit(lambda key: init_state(task, sgd(0.1), key))(key)
    state = state._replace(params=change(state.params))
    batch = Batch(
        jax.random.normal(key, (16, 4)), jnp.arange(16) % 2, (jnp.arange(16) < 15).astype(float)
    )
    return gradient_flow(task, state, batch, optimizer)


def flagged(report, what):
    return [flag for flag in report.flags if what in flag]


def test_a_healthy_network_has_no_flags_and_small_updates(key):
    """Course 4, a healthy gradient lies within [1e-6, 1e3]."""
    report = flow_of(MLP(2, (16,), activation="tanh"), key, sgd(0.01))
    assert not report.flags
    assert "Nothing lies outside" in str(report)
    kernel = report.leaves["['Dense_0']['kernel']"]
    assert 1e-4 < kernel.update_ratio < 1e-1
    hidden = report.layers["hidden_0"]
    assert 0 < hidden.variance < 1
    assert hidden.dead == hidden.saturated == 0
    biases = [line for line in str(report).splitlines() if "['bias']" in line]
    assert len(biases) == 2
    assert all("parameters are 0" in line for line in biases)
    assert "inf" not in str(report)


def test_norms_and_ratios_are_those_of_numpy():
    task = function_task(
        lambda key: {"w": jnp.array([[3.0], [4.0]])}, lambda p, x: x @ p["w"], problem("regression")
    )
    state = init_state(task, sgd(0.5), jax.random.key(0))
    batch = Batch(jnp.array([[1.0, 0.0]]), jnp.array([[1.0]]))
    report = gradient_flow(task, state, batch, sgd(0.5))
    leaf = report.leaves["['w']"]  # the slope of (3 - 1)^2 is 4 in the first entry
    np.testing.assert_allclose(report.loss, 4.0)
    np.testing.assert_allclose(leaf.gradient_norm, 4.0)
    np.testing.assert_allclose(leaf.update_ratio, 2 / 5)
    assert report.layers == {}
    assert np.isnan(gradient_flow(task, state, batch).leaves["['w']"].update_ratio)


@pytest.mark.exhaustive
def test_a_vanishing_sigmoid_stack_of_depth_fifty_is_named(key):
    """Course 4, vanishing gradients: below [1e-6, 1e3], and below half precision's 6e-5."""
    report = flow_of(MLP(2, (8,) * 50, activation="sigmoid"), key)
    kernels = [path for path in report.leaves if path.endswith("['kernel']")]
    assert kernels == [f"['Dense_{i}']['kernel']" for i in range(51)]
    assert flagged(report, "Vanishing gradient at ['Dense_0']['kernel']")
    assert not flagged(report, "Vanishing gradient at ['Dense_50']['kernel']")
    assert flagged(report, "Half precision would lose accuracy at ['Dense_40']['kernel']")
    assert flagged(report, "Saturated layer hidden_49")


def test_an_exploding_linear_stack_is_named(key):
    """Course 4, exploding gradients: above [1e-6, 1e3], and above half precision's 6e4."""
    report = flow_of(MLP(2, (8,) * 20, activation="identity", kernel_init="standard_normal"), key)
    assert flagged(report, "Exploding gradient at ['Dense_0']['kernel']")
    assert flagged(report, "Half precision would overflow at ['Dense_0']['kernel']")


def test_a_dead_relu_layer_is_named(key):
    def kill(params):
        bias = jnp.full_like(params["Dense_1"]["bias"], -100)
        return params | {"Dense_1": params["Dense_1"] | {"bias": bias}}

    report = flow_of(MLP(2, (8, 8), activation="relu"), key, change=kill)
    assert flagged(report, "Dead layer hidden_1: 100%")
    assert report.leaves["['Dense_1']['kernel']"].silent == 1
    assert not flagged(report, "Dead layer hidden_0")
    half = flow_of(
        MLP(2, (8, 8), activation="relu"),
        key,
        change=lambda p: (
            p
            | {"Dense_1": p["Dense_1"] | {"bias": -100.0 * (jnp.arange(8) % 2).astype(jnp.float32)}}
        ),
    )
    assert half.layers["hidden_1"].dead >= 0.5
    assert flagged(half, "of the units at ['Dense_1']['kernel'] get no gradient")
