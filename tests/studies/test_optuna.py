"""Optuna's samplers by rounds, and results handed on to Optuna."""

import functools

import jax.numpy as jnp
import numpy as np
import optuna
import pytest

from jaxopt_course.studies import (
    Choice,
    Float,
    Int,
    configuration_at,
    importance,
    search,
    to_optuna,
)

from .problems import FOLDS, SPACE, descend


quietly = functools.partial(search, progress=False, strategy="map")
BOWL = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0), "z": Float(-1.0, 1.0)}


def bowl(key, hyperparameters, rows):
    return (
        10 * (hyperparameters["x"] - 0.3) ** 2
        + (hyperparameters["y"] + 0.5) ** 2
        + 0 * hyperparameters["z"]
    )


def test_tpe_learns_from_round_to_round(key):
    result = quietly(bowl, BOWL, key=key, trials=96, method="tpe", rounds=12, metric=lambda x: x)
    rounds = np.median(result.values.reshape(12, 8), axis=1)
    assert rounds[-4:].mean() < 0.3 * rounds[:2].mean()
    again = quietly(bowl, BOWL, key=key, trials=96, method="tpe", rounds=12, metric=lambda x: x)
    np.testing.assert_array_equal(again.points, result.points)


def test_tpe_maximizes_keeps_away_from_failures_and_chooses(key):
    """The best option is the third; x above 0 fails."""
    space = {"x": Float(-1.0, 1.0), "n": Int(1, 4), "option": Choice([0.0, 1.0, 5.0])}

    def train(key, hyperparameters, rows):
        x, n = hyperparameters["x"], hyperparameters["n"]
        score = x + hyperparameters["option"] + 0.1 * n.astype(x.dtype)
        return jnp.where(x > 0, jnp.nan, score)

    result = quietly(
        train, space, key=key, trials=96, method="tpe", rounds=12, metric=lambda x: x, mode="max"
    )
    assert result.points.shape == (96, 3)
    best = result.configurations[result.best]
    assert best["option"] == 5.0
    assert best["x"] > -0.3
    failed = np.isnan(result.values)
    assert failed[:8].any()
    assert failed[16:].mean() < 0.4  # half of the space fails, and the best lies at its border


def test_gp_learns_or_says_what_it_lacks(key):
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ModuleNotFoundError, match="'gp' needs torch"):
            quietly(bowl, BOWL, key=key, trials=24, method="gp", rounds=8, metric=lambda x: x)
        return
    result = quietly(bowl, BOWL, key=key, trials=24, method="gp", rounds=8, metric=lambda x: x)
    assert np.median(result.values[-6:]) < 0.3 * np.median(result.values[:6])


def test_a_result_becomes_an_optuna_study(key):
    space = SPACE | {"n": Int(1, 8, log=True), "option": Choice([None, "a", 2.0, (1, 2)])}

    def train(key, hyperparameters, rows):
        rate = hyperparameters["rate"] + 0.0 * jnp.asarray(hyperparameters["n"], float)
        return descend(key, {"rate": rate}, rows)

    result = quietly(train, space, key=key, trials=16, seeds=2, folds=FOLDS)
    study = to_optuna(result)
    failed = np.isnan(result.values)
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL" if f else "COMPLETE" for f in failed]
    assert 0 < failed.sum() < 16
    assert study.best_trial.number == result.best
    assert study.best_value == result.values[result.best]
    for trial, configuration in zip(study.trials, result.configurations, strict=True):
        assert trial.params["rate"] == configuration["rate"]
        assert trial.params["n"] == configuration["n"]
        option = configuration["option"]
        assert trial.params["option"] == (option if option in ("a", 2.0) else str(option))
    curve = result.history["validation_loss"][result.best].mean((0, 1))
    assert study.best_trial.intermediate_values == pytest.approx(
        dict(zip((1, 2, 3), curve, strict=True))
    )
    assert study.best_trial.user_attrs["standard_error"] == result.standard_errors[result.best]
    maximal = quietly(train, space, key=key, trials=2, metric="accuracy", mode="max")
    assert to_optuna(maximal).direction == optuna.study.StudyDirection.MAXIMIZE


def test_what_matters_is_found_important(key):
    """x counts tenfold, y once, z not at all."""
    result = quietly(bowl, BOWL, key=key, trials=256, metric=lambda x: x, strategy="vmap")
    shares = importance(result)
    assert next(iter(shares)) == "x"
    assert shares["x"] > 3 * shares["z"]
    assert sum(shares.values()) == pytest.approx(1)
    few = quietly(bowl, BOWL, key=key, trials=1, metric=lambda x: x)
    with pytest.raises(ValueError, match="must have at least 2 scores, got 1"):
        importance(few)


def test_points_of_ones_own_are_tried_as_they_are(key):
    points = np.array([[0.65, 0.25, 0.0], [0.0, 0.0, 0.0]])
    result = quietly(bowl, BOWL, key=key, method=points, metric=lambda x: x)
    assert result.best == 0
    assert result.configurations[0] == configuration_at(BOWL, points[0])
