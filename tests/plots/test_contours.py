"""Maps of two dimensions: contours at round levels, paths as they were given, and their ends."""

import numpy as np
import pytest

from jaxopt_course.diagnostics import LossLandscape
from jaxopt_course.plots import landscape_contours, optimizer_paths
from jaxopt_course.surfaces import SURFACES


PATHS = {
    "sgd": np.array([[-10.0, 1.0], [-5.0, 0.1], [0.0, 0.0]]),
    "adam": np.array([[-10.0, 1.0], [np.nan, np.nan]]),
}


def test_paths_differ_in_line_and_marker_and_say_where_they_end():
    figure = optimizer_paths(SURFACES["ravine"], PATHS)
    axes = figure.axes[0]
    sgd, adam, minimum = axes.lines
    np.testing.assert_array_equal(sgd.get_xydata(), PATHS["sgd"])
    assert sgd.get_linestyle() != adam.get_linestyle()
    assert sgd.get_marker() != adam.get_marker()
    assert minimum.get_xydata().tolist() == [[0.0, 0.0]]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["sgd: 0 after 2 steps", "adam: nan after 1 step", "minimum"]
    assert (axes.get_xlim(), axes.get_ylim()) == SURFACES["ravine"].bounds
    assert figure.get_suptitle() == "ravine"


def test_a_surface_without_a_minimum_has_no_star():
    figure = optimizer_paths(SURFACES["saddle"], PATHS, title="down")
    assert len(figure.axes[0].lines) == 2
    assert figure.get_suptitle() == "down"


def filled_contours(losses):
    """The filled contours of a landscape with these losses along its first axis."""
    first = np.arange(float(len(losses)))
    landscape = LossLandscape(first, np.arange(2.0), np.tile(losses, (2, 1)).T, None)
    return landscape_contours(landscape).axes[0].collections[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1500.0, [0, *(m * 10**k for k in range(4) for m in (1, 2, 5))][:-1]),
        (0.06, 11.0, [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]),
        (-2.25, 2.25, [-5, -2, -1, -0.5, -0.2, -0.1, 0.1, 0.2, 0.5, 1, 2, 5]),
        (-3.0, 0.0, [-5, -2, -1, -0.5, -0.2, -0.1, 0]),
        (0.0, 0.0, [0, 0.001]),
    ],
)
def test_levels_are_round_and_hold_all_values(low, high, expected):
    filled = filled_contours([low, np.nan, high])
    np.testing.assert_allclose(filled.levels, expected, rtol=1e-12)
    assert set(filled.colorbar.get_ticks()) <= set(filled.levels)
    assert filled.norm(filled.levels[0]) == 0
    assert filled.norm(filled.levels[-1]) == 1


def test_levels_are_even_where_values_span_less_than_a_decade():
    levels = filled_contours([2.0, 2.5]).levels
    np.testing.assert_allclose(np.diff(levels), levels[1] - levels[0])
    assert levels[0] <= 2.0
    assert levels[-1] >= 2.5


def test_a_landscape_is_drawn_with_its_first_axis_along_x():
    first, second = np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 1.0])
    losses = np.array([[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]])  # rises along the first
    path = np.array([[0.9, 0.5], [0.0, 0.0]])
    figure = landscape_contours(LossLandscape(first, second, losses, path), title="plane")
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), path)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 1), (-1, 1))
    # A contour of a function of x alone is upright.
    upright = [p.vertices for p in axes.collections[1].get_paths() if len(p.vertices)]
    assert upright
    assert all(np.ptp(vertices[:, 0]) < 1e-12 for vertices in upright)
    assert "start" in " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_a_landscape_of_nothing_finite_is_drawn_empty(tmp_path):
    ticks = np.array([-1.0, 1.0])
    figure = landscape_contours(LossLandscape(ticks, ticks, np.full((2, 2), np.nan), None))
    figure.savefig(tmp_path / "empty.png")
    assert not figure.legends


def test_unfit_paths_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="`paths` must hold at least one path, got none"):
        optimizer_paths(SURFACES["ravine"], {})
    with pytest.raises(ValueError, match=r"path 'sgd' must be f\[steps \+ 1, 2\].*\(3, 3\)"):
        optimizer_paths(SURFACES["ravine"], {"sgd": np.ones((3, 3))})
