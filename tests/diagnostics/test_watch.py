"""Norms of layers over a training: against closed forms and the training itself, and drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import watch
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adamw, sgd
from jaxopt_course.plots import layer_norms
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import fit
from jaxopt_course.transforms import packed
from tests.training.problems import CLASSES, blobs
from tests.training.test_debugging import distance_task, pairs


KEY = jax.random.key(0)


def test_the_norms_of_a_constant_gradient():
    inputs = jnp.ones((12, 2))  # the gradient of the distance |(a, b)| is its direction
    report = watch(
        distance_task(), sgd(0.1), (inputs, jnp.zeros(12)), key=KEY, steps=5, batch_size=4
    )
    distances = np.sqrt(2) - 0.1 * np.arange(5)
    np.testing.assert_allclose(report.parameters["first"], distances, rtol=1e-6)
    np.testing.assert_allclose(report.gradients["first"], np.ones(5), rtol=1e-6)
    np.testing.assert_allclose(report.updates["second"], np.full(5, 0.1 * np.sqrt(2)), rtol=1e-6)
    assert report.first_bad_step is None
    assert "first" in str(report)


@pytest.mark.parametrize("wrap", [lambda tx: tx, packed], ids=["plain", "packed"])
def test_its_steps_are_those_of_fit(wrap):
    task = linen_task(MLP(CLASSES, (8,), dropout=0.2), jnp.zeros((1, 4)), problem("multiclass"))
    options = {"key": KEY, "batch_size": 8, "steps": 10}
    report = watch(task, wrap(adamw(0.1)), blobs(), **options)
    run = fit(
        task,
        wrap(adamw(0.1)),
        blobs(),
        evaluate_every=1,
        track=("gradient_norm", "update_norm"),
        progress=False,
        **options,
    )
    np.testing.assert_allclose(report.loss, run.history["loss"], rtol=1e-5)
    for norms, name in ((report.gradients, "gradient_norm"), (report.updates, "update_norm")):
        whole = np.sqrt(sum(np.square(x) for x in norms.values()))
        np.testing.assert_allclose(whole, run.history[name], rtol=1e-4)


def test_it_finds_the_step_and_the_layer_of_a_nan():
    report = watch(distance_task(), sgd(0.1), pairs(), key=KEY, steps=12, batch_size=1)
    step = report.first_bad_step
    assert step is not None
    assert np.isfinite(report.loss[: step + 1]).all()
    assert f"in step {step}: the gradient of first, the update of first." in str(report)
    figure = layer_norms(report, title="a NaN")
    assert [axes.get_title() for axes in figure.axes] == ["parameters", "gradients", "updates"]
    crosses = {tuple(line.get_xdata()) for line in figure.axes[1].lines if line.get_marker() == "x"}
    assert crosses == {tuple(range(step, 12))}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["first", "second", "not finite"]


def test_it_needs_a_step():
    with pytest.raises(ValueError, match=r"watch: `steps` must lie in \[1, inf\), got 0"):
        watch(distance_task(), sgd(0.1), pairs(), key=KEY, steps=0, batch_size=1)
