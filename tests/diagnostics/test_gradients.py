"""Gradients that are wrong, vanish, explode or die are found, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import digits
from jaxopt_course.diagnostics import check_gradients, gradient_flow
from jaxopt_course.nn import CNN, MLP, ResidualMLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task, linen_task
from jaxopt_course.training import init_state
from tests.tiers import everyday_first


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
    assert max(report.uncertainties.values()) < 1e-7
    assert "All 2 leaves" in str(report)


def test_an_error_below_the_uncertainty_is_reported_as_such(key):
    """A difference cannot show an error of 0, only one that is below its own uncertainty."""
    loss = lambda p: jnp.sum(jnp.sin(p["a"])) + jnp.sum(tanh_with_a_wrong_slope(p["b"]))
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    report = check_gradients(loss, params, key=key)
    a, b, c = (line.split(maxsplit=1)[1] for line in str(report).splitlines()[:3])
    assert report.errors["['a']"] == 0
    uncertainty = report.uncertainties["['a']"]
    assert uncertainty > 0
    assert a == f"below the uncertainty of {uncertainty:.1e}"
    assert b == f"{report.errors[report.worst]:.1e}  WRONG"
    assert c == "all slopes and differences are 0"
    assert "0.0e+00" not in str(report)


@jax.custom_vjp
def square_with_a_slope_that_is_wrong_by_half(x):
    return x**2


square_with_a_slope_that_is_wrong_by_half.defvjp(
    lambda x: (x**2, x), lambda x, slope: (3 * x * slope,)
)


@pytest.mark.parametrize("square", [jnp.square, square_with_a_slope_that_is_wrong_by_half])
@pytest.mark.parametrize(
    ("offset", "slope", "other"),
    [
        *[(0.0, 1.0, 0.0), (1e3, 0.003, 0.0), (1e6, 0.003, 0.0), (1e6, 1.0, 1.0)],
        *[(1e9, 1e-3, 0.0), (1e20, 1.0, 0.0), (-1e6, 0.003, 0.0)],
        *[(0.0, 1e-9, 1.0), (0.0, 1e-14, 1.0)],
    ],
)
def test_a_rule_wrong_by_half_is_never_certified(square, offset, slope, other, key):
    """Of a large value, or of small slopes beside large ones, the differences may not tell."""
    loss = lambda p: offset + slope * jnp.sum(square(p["a"])) + other * jnp.sum(p["b"] ** 2)
    report = check_gradients(loss, {"a": jnp.ones(2), "b": jnp.ones(2)}, key=key)
    right = square is jnp.square
    assert ("['a']" in report.wrong) <= (not right)
    if not right:
        assert "['a']" in report.wrong or "['a']" in report.unclear
        assert "cannot tell" in str(report) or "wrong gradient" in str(report)
        assert "All 2 leaves" not in str(report)
    if offset in (0.0, 1e3, 1e6, -1e6) and slope > 1e-10 and not right:
        assert report.wrong == ["['a']"]
    if offset == 0.0 and slope == 1.0:
        assert not report.unclear


def test_differences_of_pure_rounding_are_said_to_tell_nothing(key):
    loss = lambda p: 1e20 + jnp.sum(p**2)
    report = check_gradients(loss, jnp.ones(2), key=key)
    assert report.unclear == [""]
    assert not report.wrong
    assert "The differences cannot tell" in str(report)
    assert "uncertain by" in str(report)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_best_step_is_found_for_curves_of_any_sharpness(scale, key):
    """A fixed step is too long for sin(1000 x) or too short for sin(x / 30)."""
    loss = lambda p: jnp.sum(jnp.sin(p / scale)) * scale
    report = check_gradients(loss, jnp.array([0.3, 1.1, 2.9]), key=key)
    assert not report.wrong
    assert not report.unclear
    assert report.uncertainties[""] < 1e-5


def test_relus_near_their_kinks_are_no_error(key):
    """Long steps cross kinks, and short ones do not: those count."""
    x = jax.random.normal(jax.random.key(3), (200, 8))
    loss = lambda p: jnp.mean(jnp.sum(jax.nn.relu(x @ p["w"] + p["b"][None]), 1))
    params = {"w": jax.random.normal(key, (8, 64)) / 3, "b": 0.1 * jnp.ones(64)}
    report = check_gradients(loss, params, key=key)
    assert not report.wrong


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
    assert not report.unclear


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
    assert "Everything lies within" in str(report)
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
    (ratio,) = report.depth_ratios.values()
    assert ratio < 1e-20
    assert flagged(report, "Vanishing gradient over depth")
    assert not flagged(report, "Saturated")  # no unit is far from 0: the slope is 1/4 everywhere


def digits_flow(act, init, layers, key, **options):
    d = digits()
    batch = Batch(jnp.asarray(d.inputs[:64]), jnp.asarray(d.targets[:64]))
    model = MLP(10, (32,) * layers, activation=act, kernel_init=init, **options)
    task = linen_task(model, d.inputs[:1], problem("multiclass"))
    return gradient_flow(task, init_state(task, sgd(0.1), key), batch)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(3))
def test_tanh_with_weights_of_variance_one_is_saturated(seed):
    """Course 4, initializers: N(0, 1) drives tanh to where its slope is 0."""
    report = digits_flow("tanh", "standard_normal", 6, jax.random.key(seed))
    saturated = flagged(report, "Saturated layer")
    assert len(saturated) == 6
    assert all("lower the scale of the initial weights" in flag for flag in saturated)
    assert all(report.layers[f"hidden_{i}"].saturated > 0.4 for i in range(6))
    healthy = digits_flow("tanh", "glorot_uniform", 6, jax.random.key(seed))
    assert not flagged(healthy, "Saturated")


@pytest.mark.exhaustive
def test_the_share_of_saturated_entries_is_that_beyond_the_slope(key):
    d = digits()
    for act, bound in (("tanh", 0.99), ("sigmoid", 0.99494)):  # s (1 - s) = 0.02 / 4
        model = MLP(10, (32,), activation=act, kernel_init="standard_normal")
        task = linen_task(model, d.inputs[:1], problem("multiclass"))
        state = init_state(task, sgd(0.1), key)
        batch = Batch(jnp.asarray(d.inputs[:64]), jnp.asarray(d.targets[:64]))
        z = batch.inputs @ state.params["Dense_0"]["kernel"]
        beyond = jnp.abs(jnp.tanh(z)) if act == "tanh" else jax.nn.sigmoid(jnp.abs(z))
        layer = gradient_flow(task, state, batch).layers["hidden_0"]
        np.testing.assert_allclose(layer.saturated, float(jnp.mean(beyond > bound)), atol=2e-3)


@pytest.mark.parametrize("layers", everyday_first(1, [6, 9, 14]))
def test_a_dying_sigmoid_signal_vanishes_and_is_not_saturated(layers, key):
    """Course 4, sigmoid stacks lose their gradient; smaller weights would make it worse."""
    report = digits_flow("sigmoid", "glorot_uniform", layers, key)
    assert flagged(report, "Vanishing gradient over depth")
    assert not flagged(report, "Saturated")
    assert not flagged(report, "lower the scale")
    for cure in ("ReLU", "batch normalization", "residual sums", "Glorot", "He"):
        assert cure in report.flags[0]
    assert "gradient of the first over that of the last" in str(report)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("act", "options"),
    [("relu", {"init": "he_normal"}), ("sigmoid", {"normalization": "batch"})],
)
def test_the_cures_leave_no_vanishing_gradient(act, options, key):
    options = {"init": "glorot_uniform", **options}
    report = digits_flow(act, options.pop("init"), 8, key, **options)
    (ratio,) = report.depth_ratios.values()
    assert 1e-2 < ratio < 1e2
    assert not flagged(report, "over depth")


@pytest.mark.exhaustive
def test_the_ratio_over_depth_is_that_of_root_mean_squares(key):
    model = MLP(2, (16, 8, 8), activation="tanh")
    report = flow_of(model, key)
    size = {"Dense_0": 4 * 16, "Dense_3": 8 * 2}
    first, last = (
        report.leaves[f"['{name}']['kernel']"].gradient_norm / np.sqrt(count)
        for name, count in size.items()
    )
    (kind,) = report.depth_ratios
    assert kind == "['Dense_#']['kernel']"
    np.testing.assert_allclose(report.depth_ratios[kind], first / last, rtol=1e-6)
    assert flow_of(MLP(2, (16,)), key).depth_ratios == {}  # two layers make no depth


def test_linear_layers_have_no_saturation(key):
    report = digits_flow("tanh", "standard_normal", 2, key)
    assert np.isnan(report.layers["Dense_0"].saturated)
    assert np.isnan(report.layers["outputs"].saturated)
    assert not any(name.startswith("slope") for name in report.layers)
    line = next(text for text in str(report).splitlines() if text.startswith("outputs"))
    assert line.split()[-1] == "-"


@pytest.mark.exhaustive
def test_residual_blocks_and_convolutions_tell_their_saturation(key):
    residual = ResidualMLP(2, 8, 3, activation="tanh", kernel_init="standard_normal")
    report = flow_of(residual, key)
    assert {f"hidden_{i}" for i in range(3)} <= set(report.layers)
    assert all(0 <= report.layers[f"hidden_{i}"].saturated <= 1 for i in range(3))
    task = linen_task(CNN(2, (3,), (4,), "sigmoid"), jnp.zeros((1, 8, 8)), problem("multiclass"))
    state = init_state(task, sgd(0.1), key)
    batch = Batch(jax.random.normal(key, (4, 8, 8)), jnp.arange(4) % 2)
    layers = gradient_flow(task, state, batch).layers
    assert layers["hidden_0"].saturated == layers["hidden_1"].saturated == 0


@pytest.mark.exhaustive
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
    assert flagged(half, "of the units at ['Dense_1']['kernel'] have no gradient")
