"""The coordinate check: scales of known networks, the slopes of both parametrizations, pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.diagnostics import CoordinateCheckReport, coordinate_check
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.plots import coordinate_curves
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, Task, linen_task
from jaxopt_course.transfer import mup, scale_init, with_multipliers


KEY = jax.random.key(0)
WIDTHS = (32, 128, 512)


def known_task(width):
    """One weight w, a loss of w, and activations of w times known powers of the width."""

    def loss(params, model_state, batch, *, key, train):
        return jnp.full(2, params["w"]), (model_state, {})

    def activations(params, model_state, inputs):
        ones = jnp.ones((2, width)) * params["w"]
        return {"level": ones, "growing": ones * width**0.5, "slope_0": ones, "vector": ones[0]}

    init = lambda key: ({"w": jnp.array(1.0)}, {})
    return Task(init, loss, lambda *_: None, activations)


def test_scales_and_slopes_of_a_known_model():
    """Each step subtracts 0.25 from w."""
    batch = Batch(jnp.ones((2, 1)))
    make = lambda width: (known_task(width), sgd(0.25))
    report = coordinate_check(make, (4, 16, 64), batch, key=KEY, steps=2, seeds=3)
    weights = np.array([1.0, 0.75, 0.5])
    assert report.widths.tolist() == [4, 16, 64]
    assert set(report.scales) == {"level", "growing"}
    np.testing.assert_allclose(report.scales["level"], np.tile(weights, (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(
        report.scales["growing"], weights * np.sqrt(report.widths)[:, None], rtol=1e-12
    )
    np.testing.assert_allclose(report.slopes["growing"], 0.5, rtol=1e-12)
    np.testing.assert_allclose(report.slopes["level"], 0, atol=1e-12)
    assert "These activations grow with the width: growing." in str(report)


def make_network(is_mup, base=WIDTHS[0]):
    """A perceptron for noise, trained by Adam."""
    task = lambda width: linen_task(
        MLP(2, (width, width), kernel_init="he_normal"),
        jnp.zeros((1, 8), jnp.float32),
        problem("multiclass"),
    )
    shapes = lambda width: jax.eval_shape(task(width).init, KEY)[0]

    def make(width):
        if not is_mup:
            return task(width), adam(2**-6)
        multipliers = mup(shapes(base), shapes(width))
        build = lambda m: adam(2**-6 * m.learning_rate, eps=1e-8 * m.eps)
        return scale_init(task(width), multipliers), with_multipliers(build, multipliers)

    return make


@pytest.mark.exhaustive
def test_activations_are_level_under_mup_only():
    """The outputs grow with the width to the power 1 / 2 or more in the standard parametrization.

    Under muP the slopes of three narrow widths are within 0.2 of 0: layers of 32 units are not yet
    wide. The benchmark ``transfer`` has wider ones.
    """
    inputs = jax.random.normal(KEY, (32, 8), jnp.float32)
    batch = Batch(inputs, (inputs[:, 0] > 0).astype(jnp.int32))
    options = {"key": KEY, "steps": 3, "seeds": 2}
    found = {
        is_mup: coordinate_check(make_network(is_mup), WIDTHS, batch, **options)
        for is_mup in (True, False)
    }
    of_mup = [found[True].slopes[name][-1] for name in ("Dense_0", "Dense_1", "Dense_2")]
    assert np.max(np.abs(of_mup)) < 0.2
    assert found[False].slopes["Dense_2"][-1] > 0.5


@pytest.mark.exhaustive
def test_the_output_layer_of_mup_starts_with_the_slope_of_a_half():
    """Of 64 seeds: the slope has a standard deviation of about 0.3 for two, and of 0.05 for 64."""
    batch = Batch(jax.random.normal(KEY, (32, 8), jnp.float32), jnp.zeros(32, jnp.int32))
    found = coordinate_check(make_network(True), WIDTHS, batch, key=KEY, steps=1, seeds=64)
    np.testing.assert_allclose(found.slopes["Dense_2"][0], -0.5, atol=0.15)


def report(*last):
    """Layers with these scales after the last of two steps, at three widths."""
    widths = np.array([64, 128, 256])
    scales = {f"layer_{i}": np.stack([np.ones(3), np.ones(3), x], 1) for i, x in enumerate(last)}
    return CoordinateCheckReport(widths, scales)


def test_the_report_names_the_layers_that_are_not_level():
    level = np.array([1.0, 1.0, 1.05])
    text = str(report(level, [1.0, 2.0, 4.0], [1.0, 0.5, 0.25], [1.0, np.nan, 1.0]))
    assert "These activations grow with the width: layer_1." in text
    assert "These activations shrink with the width: layer_2." in text
    assert "These activations are 0 or not finite: layer_3." in text
    assert "+1.000" in text
    assert str(report(level)).endswith(
        "The activations of all layers are level: no slope after 2 steps exceeds 0.1."
    )


def test_each_parametrization_has_its_panel(tmp_path):
    steep = report([1.0, 2.0, 4.0], [1.0, np.inf, 0.0])
    figure = coordinate_curves({"muP": report([1.0, 1.0, 1.0]), "standard": steep}, title="digits")
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["muP", "standard"]
    assert right.lines[0].get_xydata().tolist() == [[64, 1.0], [128, 2.0], [256, 4.0]]
    assert np.isnan(right.lines[2].get_ydata()[1:]).all()
    assert right.get_legend().get_texts()[0].get_text() == "layer_0: slope +1.00"
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    figure.savefig(tmp_path / "curves.png")
    with pytest.raises(ValueError, match="at least one report, got none"):
        coordinate_curves({})


def other_layers(width):
    activations = lambda params, model_state, inputs: {f"layer_{width}": inputs * params["w"]}
    return known_task(width)._replace(activations=activations), sgd(0.1)


@pytest.mark.parametrize(
    ("make", "widths", "message"),
    [
        (lambda w: (known_task(w), sgd(0.1)), (8, 4), "`widths` must be increasing, at least two"),
        (lambda w: (known_task(w), sgd(0.1)), (8,), "`widths` must be increasing, at least two"),
        (other_layers, (4, 8), "the layers must be the same at every width, got layer_8"),
        (
            lambda w: (known_task(w)._replace(activations=None), sgd(0.1)),
            (4, 8),
            "the task must have `activations`, got None",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(make, widths, message):
    batch = Batch(jnp.ones((2, 1)), jnp.zeros(2, int))
    with pytest.raises(ValueError, match=f"coordinate_check: {message}"):
        coordinate_check(make, widths, batch, key=KEY, steps=1, seeds=1)
