"""Cross-validation, deep ensembles, bagging: the same machinery with other axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import bootstrap_weights, k_fold
from jaxopt_course.diagnostics import bias_variance
from jaxopt_course.studies import bagging, cross_validate, ensemble, out_of_bag

from .problems import FOLDS, descend, expected_scores


def test_cross_validation_is_the_mean_over_folds_and_seeds(key):
    report = cross_validate(descend, FOLDS, key=key, hyperparameters={"rate": 0.3}, seeds=3)
    scores = expected_scores([{"rate": 0.3}], key, range(3))[0]
    np.testing.assert_allclose(report.scores, scores, rtol=1e-6)
    assert report.mean == pytest.approx(scores.mean(), rel=1e-6)
    spread = scores.mean(1).std(ddof=1)  # over folds, within which seeds are averaged
    assert report.standard_error == pytest.approx(spread / np.sqrt(2), rel=1e-6)
    assert report.history["loss"].shape == (2, 3, 3)
    assert str(report).endswith("over 2 folds x 3 seeds")
    diverged = cross_validate(descend, FOLDS, key=key, hyperparameters={"rate": 2.0})
    assert np.isnan(diverged.mean)
    assert "2 trainings failed" in str(diverged)


def test_least_squares_in_folds_errs_as_scikit_learn_says(key):
    """Course 5, k-fold cross-validation, against an independent implementation."""
    sklearn = pytest.importorskip("sklearn.linear_model")
    x = jax.random.normal(jax.random.key(1), (23, 3))
    y = x @ jnp.array([1.0, -2.0, 0.5]) + jax.random.normal(jax.random.key(2), (23,))

    def error(key, hyperparameters, rows):
        a = x[rows.train] * rows.weights[:, None]
        w = jnp.linalg.solve(a.T @ a, a.T @ (y[rows.train] * rows.weights))
        squared = (x[rows.validation] @ w - y[rows.validation]) ** 2
        return jnp.average(squared, None, rows.validation_weights)

    folds = k_fold(key, np.arange(23), 4)
    report = cross_validate(error, folds, key=key, metric=lambda error: error)
    for fold, score in enumerate(report.scores[:, 0]):
        fit, held = (rows[fold][weights[fold] > 0] for rows, weights in (folds[:2], folds[2:]))
        model = sklearn.LinearRegression(fit_intercept=False).fit(x[fit], y[fit])
        np.testing.assert_allclose(
            score, np.mean((model.predict(x[held]) - y[held]) ** 2), rtol=1e-9
        )


def test_an_ensemble_averages_probabilities_and_loses_less_than_its_members(key):
    """Jensen: the cross-entropy of the average is at most the average cross-entropy."""
    predict = lambda key, hyperparameters, rows: jax.nn.softmax(
        hyperparameters["scale"] * jax.random.normal(key, (6, 4))
    )
    found = ensemble(predict, key=key, members=7, hyperparameters={"scale": 2.0})
    assert found.predictions.shape == (7, 6, 4)
    np.testing.assert_allclose(found.mean.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(found.mean, np.mean(found.predictions, 0), rtol=1e-12)
    assert float(found.spread.min()) > 0
    alone = predict(jax.random.fold_in(key, 3), {"scale": 2.0}, None)
    np.testing.assert_allclose(found.predictions[3], alone, rtol=1e-12)
    losses = -jnp.log(found.predictions[:, :, 0]).mean(1)
    assert float(-jnp.log(found.mean[:, 0]).mean()) < float(losses.mean())


@pytest.mark.exhaustive
def test_bags_draw_with_replacement_and_out_of_bag_leaves_out_who_saw_a_row(key):
    """Each member predicts, for a row, how often it drew it: out of the bag that is 0."""
    rows = jnp.arange(30)
    told = lambda key, hyperparameters, rows: rows.weights + hyperparameters
    bags = bagging(told, rows, key=key, members=40, hyperparameters=5.0)
    np.testing.assert_array_equal(bags.weights.sum(1), np.full(40, 30.0))
    assert abs(float((bags.weights == 0).mean()) - np.exp(-1)) < 0.03  # 4.5 deviations
    assert not (bags.weights[0] == bags.weights[1]).all()
    np.testing.assert_array_equal(out_of_bag(bags), np.full(30, 5.0))
    assert float(bags.mean.max()) > 5.5  # as those say who did see it
    with pytest.raises(ValueError, match="must predict the rows it trains on"):
        out_of_bag(bags._replace(predictions=bags.predictions[:, :7]))


@pytest.mark.exhaustive
def test_a_bag_is_drawn_by_another_key_than_its_training():
    """Else what a training draws first would depend on the rows that it sees."""
    rows, key = jnp.arange(30), jax.random.key(7)
    own = lambda key, hyperparameters, rows: bootstrap_weights(key, 30) - rows.weights
    apart = bagging(own, rows, key=key, members=20).predictions
    assert (jnp.abs(apart).max(1) > 0).all()
    keys = lambda key, hyperparameters, rows: jax.random.key_data(key).astype(float)
    assert len(np.unique(bagging(keys, rows, key=key, members=20).predictions, axis=0)) == 20
    report = bias_variance(own, rows, np.zeros(30), key=key, trainings=20)
    assert report.error > 0.5  # counts of variance 1 each: 2 if they are independent
