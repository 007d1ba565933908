"""Tuning by gradients: closed forms, starts that fail, chaos, and forty numbers at once."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.checkpoints import CheckpointMismatchError
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adamw
from jaxopt_course.problems import problem
from jaxopt_course.studies import ChaosWarning, Choice, Float, Int, tune_by_gradient

# Private: a study is broken off between two of its steps.
from jaxopt_course.studies import _tune_by_gradient as tuning
from jaxopt_course.studies._space import space_of
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import Rows, make_train
from jaxopt_course.transforms import partition
from tests.training.problems import N, blobs

from .problems import SPACE, descend, expected_scores


KEY = jax.random.key(0)
tune = functools.partial(
    tune_by_gradient,
    train=descend,
    start={"rate": 0.1},
    space=SPACE,
    key=KEY,
    steps=30,
    metric="loss",
    progress=False,
)


@pytest.fixture(scope="module")
def result():
    """From rates of 0.1, 0.0112 and 2, where the training diverges; 0.5 is best."""
    with pytest.MonkeyPatch.context() as patch:
        starts = np.array([[np.log(10) / np.log(300)], [0.02], [np.log(200) / np.log(300)]])
        patch.setattr(tuning, "sobol_design", lambda key, space, n: starts[1:][:n])
        return tune(starts=3)


def test_the_scores_are_those_of_the_last_evaluation(result):
    expected = expected_scores([{"rate": 0.1}], KEY, (0, 1), folds=1)[0, 0]
    np.testing.assert_allclose(result.scores[0, 0], expected, rtol=1e-12)
    assert result.scores.shape == (30, 3, 2)


def test_the_best_rate_is_found_and_kept(result):
    """All three steps of the descent together contract by (1 - 2 rate)^3, which 0.5 makes 0."""
    assert result.configuration["rate"] == pytest.approx(0.5, rel=0.1)
    step, start = result.best
    assert result.values[step, start] == np.nanmin(result.values) == result.curve[-1]
    assert (np.diff(result.curve) <= 0).all()


def test_a_start_that_fails_is_discarded(result):
    assert np.isnan(result.scores[:, 2]).all()
    chex.assert_trees_all_equal(result.points[:, 2], np.repeat(result.points[:1, 2], 30, axis=0))
    assert np.isfinite(result.scores[:, :2]).all()
    assert "discarded at step 0" in str(result)


def test_a_result_is_printed(result):
    text = str(result)
    names = re.split(r" {2,}", text.splitlines()[0].strip())
    assert names == ["start", "first score", "best score", "at step", "agreement at first",
                     "steps below 0.1"]  # fmt: skip
    counts = (result.agreement < 0.1).sum(0)
    assert [int(line.split()[5]) for line in text.splitlines()[1:4]] == counts.tolist()
    assert "30 steps in" in text
    assert text.splitlines()[-1].startswith("rate")


def test_without_any_score_there_is_no_best():
    found = tune(start={"rate": 2.0}, steps=2)
    with pytest.raises(ValueError, match="every training failed"):
        _ = found.best
    assert np.isnan(found.curve).all()
    assert "discarded" in str(found)


def test_a_step_is_the_optimizers_on_the_mean_gradient_in_the_scale_of_the_range():
    """Of -log x and 3 y: d/du of log x is log(high / low), and that of y the width."""
    space = {"x": Float(1e-2, 1e2, log=True), "y": Float(-1.0, 4.0), "fixed": 7}
    train = lambda key, h, rows: -jnp.log(h["x"]) + 3 * h["y"] + h["fixed"]
    found = tune_by_gradient(
        train, {"x": 1.0, "y": 1.5, "fixed": 7}, space, key=KEY, steps=3, metric=lambda v: v,
        optimizer=optax.sgd(0.01), progress=False,
    )  # fmt: skip
    slope = np.array([-np.log(1e4), 15.0])
    expected = 0.5 - 0.01 * np.arange(3)[:, None] * slope
    np.testing.assert_allclose(found.points[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(found.agreement, 1.0)
    up = tune_by_gradient(
        train, {"x": 1.0, "y": 1.5, "fixed": 7}, space, key=KEY, steps=9, metric=lambda v: v,
        optimizer=optax.sgd(0.01), mode="max", progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(up.points[1, 0] - 0.5, 0.01 * slope)
    assert up.best == (6, 0)  # x reaches its end at step 6, the first of equal scores counts
    assert up.points.max() == 1.0  # numbers stay in their ranges


@pytest.mark.parametrize(("slant", "cosine"), [(0.0, 0.0), (3.0, 3 / np.sqrt(10))])
def test_disagreeing_seeds_are_warned_of(slant, cosine):
    directions = jnp.array([[1.0, 2.0, 2.0], [2.0, -2.0, 1.0]])  # of length 3 and at right angles

    def train(key, h, rows):
        data = jax.random.key_data
        is_first = jnp.all(data(key) == data(jax.random.fold_in(KEY, 0)))
        other = directions[1] + slant * directions[0]
        return jnp.stack(h) @ jnp.where(is_first, directions[0], other)

    tuned = functools.partial(
        tune_by_gradient, train, [0.5] * 3, [Float(0.0, 1.0)] * 3, key=KEY, steps=1,
        metric=lambda v: v, progress=False,
    )  # fmt: skip
    if cosine == 0:
        with pytest.warns(ChaosWarning, match=r"at 1 of 1 start .* disagree in direction"):
            agreement = tuned().agreement
    else:
        agreement = tuned().agreement
    assert agreement[0, 0] == pytest.approx(cosine, abs=1e-12)
    assert np.isnan(tuned(seeds=1).agreement).all()


def test_a_study_that_is_broken_off_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = tune(steps=6)
    count = iter(range(6))

    def fail(means, mode):
        if next(count) == 3:
            raise KeyboardInterrupt
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "best_text", fail)
        with pytest.raises(KeyboardInterrupt):
            tune(steps=6, resume=tmp_path)
    resumed = tune(steps=6, resume=tmp_path)
    chex.assert_trees_all_equal(resumed[1:4], whole[1:4])
    with pytest.raises(CheckpointMismatchError):
        tune(steps=6, resume=tmp_path, optimizer=optax.sgd(0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"rate": Int(1, 3)}}, r"`space` must hold .*Float.* others at \['rate'\]"),
        ({"space": {"rate": Choice([0.1])}}, r"others at \['rate'\]"),
        ({"space": {"rate": 0.1}}, "no range"),
        ({"start": {"rate": 9.0}}, "`start` must lie in `space`"),
        ({"steps": 0}, "`steps` must"),
        ({"starts": 0}, "`starts` must"),
        ({"seeds": 0}, "`seeds` must"),
        ({"metric": lambda run: run.history["loss"]}, "must return a scalar"),
        ({"metric": "accuracy"}, "`mode` must be 'max'"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tune(**change)


def test_what_is_no_run_needs_a_function_as_metric():
    with pytest.raises(TypeError, match="must return a Run"):
        tune(train=lambda key, h, rows: h["rate"], metric=None)


KNOTS, CLASSES, STEPS = 20, 3, 28
FORTY = {
    "knots": [Float(1e-3, 1.0, log=True)] * KNOTS,
    "layers": {
        name: {
            "rate": Float(1e-2, 1.0, log=True),
            "decay": Float(1e-4, 1.0, log=True),
            "one_minus_b1": Float(1e-2, 1.0, log=True),
            "one_minus_b2": Float(1e-3, 0.5, log=True),
        }
        for name in ("Dense_0", "Dense_1", "Dense_2", "Dense_3")
    },
    "dropout": Float(0.0, 0.5),
    "classes": [Float(0.5, 2.0, log=True)] * CLASSES,
}


def forty_numbers(hp):
    """A schedule of twenty knots, four numbers for every layer, dropout, weights of the loss."""
    model = MLP(
        CLASSES, (6, 5, 4), activation="tanh", dropout=hp["dropout"], param_dtype=jnp.float64
    )
    multiclass, knots = problem("multiclass"), jnp.stack(hp["knots"])
    loss = lambda outputs, y: multiclass.loss(outputs, y) * jnp.stack(hp["classes"])[y]
    task = linen_task(model, jnp.zeros((1, 4)), dataclasses.replace(multiclass, loss=loss))

    def optimizer(own):
        places = jnp.linspace(0.0, STEPS - 1.0, KNOTS)
        rate = lambda count: own["rate"] * jnp.interp(jnp.asarray(count, float), places, knots)
        b1, b2 = 1 - own["one_minus_b1"], 1 - own["one_minus_b2"]
        return adamw(rate, b1=b1, b2=b2, weight_decay=own["decay"])

    label = lambda name, _: name
    labels = lambda params: {
        name: jax.tree.map(functools.partial(label, name), own) for name, own in params.items()
    }
    return task, partition({name: optimizer(own) for name, own in hp["layers"].items()}, labels)


@pytest.mark.exhaustive
def test_forty_numbers_at_once_are_the_central_differences():
    rows = Rows(jnp.arange(40), None, jnp.arange(40, N))
    train = make_train(forty_numbers, blobs(), steps=STEPS, batch_size=8, remat=True)
    middle = space_of(FORTY).configuration([0.5] * 40)
    found = tune_by_gradient(
        train, middle, FORTY, key=KEY, steps=2, seeds=1, rows=rows,
        optimizer=optax.sgd(1e-3), progress=False,
    )  # fmt: skip
    gradient = (found.points[0, 0] - found.points[1, 0]) / 1e-3
    space = space_of(FORTY)
    at = lambda point: space.fill(list(map(tuning._at, space.ranges, point)))
    key = jax.random.fold_in(KEY, 0)
    end = jax.jit(lambda point: train(key, at(point), rows).history["validation_loss"][-1])
    h = 1e-5
    moved = 0.5 + h * np.concatenate([np.eye(40), -np.eye(40)])
    ends = np.array([float(end(point)) for point in moved])
    differences = (ends[:40] - ends[40:]) / (2 * h)
    assert np.abs(differences).min() > 0
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=1e-8)
