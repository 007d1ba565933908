"""Figures of reports hold the report's numbers, and say what cannot be drawn."""

import numpy as np
import pytest

from jaxopt_course.diagnostics import (
    HEALTHY_NORMS,
    BiasVarianceReport,
    GradientFlowReport,
    LeafFlow,
    LearningRateRangeReport,
    VarianceReport,
)
from jaxopt_course.plots import (
    bias_variance_bars,
    gradient_bars,
    learning_rate_curve,
    variance_curves,
)


def flow(norms, ratios):
    leaves = {
        f"['Dense_{i}']['kernel']": LeafFlow(norm, ratio, 0.0, 0.0, 1.0)
        for i, (norm, ratio) in enumerate(zip(norms, ratios, strict=True))
    }
    return GradientFlowReport(2.3, {}, leaves, [])


def test_each_leaf_has_its_bars_and_what_is_unhealthy_is_hatched():
    figure = gradient_bars(flow([1e-8, 0.1, 2.0], [1e-3, np.inf, 0.0]), title="first batch")
    norms, ratios = figure.axes
    band, *bars = norms.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == HEALTHY_NORMS
    # healthy ones first, each at the place of its leaf
    places = [round(bar.get_y() + bar.get_height() / 2) for bar in bars]
    assert dict(zip(places, [bar.get_width() for bar in bars], strict=True)) == {
        **{1: 0.1, 2: 2.0, 0: 1e-8}
    }
    assert [bar.get_hatch() for bar in bars] == ["", "", "///"]
    assert norms.get_yticklabels()[0].get_text() == "Dense_0/kernel"
    assert [bar.get_width() for bar in ratios.patches] == [1e-3]
    assert [text.get_text() for text in ratios.texts] == ["parameters are 0", "0"]
    low, high = norms.get_xlim()
    assert low < 1e-8
    assert high > 1e3
    assert norms.get_xscale() == ratios.get_xscale() == "log"


def test_without_an_optimizer_there_are_no_ratios_and_no_number_is_said_so():
    (axes,) = gradient_bars(flow([np.nan, np.inf], [np.nan, np.nan])).axes
    assert [text.get_text() for text in axes.texts] == ["not finite", "not finite"]
    with pytest.raises(ValueError, match="at least one leaf, got none"):
        gradient_bars(flow([], []))


def test_rates_that_diverged_are_crosses_and_the_best_is_starred():
    rates = np.array([0.01, 0.1, 1.0, 10.0])
    report = LearningRateRangeReport(rates, np.array([2.0, 0.1, 0.9, np.nan]), 2.5)
    (axes,) = learning_rate_curve(report, title="digits").axes
    curve, start, best, crosses = axes.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[0.01, 2.0], [0.1, 0.1], [1.0, 0.9]])
    assert list(start.get_ydata()) == [2.5, 2.5]
    assert best.get_xydata().tolist() == [[0.1, 0.1]]
    assert list(crosses.get_xdata()) == [10.0]
    (usable,) = axes.patches
    assert (usable.get_x(), usable.get_x() + usable.get_width()) == (0.1, 1.0)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_range_in_which_all_rates_diverge_is_drawn(tmp_path):
    report = LearningRateRangeReport(np.array([1.0, 10.0]), np.full(2, np.nan), 2.3)
    figure = learning_rate_curve(report)
    figure.savefig(tmp_path / "rates.png")
    assert len(figure.axes[0].lines[-1].get_xdata()) == 2


def test_variances_are_drawn_by_layer_and_zeros_left_out():
    report = VarianceReport(np.array([8, 8, 8]), np.array([1.0, 0.5, 0.0]), np.ones(3))
    (axes,) = variance_curves(report, title="tanh").axes
    activations, slopes = axes.lines
    np.testing.assert_array_equal(activations.get_xydata(), [[0, 1.0], [1, 0.5]])
    np.testing.assert_array_equal(slopes.get_ydata(), [1.0, 1.0, 1.0])
    assert activations.get_linestyle() != slopes.get_linestyle()
    assert axes.get_yscale() == "log"


def test_the_parts_of_the_error_are_stacked_up_to_it():
    report = BiasVarianceReport(0.75, 0.5, 0.125, 0.125, {"error": 0.1}, 10)
    (axes,) = bias_variance_bars({"low": report, "high": report._replace(variance=0.25)}).axes
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert tops == [0.5, 0.5, 0.625, 0.75, 0.75, 0.875]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["low", "high"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.75, 0.75])
    with pytest.raises(ValueError, match="at least one report, got none"):
        bias_variance_bars({})
