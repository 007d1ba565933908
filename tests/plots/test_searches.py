"""The figures of a search: what lies where, and that they are drawn of any result."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.plots import parallel_coordinates, rung_scores, search_curves, slices
from jaxopt_course.studies import Choice, Float, HalvingResult, Int, Rungs, search
from tests.studies.problems import SPACE, descend


@pytest.fixture
def result(key):
    space = SPACE | {"depth": Int(1, 4), "activation": Choice(["relu", "tanh"])}

    def train(key, hyperparameters, rows):
        rate = hyperparameters["rate"] + 0.0 * jnp.asarray(hyperparameters["depth"], float)
        return descend(key, {"rate": rate}, rows)

    return search(train, space, key=key, trials=16, seeds=2, progress=False)


def test_parallel_coordinates_draw_each_that_ended_and_the_best_most_of_all(result):
    figure = parallel_coordinates(result, best=3, title="digits")
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["activation", "depth", "rate", "loss"]
    ended = np.isfinite(result.values).sum()
    lines = [line for line in axes.lines if len(line.get_ydata()) == 4]
    assert len(lines) == ended < 16
    widest = max(lines, key=lambda line: line.get_linewidth())
    rate = result.configurations[result.best]["rate"]
    expected = np.log(rate / 0.01) / np.log(3.0 / 0.01)
    np.testing.assert_allclose(widest.get_ydata()[2], expected)
    assert widest.get_ydata()[3] == 0  # the lowest loss lies at the lower end
    assert figure.get_supxlabel().endswith(f"; {16 - ended} failed")
    assert {"relu", "tanh", "0.01", "0.1", "1"} <= {text.get_text() for text in axes.texts}


def test_slices_star_the_best_in_every_panel_and_cross_what_failed(result):
    figure = slices(result)
    assert [axes.get_xlabel() for axes in figure.axes] == ["activation", "depth", "rate"]
    failed = np.isnan(result.values).sum()
    for axes in figure.axes:
        star = next(line for line in axes.lines if line.get_marker() == "*")
        assert star.get_ydata()[0] == result.values[result.best]
        crosses = next(line for line in axes.lines if line.get_marker() == "x")
        assert len(crosses.get_xdata()) == failed
    medians = [line for line in figure.axes[0].lines if line.get_label() == "median"]
    options = np.array([c["activation"] for c in result.configurations])
    expected = [np.nanmedian(result.values[options == name]) for name in ("relu", "tanh")]
    np.testing.assert_allclose([line.get_ydata()[0] for line in medians], expected)


def test_search_curves_show_the_best_learning_curve_and_the_best_so_far(result):
    learning, trials = search_curves(result, best=2).axes
    coloured = next(x for x in learning.lines if x.get_label().startswith("rank 1"))
    mean = result.history["loss"][result.best].mean((0, 1))
    np.testing.assert_allclose(coloured.get_ydata(), mean)
    so_far = next(line for line in trials.lines if line.get_label() == "best so far")
    steps = so_far.get_ydata()[np.isfinite(so_far.get_ydata())]
    assert (np.diff(steps) <= 0).all()
    assert steps[-1] == result.values[result.best]


def test_they_are_drawn_of_any_result(key, tmp_path):
    train = lambda key, hyperparameters, rows: jnp.asarray(hyperparameters["x"]) - 2.0
    fail = lambda key, hyperparameters, rows: jnp.nan * hyperparameters["x"]
    for function, space in (
        (train, {"x": Float(0.0, 1.0)}),
        (train, {"x": 1.0}),
        (fail, {"x": Float(0.0, 1.0)}),
    ):
        result = search(
            function, space, key=key, trials=3, metric=lambda x: x, mode="max", progress=False
        )
        for draw in (parallel_coordinates, slices, search_curves):
            draw(result).savefig(tmp_path / "figure.png")
            assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_rung_scores_tell_who_went_on_and_how_well_the_rungs_agree(key):
    scores = np.array(
        [[4.0, 3.0, 2.0, 1.0], [np.nan, 30.0, 2.0, 5.0], [np.nan, np.nan, 0.5, np.nan]]
    )
    points = np.linspace(0, 1, 4)[:, None]
    bracket = HalvingResult(
        space={"rate": Float(0.0, 1.0)},
        points=points,
        configurations=tuple({"rate": u} for u in points[:, 0]),
        scores=scores,
        rungs=Rungs((4, 3, 1), (10, 30, 90)),
        mode="min",
        correlations=np.array([0.5, np.nan]),
        key=key,
        seconds=1.0,
    )
    figure = rung_scores([bracket, bracket])
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            *("10\n(4)", "30\n(3)", "90\n(1)")
        ]
        assert [text.get_text() for text in axes.texts] == ["0.50", "-"]
        lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
        went_on = [line.get_ydata() for line in lines if line.get_linewidth() > 1]
        np.testing.assert_array_equal(went_on, scores[:, 2:3].T)
        star = next(line for line in axes.lines if line.get_marker() == "*")
        assert (star.get_xdata()[0], star.get_ydata()[0]) == (90, 0.5)
        assert axes.get_yscale() == "log"  # from 0.5 to 30


def test_a_metric_that_is_measured_once_has_no_learning_curve(key):
    def train(key, hyperparameters, rows):
        return hyperparameters["rate"]

    metrics = {"rate": lambda rate: rate}
    result = search(train, SPACE, key=key, trials=4, metric="rate", metrics=metrics, progress=False)
    (trials,) = search_curves(result).axes
    assert trials.get_ylabel() == "rate"
