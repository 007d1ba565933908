"""The figures of a comparison show its numbers, and are drawn where a target is never reached."""

import numpy as np
import pytest

from jaxopt_course.plots import (
    comparison_figures,
    pairwise_matrix,
    performance_profile_curves,
    tuning_budget_curves,
    tuning_budget_page,
    workload_curves,
)
from jaxopt_course.workloads import best_trials, summarize
from tests.workloads.stored import NEVER, lottery, stored


KINDS = ("tuning", "profiles")


@pytest.fixture(scope="module")
def comparison():
    return lottery(0, {"sgd": 1.0, "adam": 0.5, "lion": 1.0}, workloads=5, trials=30)


@pytest.fixture(scope="module")
def summary(comparison):
    return summarize(comparison, studies=40)


def test_a_profile_is_a_line_with_its_band(summary):
    profiles = summary.profiles["steps", "fresh_seed"]
    (axes,) = performance_profile_curves(profiles, title="profiles").axes
    for line, name, shares in zip(axes.lines, profiles.optimizers, profiles.shares, strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), shares)
    assert axes.get_xscale() == "log"
    assert len({line.get_marker() for line in axes.lines}) == 3  # told apart without colour


def test_tuning_curves_go_over_budgets_the_first_of_which_are_the_defaults(summary):
    curves = summary.tuning["seconds", "held_out"]
    left, right = tuning_budget_curves(curves).axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["defaults", "5", "20"]
    assert left.get_ylabel().endswith("seconds")
    for i, line in enumerate(right.lines):
        np.testing.assert_array_equal(line.get_ydata(), curves.reached[:, i])
    page = tuning_budget_page(summary.tuning["steps", "fresh_seed"])
    assert [axes.get_title() for axes in page.axes] == [f"w{k}" for k in range(5)]


def test_the_matrix_says_ratios_and_frames_what_is_clear(summary):
    pairs = summary.pairs["steps", "fresh_seed"]
    (axes,) = pairwise_matrix(pairs).axes
    assert len(axes.texts) == 6
    said = {text.get_position(): text for text in axes.texts}
    assert said[0, 1].get_text().startswith(f"{np.exp(pairs.log_ratios[1, 0]):.2f}\n")
    bold = [text.get_weight() == "bold" for text in axes.texts]
    assert sum(bold) == len(axes.lines) == pairs.differ.sum() > 0


def test_the_page_of_curves_has_the_target_and_a_star_where_it_is_reached(comparison):
    figure = workload_curves(comparison)
    assert len(figure.axes) == 5
    axes, best = figure.axes[0], best_trials(comparison)["adam", "w0"]
    line = next(line for line in axes.lines if line.get_label() == "adam")
    values = comparison.trials["adam", "w0", "base"].values[best]
    np.testing.assert_array_equal(line.get_ydata(), np.median(values, 0))
    stars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "*"]
    assert comparison.trials["adam", "w0", "base"].costs[np.median(values, 0) <= 0.5][0] in stars
    assert any(np.all(np.asarray(line.get_ydata()) == 0.5) for line in axes.lines)


def test_a_target_that_is_never_reached_is_a_cross_in_the_colour_of_its_optimizer():
    steps = {"a": {"w": np.full((6, 2), NEVER)}, "b": {"w": np.full((6, 2), 10)}}
    summary = summarize(stored(steps), studies=4, budgets=(1, 5))
    figure = tuning_budget_page(summary.tuning["steps", "fresh_seed"])
    (axes,) = figure.axes
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    crosses = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [line.get_color() for line in crosses] == [colors["a"]]
    assert len(crosses[0].get_xdata()) == 2
    assert figure.legends[0].get_title().get_text() == "x: most studies never reach the target"


def test_every_picture_of_optimizers_that_differ_is_drawn(comparison, summary):
    figures = comparison_figures(comparison, summary)
    assert len(figures) == 1 + 3 * 4 + 1
    assert not summary.pairs["steps", "fresh_seed"].all_equal


def test_all_are_drawn_of_one_optimizer_that_never_gets_there(tmp_path):
    comparison = stored({"a": {"w": np.full((3, 2), NEVER)}})
    figures = comparison_figures(comparison, summarize(comparison, studies=4))
    # A matrix of ones says nothing.
    assert {name.partition("_")[0] for name in figures} == {"curves", "profiles", "tuning"}
    assert len(figures) == 1 + 2 * 4 + 1
    for stem in ("curves", "tuning_each", *(f"{x}_steps_held_out" for x in KINDS)):
        figures[stem].savefig(tmp_path / stem, dpi=50)
        assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
