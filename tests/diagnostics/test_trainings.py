"""Diagnostics that train: rates, bias and variance; and what curves and planes say."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import (
    LearningRateRangeReport,
    bias_variance,
    diagnose,
    filter_normalized_direction,
    learning_rate_range,
    loss_landscape,
)
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from jaxopt_course.training import make_train


def quadratic_train(steps=20):
    """One example, loss (w - 1)^2: gradient descent diverges from a rate of 1 on."""
    task = function_task(lambda key: jnp.zeros((1, 1)), lambda w, x: x @ w, problem("regression"))
    build = lambda hyperparameters: (task, sgd(hyperparameters["learning_rate"]))
    return make_train(
        build, (jnp.ones((1, 1)), jnp.ones((1, 1))), steps=steps, batch_size=1, evaluate_every=1
    )


def test_the_best_rate_of_a_quadratic_is_found(key):
    """(1 - 2 eta)^2 a step: 1/2 is best, above 1 it grows."""
    report = learning_rate_range(quadratic_train(), key=key, low=1e-3, high=1e3, points=61)
    assert 0.4 < report.suggested < 0.6
    low, high = report.usable
    assert low < 0.1
    assert 0.7 < high < 1.0  # (1 - 2 eta)^40 < 1/2 up to 0.99, on a grid of ratio 1.26
    assert np.isnan(report.losses[-1]) or report.losses[-1] > 1e6
    assert "has the lowest loss" in str(report)
    first = learning_rate_range(quadratic_train(), key=key, low=1e-6, high=1e-4, points=3)
    assert "widen it" in str(first)


def test_rates_that_all_diverge_are_said_to(key):
    report = learning_rate_range(quadratic_train(500), key=key, low=1e3, high=1e4, points=3)
    assert np.isnan(report.suggested)
    assert np.isnan(report.usable).all()
    assert "diverge" in str(report)


@pytest.mark.parametrize(
    ("losses", "usable", "said"),
    [
        ([0.9, 0.2, 0.1, 0.2, np.nan], (1e-3, 1e-1), "rates from 1.0e-03 to 1.0e-01 lower it"),
        # What lies between two good rates and is bad itself parts them.
        ([0.2, 0.9, 0.1, 0.2, 2.0], (1e-2, 1e-1), "rates from 1.0e-02 to 1.0e-01 lower it"),
        ([0.3, 0.9, np.nan, 0.1, 0.1], (1e-1, 1.0), "rates from 1.0e-01 to 1.0e+00 lower it"),
        ([1.0, 1.2, 5.0, np.nan, np.nan], (np.nan, np.nan), "No rate from 1.0e-04 to 1.0e+00 low"),
    ],
)
def test_usable_rates_lie_side_by_side_and_lower_the_loss(losses, usable, said):
    report = LearningRateRangeReport(10.0 ** np.arange(-4, 1), np.array(losses), 1.0)
    np.testing.assert_allclose(report.usable, usable, rtol=1e-12)
    assert said in str(report)


N, POINTS, NOISE = 60, 400, 0.3


def polynomial(degree):
    """Least squares on bootstrap samples of a noisy sine; predictions at other points."""
    x, at = np.linspace(-1, 1, N), np.linspace(-0.95, 0.95, POINTS)
    rng = np.random.default_rng(0)
    y = np.sin(4 * x) + NOISE * rng.normal(size=N)
    targets = np.sin(4 * at) + NOISE * rng.normal(size=POINTS)
    basis = lambda x: jnp.asarray(np.polynomial.legendre.legvander(x, degree))
    features, wanted = basis(x), basis(at)

    def predict(key, hyperparameters, rows):
        root = jnp.sqrt(rows.weights)[:, None]
        return wanted @ jnp.linalg.lstsq(root * features, root[:, 0] * y)[0]

    return predict, targets, np.sin(4 * at)


@pytest.mark.exhaustive
def test_bias_falls_and_variance_rises_with_capacity_and_the_parts_add_up(key):
    """Course 5, bias-variance decomposition of the squared error over bootstrap trainings."""
    reports = {}
    for degree in (1, 5, 15):
        predict, targets, truth = polynomial(degree)
        report = bias_variance(predict, np.arange(N), targets, key=key, truth=truth, trainings=200)
        reports[degree] = report
        parts = report.bias_squared + report.variance + report.noise
        # The rest is the draw of the noise of the test points, and is counted as such: the sides
        # of the printed equation agree to its four digits.
        assert abs(report.chance) < 3 * report.standard_errors["chance"]
        np.testing.assert_allclose(parts + report.chance, report.error)
        numbers = [float(x) for x in re.findall(r"(-?[\d.e-]+) \+-", str(report))]
        assert len(numbers) == 5
        np.testing.assert_allclose(numbers[0], sum(numbers[1:]), rtol=1e-3)
        # without the truth nothing is left over: the noise is bias
        whole = bias_variance(predict, np.arange(N), targets, key=key, trainings=200)
        assert whole.noise == 0
        np.testing.assert_allclose(whole.bias_squared + whole.variance, whole.error, rtol=1e-10)
    assert reports[1].bias_squared > 10 * reports[5].bias_squared
    assert reports[15].variance > 2 * reports[5].variance
    np.testing.assert_allclose(reports[1].noise, NOISE**2, rtol=0.25)  # 3 sqrt(2 / 400)
    assert "bias^2" in str(reports[1])


def test_predictions_of_another_shape_are_refused(key):
    with pytest.raises(ValueError, match=r"must return one number for each .*\(3,\), got .*\(2,\)"):
        bias_variance(lambda *_: jnp.zeros(2), np.arange(4), np.zeros(3), key=key, trainings=2)


def test_a_column_of_truth_is_not_spread_over_all_targets(key, as_users_run_it):
    with pytest.raises(ValueError, match=r"`truth` must have the shape of .*\(3,\), got \(3, 1\)"):
        bias_variance(None, np.arange(4), np.zeros(3), key=key, truth=np.zeros((3, 1)))


T = np.arange(40)
CURVES = {
    "good": ({"loss": np.exp(-T / 4), "validation_loss": 0.09 + np.exp(-T / 4)}, ["good"]),
    "bad on training data": ({"loss": 1 - 0.3 * (1 - np.exp(-T / 4))}, ["underfitting"]),
    "bad on validation only": (
        {"loss": np.exp(-T / 4), "validation_loss": np.exp(-T / 4) + (T / 40) ** 2},
        ["overfitting"],
    ),
    "good on training data, bad on others from the start": (
        {"loss": 10.0 ** -(14 * T / 39), "validation_loss": np.full(40, 1.0)},
        ["overfitting"],
    ),
    "a gap of more than a tenth of what there is to win": (
        {"loss": np.exp(-T / 4), "validation_loss": 0.12 + 0.88 * np.exp(-T / 4)},
        ["overfitting"],
    ),
    "bad on both": (
        {"loss": 1 - 0.3 * (1 - np.exp(-T / 4)), "validation_loss": 1.0 + 0.2 * T / 39},
        ["underfitting", "overfitting"],
    ),
    "equally bad on both": (
        {"loss": 1 - 0.3 * (1 - np.exp(-T / 4)), "validation_loss": 1.05 - 0.3 * T / 39},
        ["underfitting"],
    ),
    "a rise without a gap": (
        {
            "loss": 0.5 * np.exp(-T / 4) + 0.4,
            "validation_loss": 0.3 + 0.6 * np.exp(-T / 4) + 0.15 * (T / 39) ** 4,
        },
        ["overfitting"],
    ),
    "just less than half of what there is": ({"loss": 1 - 0.49 * (1 - 0.5**T)}, ["underfitting"]),
    "just more than half of it": ({"loss": 1 - 0.51 * (1 - 0.5**T)}, ["good"]),
    "of accuracies": (
        {"accuracy": 1 - 0.9 * 0.5**T, "validation_accuracy": 0.8 - 0.7 * 0.5**T},
        ["overfitting"],
    ),
    "of low accuracies": ({"accuracy": 0.4 - 0.3 * 0.5**T}, ["underfitting"]),
    "of good accuracies": (
        {"accuracy": 1 - 0.9 * 0.5**T, "validation_accuracy": 0.95 - 0.8 * 0.5**T},
        ["good"],
    ),
    "a gap of the accuracy that the loss does not show": (
        {
            "loss": 0.5**T,
            "validation_loss": 0.5**T,
            "accuracy": 1 - 0.5**T,
            "validation_accuracy": 0.7 - 0.5**T,
        },
        ["overfitting"],
    ),
    "validation to infinity": (
        {"loss": np.exp(-T / 4), "validation_loss": np.where(T > 20, np.nan, 1.0)},
        ["diverged"],
    ),
    "slow": ({"loss": 1 - 0.7 * T / 39}, ["learning rate too small"]),
    "up and down": (
        {"loss": 0.4 + 0.6 * np.exp(-T / 4) + 0.1 * (-1.0) ** T, "validation_loss": 0.0 * T},
        ["learning rate too large"],
    ),
    "noisy": (
        {"loss": np.exp(-T / 8) + 0.03 * np.random.default_rng(0).normal(size=40)},
        ["batch too small"],
    ),
    "to infinity": ({"loss": [1.0, 2.0, 4.0, 8.0, np.inf]}, ["diverged"]),
    "to infinity at once": ({"loss": [1.0, np.inf]}, ["diverged"]),
    "stopped": ({"loss": [*np.exp(-T / 4), *[np.nan] * 9]}, ["good"]),
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_read_as_the_course_reads_them(name):
    """Course 5, diagnose: underfitting, overfitting, too slow, too noisy, with the remedies."""
    history, expected = CURVES[name]
    report = diagnose(history)
    assert report.names == expected
    assert report.findings[0].remedy in str(report)


@pytest.mark.parametrize("attainable", [0.0, 0.4])
@pytest.mark.parametrize("won", [0.45, 0.55])
def test_underfitting_is_to_win_less_than_half_of_what_is_attainable(won, attainable):
    loss = 1 - won * (1 - attainable) * (1 - 0.5**T)
    found = diagnose({"loss": loss}, attainable=attainable).names
    assert ("underfitting" in found) == (won < 0.5)


def test_the_evidence_names_the_numbers_as_the_history_has_them():
    history = {"accuracy": 1 - 0.9 * 0.5**T, "validation_accuracy": 0.8 - 0.7 * 0.5**T}
    text = str(diagnose(history))
    assert "the accuracy ended at 1 on training and at 0.8 on validation data." in text
    rising = {"loss": np.exp(-T / 4), "validation_loss": np.exp(-T / 4) + (T / 39) ** 2}
    text = str(diagnose(rising))
    assert "ended at 5.83e-05 on training and at 1 on validation data, and the validation" in text
    assert "the validation loss was" in text
    assert "ended at 1." in text
    for remedy in ("more data", "augment", "regularize", "smaller model", "stop early"):
        assert remedy in text


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match=r"must have 'loss' or 'accuracy', got \['error'\]"):
        diagnose({"error": [1.0]})
    with pytest.raises(ValueError, match="must have 4 evaluations or more, got 1"):
        diagnose({"accuracy": [1.0]})
    with pytest.raises(ValueError, match="must have 4 evaluations or more, got 2"):
        diagnose({"loss": [1.0, 0.5, np.nan, np.nan, np.nan]})


def test_a_plane_shows_the_loss_and_the_path_on_it(key):
    curvature = {"a": jnp.array([1.0, 9.0]), "b": jnp.array([4.0])}
    loss = lambda w: sum(jnp.sum(curvature[k] * w[k] ** 2) for k in w)
    middle = {"a": jnp.array([1.0, 0.0]), "b": jnp.zeros(1)}
    directions = (
        {"a": jnp.array([1.0, 0.0]), "b": jnp.zeros(1)},
        {"a": jnp.zeros(2), "b": jnp.array([2.0])},
    )
    path = {"a": jnp.array([[1.0, 5.0], [0.5, 0.0]]), "b": jnp.array([[0.0], [1.0]])}
    land = loss_landscape(loss, middle, directions, span=2, points=5, path=path)
    first, second = np.meshgrid(land.first, land.second, indexing="ij")
    np.testing.assert_allclose(land.losses, (1 + first) ** 2 + 4 * (2 * second) ** 2)
    np.testing.assert_allclose(land.path, [[0, 0], [-0.5, 0.5]], atol=1e-12)
    assert "(-1, 0)" in str(land)
    assert "No loss" in str(land._replace(losses=np.full((5, 5), np.nan)))
    holed = land.losses.copy()
    holed[0, :2] = np.nan, np.inf
    assert "inf" not in str(land._replace(losses=holed))
    assert "2 of 25 are not finite." in str(land._replace(losses=holed))


def test_filters_of_a_direction_have_the_norms_of_the_parameters(key):
    params = {"kernel": jax.random.normal(key, (3, 3, 2, 4)), "bias": jnp.ones(4)}
    direction = filter_normalized_direction(key, params)
    norms = lambda x: np.linalg.norm(np.asarray(x).reshape(-1, 4), axis=0)
    np.testing.assert_allclose(norms(direction["kernel"]), norms(params["kernel"]), rtol=1e-12)
    np.testing.assert_array_equal(direction["bias"], 0)
    assert not np.allclose(direction["kernel"], params["kernel"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda key: learning_rate_range(None, key=key, low=0.0), r"`low` must lie in \(0, inf\)"),
        (lambda key: learning_rate_range(None, key=key, low=1.0, high=0.1), "`high` must lie in"),
        (lambda key: learning_rate_range(None, key=key, points=1), r"`points` must lie in \[2"),
        (lambda key: bias_variance(None, [0], [0.0], key=key, trainings=1), "`trainings` must"),
        (lambda key: loss_landscape(None, 1.0, (1.0, 1.0), span=0.0), "`span` must lie in"),
        (lambda key: loss_landscape(None, 1.0, (1.0, 1.0), points=1), "`points` must lie in"),
        (lambda key: loss_landscape(None, jnp.ones(2), (jnp.ones(2), jnp.ones(3))),
         r"loss_landscape: direction has shape \(3,\), parameter has \(2,\)"),
        (lambda key: loss_landscape(None, jnp.ones(2), (jnp.ones(2),) * 2, path=jnp.ones(2)),
         r"loss_landscape: point of the path has shape \(\), parameter has \(2,\)"),
    ],
)  # fmt: skip
def test_bad_arguments_get_a_sentence(call, sentence, key, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        call(key)
