"""Standard errors count folds, not trainings; configurations are compared fold by fold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxopt_course.data import k_fold
from jaxopt_course.studies import (
    Float,
    best_configuration,
    cross_validate,
    paired_differences,
    reevaluate,
    search,
)


FOLDS = k_fold(jax.random.key(0), np.arange(6), 3)
SPACE = {"x": Float(0.0, 1.0)}
LEVEL = 0.95


def searched(folds=FOLDS, seeds=2, points=(0.0, 0.25, 1.0)):
    """A search whose scores are a fold's own number, a seed's own, and x."""

    def score(key, hyperparameters, rows):
        of_fold = 0.0 if rows is None else jnp.sum(rows.validation).astype(float)
        return hyperparameters["x"] + of_fold + jax.random.normal(key)

    method = np.array(points)[:, None]
    return search(
        score,
        SPACE,
        key=jax.random.key(1),
        folds=folds,
        seeds=seeds,
        method=method,
        metric=lambda score: score,
        progress=False,
    )


def test_a_table_by_hand():
    """Fold means 2, 4, 9 and 3, 7, 8: means 5 and 6, variances 13 and 7; differences 1, 3, -1."""
    scores = np.array([[[1.0, 3], [4, 4], [8, 10]], [[3, 3], [6, 8], [8, 8]]])
    found = paired_differences(scores, 0)
    np.testing.assert_allclose(found.means, [0, 1])
    np.testing.assert_allclose(found.standard_errors, [0, np.sqrt(4 / 3)])
    width = 4.302652729911275 * np.sqrt(4 / 3)  # the 97.5 % quantile of t with 2 degrees
    np.testing.assert_allclose(found.low, [0, 1 - width], rtol=1e-9)
    np.testing.assert_allclose(found.high, [0, 1 + width], rtol=1e-9)
    test = stats.ttest_rel([3.0, 7, 8], [2.0, 4, 9])
    interval = test.confidence_interval(LEVEL)
    np.testing.assert_allclose([found.low[1], found.high[1]], interval, rtol=1e-9)
    assert str(found) == "1 against 0: 1, 95 % [-3.968, 5.968]"


@pytest.mark.parametrize("folds", [FOLDS, None])
def test_a_search_takes_its_errors_over_folds_or_else_over_seeds(folds):
    result = searched(folds, seeds=4)
    units = result.scores[:, 0] if folds is None else result.scores.mean(2)
    expected = stats.sem(units, axis=1)
    np.testing.assert_allclose(result.standard_errors, expected)
    assert best_configuration(result).standard_error == pytest.approx(expected[result.best])
    found = result.differences
    np.testing.assert_allclose(found.means, [0, 0.25, 1], atol=1e-6)
    # What folds and seeds add is the same for all, and a paired difference does not see it.
    np.testing.assert_allclose(found.standard_errors, 0, atol=1e-6)
    assert str(result).splitlines()[-1].startswith("0 of the other 2 configurations cannot be")


def test_cross_validation_and_reevaluation_count_folds():
    result = searched()

    def score(key, hyperparameters, rows):
        return jnp.sum(rows.validation).astype(float) + jax.random.normal(key)

    report = cross_validate(
        score, FOLDS, key=jax.random.key(0), seeds=5, metric=lambda score: score
    )
    assert report.standard_error == pytest.approx(stats.sem(report.scores.mean(1)))
    again = reevaluate(score, result, seeds=3, best=2)
    np.testing.assert_allclose(again.standard_errors, stats.sem(again.scores.mean(2), axis=1))


def test_a_single_training_has_no_error():
    result = searched(None, seeds=1)
    assert np.isnan(result.standard_errors).all()
    assert np.isnan(result.differences.low).all()
    assert "cannot be distinguished" not in str(result)


def test_a_failed_training_has_no_difference():
    scores = np.zeros((3, 2, 1))
    scores[1, 0] = np.nan
    found = paired_differences(scores, 0)
    assert np.isnan(found.means).tolist() == [False, True, False]
    assert np.isnan(paired_differences(scores, 1).means).all()


# Each of `REPEATS` studies: scores of folds that differ, of seeds, and of fold and configuration.
REPEATS, N_FOLDS, SEEDS = 4000, 5, 10
SLACK = 4 * np.sqrt(0.95 * 0.05 / REPEATS)  # four standard errors of a share of 95 %


def test_intervals_with_a_fold_effect_cover_what_they_say():
    """The true mean is 0; as if trainings were independent, half of the intervals would miss it."""
    rng = np.random.default_rng(0)
    fold, seed = rng.normal(size=(REPEATS, N_FOLDS, 1)), rng.normal(size=(REPEATS, N_FOLDS, SEEDS))
    scores = fold + 0.5 * seed
    errors = paired_differences(np.concatenate([0 * scores[:1], scores]), 0).standard_errors[1:]
    quantile = stats.t.ppf((1 + LEVEL) / 2, N_FOLDS - 1)
    covered = np.mean(np.abs(scores.mean((1, 2))) <= quantile * errors)
    assert abs(covered - LEVEL) < SLACK
    n = N_FOLDS * SEEDS
    naive = scores.std((1, 2), ddof=1) / np.sqrt(n) * stats.t.ppf((1 + LEVEL) / 2, n - 1)
    assert np.mean(np.abs(scores.mean((1, 2))) <= naive) < 0.6


@pytest.mark.exhaustive
def test_paired_intervals_cover_and_are_narrower_than_unpaired_ones():
    """Two configurations 0.3 apart; a fold is hard for both, and a little more so for one."""
    rng = np.random.default_rng(1)
    fold = 3 * rng.normal(size=(REPEATS, 1, N_FOLDS, 1))
    own = 0.5 * rng.normal(size=(REPEATS, 2, N_FOLDS, 1))
    seed = 0.5 * rng.normal(size=(REPEATS, 2, N_FOLDS, SEEDS))
    scores = fold + own + seed + np.array([0.0, 0.3])[:, None, None]
    found = [paired_differences(study, 0) for study in scores]
    covered = np.mean([low[1] <= 0.3 <= high[1] for *_, low, high in found])
    assert abs(covered - LEVEL) < SLACK
    paired = np.mean([study.standard_errors[1] for study in found])
    unpaired = np.mean(np.hypot(*stats.sem(scores.mean(3), axis=2).T))
    assert paired < unpaired / 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((np.zeros((3, 2)), 0), r"`scores` must have the shape \[configurations, folds, seeds\]"),
        ((np.zeros((3, 2, 1)), 3), r"`reference` must lie in \[0, 3\), got 3"),
        ((np.zeros((3, 2, 1)), 0, 1.0), r"`level` must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=f"^paired_differences: {sentence}"):
        paired_differences(*arguments)
