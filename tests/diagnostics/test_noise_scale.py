"""The gradient noise scale: closed forms of linear regression, and every batch there is."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import noise_scale
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task
from jaxopt_course.training import fit, init_state
from jaxopt_course.transforms import MultiSteps, chain, measure_noise_scale, monitor


KEY = jax.random.key(0)
WEIGHTS = np.array([0.7, -1.1])  # away from the optimum, which is 0
SIGMA = 0.6


def regression(weights=WEIGHTS):
    """The squared error of a linear model at these weights."""
    init = lambda key: jnp.asarray(weights)
    return function_task(init, lambda w, x: (x @ w)[:, None], problem("regression"))


def gaussian_moments():
    """Rows (x, noise) of equal weight, with all moments of a Gaussian up to the fifth.

    They are the nodes of Gauss-Hermite quadrature with 3 points, 0 with weight 4/6 and +- sqrt(3)
    with weight 1/6, along each of three axes.
    """
    nodes = np.array([0, 0, 0, 0, 1, -1]) * np.sqrt(3)
    rows = np.array(list(itertools.product(nodes, repeat=3)))
    return rows[:, :2], SIGMA * rows[:, 2:]


def report_of(inputs, targets, **options):
    task = regression()
    state = init_state(task, sgd(0.1), KEY)
    return noise_scale(task, state, Batch(jnp.asarray(inputs), jnp.asarray(targets)), **options)


def gradients(inputs, targets, weights=WEIGHTS):
    return 2 * inputs * (inputs @ weights[:, None] - targets)


def test_linear_regression_has_the_noise_scale_of_the_closed_form():
    """g = 2 x (x.w - e) with x and e standard normal has G = 2 w, E|g|^2 = 4 ((d+2)|w|^2 + d s^2).

    Hence tr(S) / |G|^2 = d + 1 + d s^2 / |w|^2. The rows are the whole distribution here, so the
    estimates for samples differ from it by the factor n / (n - 1) and by tr(S) / n.
    """
    d, square = 2, WEIGHTS @ WEIGHTS
    inputs, targets = gaussian_moments()
    report, n = report_of(inputs, targets), len(inputs)
    trace = report.trace * (n - 1) / n
    squared_norm = report.squared_norm + report.trace / n
    np.testing.assert_allclose(squared_norm, 4 * square, rtol=1e-10)
    np.testing.assert_allclose(trace, 4 * ((d + 1) * square + d * SIGMA**2), rtol=1e-10)
    closed = d + 1 + d * SIGMA**2 / square
    np.testing.assert_allclose(trace / squared_norm, closed, rtol=1e-10)


@pytest.mark.parametrize("group_size", [1, 4])
def test_estimates_and_standard_errors_are_those_of_their_definitions(group_size):
    """In NumPy: covariances of group means, two batch sizes, and leaving out each group."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    groups = gradients(inputs, targets).reshape(-1, group_size, 2).mean(axis=1)

    def defined(groups):
        big = len(groups) * group_size
        trace = group_size * np.trace(np.cov(groups.T))
        small_square = np.mean(np.sum(groups**2, axis=1))
        big_square = np.sum(groups.mean(axis=0) ** 2)
        squared_norm = (big * big_square - group_size * small_square) / (big - group_size)
        of_sizes = (small_square - big_square) / (1 / group_size - 1 / big)
        np.testing.assert_allclose(of_sizes, trace, rtol=1e-10)
        return np.array([trace / squared_norm, trace, squared_norm])

    report = report_of(inputs, targets, group_size=group_size)
    np.testing.assert_allclose(report[:3], defined(groups), rtol=1e-10)
    without = [defined(np.delete(groups, k, axis=0)) for k in range(len(groups))]
    jackknife = np.sqrt((len(groups) - 1) * np.var(without, axis=0))
    np.testing.assert_allclose(list(report.standard_errors.values()), jackknife, rtol=1e-9)
    assert (report.groups, report.group_size) == (len(groups), group_size)


def final(gradients, **options):
    """The measurement after these gradients, steps first, by the transformation."""
    tx = measure_noise_scale(**options)
    body = lambda state, g: tx.update(g, state)[::-1]
    _, found = jax.lax.scan(body, tx.init(gradients[0]), gradients)
    return jax.tree.map(lambda x: x[-1], found)


def test_the_monitor_is_unbiased_over_all_batches():
    """The mean over every sequence of three batches of one example is that of the distribution."""
    rows = gradients(*(x[[0, 5, 30, 215]] + 0.1 for x in gaussian_moments()))
    sequences = jnp.asarray([rows[list(i)] for i in itertools.product(range(4), repeat=3)])
    found = jax.vmap(lambda g: final(g, batch_size=1, k=3))(sequences)
    trace = np.sum(np.var(rows, axis=0))
    np.testing.assert_allclose(np.mean(found["trace"]), trace, rtol=1e-10)
    np.testing.assert_allclose(
        np.mean(found["squared_norm"]), np.sum(rows.mean(axis=0) ** 2), rtol=1e-10
    )


def test_the_monitor_averages_the_estimates_of_the_diagnostic():
    """Groups of 4 steps of batches of 5; an incomplete group is ignored."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(3, 20, 2)), rng.normal(size=(3, 20, 1))
    means = np.stack([gradients(x, y) for x, y in zip(inputs, targets, strict=True)])
    steps = means.reshape(12, 5, 2).mean(axis=1)
    found = final(jnp.asarray(np.append(steps, [[9.0, 9.0]], axis=0)), batch_size=5, k=4, decay=0.9)
    reports = [report_of(x, y, group_size=5) for x, y in zip(inputs, targets, strict=True)]
    weights = 0.1 * 0.9 ** np.array([2, 1, 0]) / (1 - 0.9**3)
    expected = {
        name: sum(w * getattr(r, name) for w, r in zip(weights, reports, strict=True))
        for name in ("trace", "squared_norm")
    }
    expected["noise_scale"] = expected["trace"] / expected["squared_norm"]
    chex.assert_trees_all_close(found, expected, rtol=1e-10)


def test_a_training_measures_it_in_front_of_an_accumulation():
    """With a rate of 0, batches of 4 of 216 rows: within 5 standard errors of the closed form."""
    measure = monitor({"noise": measure_noise_scale(4, k=8, decay=0.999)})
    optimizer = chain(measure, MultiSteps(sgd(0.0), 8))
    data = gaussian_moments()
    options = {"key": KEY, "batch_size": 4, "steps": 1600, "progress": False}
    run = fit(regression(), optimizer, data, **options)
    noise = run.state.opt_state[0].measurements["noise"]
    report = report_of(*data)
    for name in ("trace", "squared_norm"):
        error = report.standard_errors[name] * np.sqrt(216 / (4 * 1600))
        assert abs(float(noise[name]) - getattr(report, name)) < 5 * error


def test_the_report_says_what_it_means():
    inputs, targets = gaussian_moments()
    report = report_of(inputs, targets)
    assert "B_simple = tr(S) / |G|^2: 3.5 +- 0.39 examples" in str(report)
    assert "Batches well below 3.5 examples are mostly noise" in str(report)
    few = report._replace(standard_errors=report.standard_errors | {"squared_norm": 10.0})
    assert "not distinguished from 0 with 216 examples" in str(few)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (jnp.ones(6), {}, "noise_scale: `batch` must have no weights"),
        (None, {"group_size": 4}, "noise_scale: `group_size` must divide the 6 rows"),
        (None, {"group_size": 3}, "into at least 3 groups, got 3"),
        (None, {"group_size": 0}, r"noise_scale: `group_size` must lie in \[1, inf\), got 0"),
    ],
)
def test_bad_batches_are_refused(weights, options, message):
    task = regression()
    batch = Batch(jnp.ones((6, 2)), jnp.ones((6, 1)), weights)
    with pytest.raises(ValueError, match=message):
        noise_scale(task, init_state(task, sgd(0.1), KEY), batch, **options)
