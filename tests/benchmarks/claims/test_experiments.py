"""Parts of the experiments, on planted numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Private names: a claim as a whole trains for minutes.
from benchmarks.claims import (
    HOLDS,
    UNDECIDED,
    _adagrad_rate,
    _adam_convergence,
    _batch_norm,
    _batch_size,
    _covariate_shift,
    _decision_boundary,
    _depth,
    _l2_contours,
    _single_steps,
    _smaller_models,
    _twenty_examples,
)
from benchmarks.claims._experiment import Cost, bytes_at_once
from benchmarks.claims._selection import resamples
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state


RATES = np.array([0.1, 1.0, 10.0])


def test_the_highest_working_rate_is_a_bound_where_none_works_or_the_last_one_does():
    #                         none   gap  first  last
    losses = np.array([[0.9, 0.4, 0.4, 0.1], [0.8, 0.9, 0.6, 0.1], [0.7, 0.3, 0.7, 0.1]])
    highest, none, all_work = _batch_norm._highest(losses, RATES)
    assert highest.tolist() == [0.1, 10.0, 0.1, 10.0]
    assert none.tolist() == [True, False, False, False]
    assert all_work.tolist() == [False, True, False, True]
    edge = _batch_norm._highest(np.full((3, 1), _batch_norm.GOOD), RATES)
    assert edge[1].tolist() == [True]  # half is not below a half


def test_a_gain_in_rate_without_a_rate_that_works_is_a_lower_bound():
    plain = np.array([[0.9, 0.4, 0.4], [0.9, 0.9, 0.4], [0.9, 0.9, 0.4]])
    normal = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    gain = _batch_norm._gain(plain, normal, RATES)
    np.testing.assert_allclose(gain.values, [10.0, 10.0, 0.1])
    assert gain.at_least.tolist() == [True, False, False]
    assert gain.at_most.tolist() == [False, False, True]
    swapped = _batch_norm._gain(normal, plain, RATES)
    assert swapped.at_most.tolist() == gain.at_least.tolist()
    assert swapped.at_least.tolist() == gain.at_most.tolist()


def test_a_gain_that_is_a_bound_gives_a_bound_over_relu_in_its_own_direction():
    seeds = np.zeros(20, bool)
    some = seeds.copy()
    some[0] = True
    high, low = np.full(20, 100.0), np.full(20, 2.0)
    bound = _batch_norm.Gain(high, some, seeds)
    exact = _batch_norm.Gain(low, seeds, seeds)
    over = _batch_norm._over_relu("sigmoid", bound, exact)
    assert (over.at_least, over.at_most, over.shown) == (1, 0, ">= 50")
    assert over.verdict == HOLDS
    under = _batch_norm._over_relu("sigmoid", exact, bound)
    assert (under.at_least, under.at_most, under.shown) == (0, 1, "<= 0.02")
    both = _batch_norm._over_relu("sigmoid", bound, bound)
    assert both.verdict == UNDECIDED


def test_the_range_over_scales_is_that_at_the_rate_that_is_best_for_the_others():
    # Rate 0 is best in the mean over scales, with a range of log 4; rate 1 has none.
    losses = np.empty((2, 3, 5))
    losses[0] = np.array([0.1, 0.2, 0.4])[:, None]
    losses[1] = 0.5
    spread = _batch_norm._spread(losses)
    assert spread.values.shape == resamples(5).shape
    np.testing.assert_allclose(spread.values, np.log(4))
    assert not spread.capped.any()
    losses[0, 2, 3] = np.inf
    assert _batch_norm._spread(losses).capped[0].tolist() == [False] * 3 + [True, False]
    steady = np.full((2, 3, 5), 0.3)
    narrowed = _batch_norm._narrowed(losses, steady)
    assert narrowed.at_least[0].sum() == 1
    assert not narrowed.at_most.any()


def test_narrowing_is_the_range_without_less_that_with_it():
    wide = np.array([0.1, 0.2, 0.8])[None, :, None] * np.ones((1, 3, 4))
    narrow = np.array([0.1, 0.1, 0.2])[None, :, None] * np.ones((1, 3, 4))
    narrowed = _batch_norm._narrowed(wide, narrow)
    np.testing.assert_allclose(narrowed.values, np.log(8) - np.log(2))
    small = narrowed._replace(values=narrowed.values / 4)
    effect = _batch_norm._narrowed_over_relu(narrowed, narrowed, small)
    np.testing.assert_allclose(effect.value, 0.75 * np.log(4))
    np.testing.assert_allclose(_batch_norm._mean_narrowed([narrowed, small]).value, 0.866434)


def test_the_time_of_a_size_is_that_of_its_pick_with_whether_it_arrived():
    values = np.array([[1.0, 1.0, 1.0, 5.0], [3.0, 3.0, 3.0, 3.0]])
    capped = np.array([[False, False, False, True], [False] * 4])
    picked = _batch_size._picked(Cost(values, capped))
    assert picked.values[0].tolist() == [1.0, 1.0, 1.0, 5.0]
    assert picked.capped[0].tolist() == [False, False, False, True]
    assert picked.values.shape == resamples(4).shape


@pytest.mark.exhaustive
def test_critical_rates_of_a_quadratic_are_those_of_the_formula(key):
    h, centres = 0.5, jax.random.normal(key, (16, 3))
    point = jnp.array([1.0, -2.0, 0.5])
    losses = lambda w: h / 2 * jnp.sum((w[None] - centres) ** 2, 1)
    found = _single_steps._stability(losses, point, 16)
    mean = point - centres.mean(0)
    spread = ((centres - centres.mean(0)[None]) ** 2).sum(1).mean() / (mean**2).sum()
    np.testing.assert_allclose(found.spread, spread, rtol=1e-4)
    np.testing.assert_allclose(found.full, 2 / h, rtol=1e-3)
    np.testing.assert_allclose(found.one, 2 / h / (1 + spread), rtol=1e-3)
    assert found.raised_low <= found.raised
    equal = lambda w: h / 2 * jnp.sum((w[None] - centres[:1]) ** 2) * jnp.ones(4)
    alike = _single_steps._stability(equal, point, 4)
    np.testing.assert_allclose(alike.spread, 0.0, atol=1e-6)
    np.testing.assert_allclose(alike.one, alike.full, rtol=1e-3)


@pytest.mark.exhaustive
def test_of_equal_examples_a_step_of_one_does_what_a_step_of_all_does(key):
    n = _twenty_examples.EXAMPLES
    data = np.ones((n, 4), np.float32), np.full(n, 3)
    one, full = (
        _twenty_examples._training(data, size, 5, 1)(key, jnp.float32(0.3), None) for size in (1, n)
    )
    np.testing.assert_allclose(one, full, rtol=1e-4)
    assert one[-1] < one[0]


def test_steps_to_the_target_are_counted_from_one():
    losses = np.full((2, 3, 4), 1.0)
    losses[1, :, 2] = 0.05
    cost = _twenty_examples._steps_to_target(losses)
    assert cost.values[0].tolist() == [3.0, 3.0, 3.0]
    assert not cost.capped[0].any()
    np.testing.assert_array_equal(
        _twenty_examples._of_best(losses, np.array([1, 3])), [[1.0, 0.05]] * 3
    )


@pytest.mark.parametrize("name", list(_depth.MODELS))
def test_a_depth_is_a_number_of_activations(name, key):
    x = jnp.ones((2, 5))
    for depth in _depth.DEPTHS:
        model = _depth.MODELS[name](depth)
        params = jax.eval_shape(lambda key, model=model: model.init(key, x, train=False), key)
        affine = sum(layer.startswith("Dense") for layer in params["params"])
        # The output layer has none, nor the map to the width of residual blocks, nor their last.
        assert affine == (2 + depth if name == "residual sums" else 1 + depth)


def test_good_rates_are_those_within_a_quarter_of_the_tuned_loss():
    losses = np.array([1.0, 0.44, 0.4, 0.45, np.nan])[:, None] * np.ones(3)
    excess = np.exp(_adagrad_rate._log_excess(losses))
    np.testing.assert_allclose(excess[:, 0, 0], [2.5, 1.1, 1.0, 1.125, 2.5])
    assert _adagrad_rate._good_decades(excess, 0.5)[0].tolist() == [1.5] * 3


def test_bytes_of_a_step_are_its_arguments_where_the_result_overwrites_them():
    step = lambda state, batch: state + batch.sum()
    found = bytes_at_once(step, jnp.ones(1000, jnp.float32), jnp.ones(50, jnp.float32))
    assert 4 * 1050 <= found < 4 * 1050 + 200


def test_adam_with_a_long_memory_finds_the_best_point_where_a_short_one_ends_at_the_worst(key):
    end = lambda b2: _adam_convergence._path(
        adam, _adam_convergence._in_turn, {"alpha": 0.5, "b1": 0.0, "b2": b2}, 3000
    )(key, None, None)[-1]
    assert end(0.1) > 0.9
    assert end(0.999) < -0.9


def test_a_distribution_shifts_by_its_mean_in_deviations_and_by_the_ratio_of_these():
    m, s = jnp.zeros((2, 3)), 2 * jnp.ones((2, 3))
    assert _covariate_shift._shift((m, s), (m, s)) == 0
    np.testing.assert_allclose(_covariate_shift._shift((m, s), (m + 6, s)), 3.0)
    np.testing.assert_allclose(_covariate_shift._shift((m, s), (m, s * jnp.e)), 1.0, rtol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", [None, "batch"])
def test_gradients_shift_only_if_layers_below_have_moved(norm, key):
    x = jax.random.normal(key, (16, 4))
    layers = _covariate_shift.LAYERS
    model = MLP(3, (5,) * layers, activation="tanh", normalization=norm)
    task = linen_task(model, x[:1], problem("multiclass"))
    state = init_state(task, sgd(0.1), key)
    batch = Batch(x, jnp.arange(16) % 3)
    shift = lambda params: _covariate_shift._gradient_shift(task, state, params, batch)
    assert shift(state.params) == 0
    last = f"Dense_{layers}"
    moved = jax.tree.map(lambda x: x + 0.1, state.params)
    assert shift(state.params | {last: moved[last]}) == 0
    assert shift(moved) > 0
    m, s = _covariate_shift._inside(model, state, x)
    assert m.shape == s.shape == (layers, 5)
    if norm:
        np.testing.assert_allclose(m, 0.0, atol=1e-5)
        np.testing.assert_allclose(s, 1.0, rtol=0.05)


def test_boundaries_have_the_length_of_the_curve():
    x, y = np.meshgrid(_decision_boundary.X, _decision_boundary.Y)
    length = lambda logits: _decision_boundary.curve_length(_decision_boundary.boundary(logits))
    np.testing.assert_allclose(length(x - 0.3), 7.0)
    np.testing.assert_allclose(length(np.hypot(x, y) - 2), 4 * np.pi, rtol=0.01)
    # Two pieces, between which nothing is counted.
    np.testing.assert_allclose(length((x - 0.3) * (x + 0.3)), 14.0, rtol=0.01)
    assert length(np.ones_like(x)) == _decision_boundary.X[1] - _decision_boundary.X[0]


def test_the_true_logit_is_that_of_the_mixture():
    centres = jnp.array([[[1.0, 0.0]] * 10, [[0.0, 1.0]] * 10])
    points = jnp.array([[0.5, 0.5], [0.0, 1.0]])
    # Equal centres: log of exp(-0) over exp(-2 / 0.4)
    found = _decision_boundary._true_logit(centres, points)
    np.testing.assert_allclose(found, [0.0, 5.0], atol=1e-5)


def test_l2_leaves_of_each_component_what_its_curvature_says():
    axes = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    hessian, optimum = axes @ jnp.diag(jnp.array([0.5, 4.0])) @ axes.T, axes @ jnp.array([3.0, 2.0])
    shrunk = _l2_contours.shrunk(hessian, optimum, 1.0)
    np.testing.assert_allclose(axes.T @ shrunk, [1.0, 1.6], rtol=1e-5)
    np.testing.assert_allclose((hessian + jnp.eye(2)) @ shrunk, hessian @ optimum, rtol=1e-5)
    # The contours touch: the gradient of the loss points to the origin.
    gradient = hessian @ (shrunk - optimum)
    np.testing.assert_allclose(gradient, -shrunk, rtol=1e-5)


def test_smaller_models_are_smaller():
    units, layers = _smaller_models.SMALLER.values()
    large = _smaller_models.LARGE
    assert all(len(own) == len(large) and max(own) < min(large) for own in units)
    assert all(len(own) < len(large) and set(own) <= set(large) for own in layers)
