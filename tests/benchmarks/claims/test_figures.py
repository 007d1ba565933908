"""The pictures of claims hold the numbers of all seeds."""

import json

import numpy as np

from benchmarks.claims import (
    Claimed,
    Curves,
    Groups,
    Planes,
    Verdict,
    exact_effect,
    verdict_figure,
)
from benchmarks.claims._pictures import picture_from_json, picture_to_json


def verdict(picture, *, quick=False):
    effect = exact_effect("A number.", 2.0, Claimed(1.0, 3.0))
    return Verdict("momentum", "It speeds up.", "T", (effect,), "Here.", picture, 5, quick)


def test_curves_are_medians_in_bands_of_half_of_the_seeds(tmp_path):
    x, values = np.array([1.0, 10.0, 100.0]), np.arange(15.0).reshape(5, 3) + 1
    picture = Curves(x, {"plain": values, "both": values + 1}, "rate", "loss", True, True)
    figure = verdict_figure(verdict(picture))
    (axes,) = figure.axes
    assert figure.get_suptitle() == "momentum: holds"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), np.median(values, 0))
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == np.percentile(values, 25, axis=0).min()
    assert corners[:, 1].max() == np.percentile(values, 75, axis=0).max()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "both"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate", "loss")
    figure.savefig(tmp_path / "figure.png", dpi=50)


def test_groups_show_each_seed_and_their_median(tmp_path):
    values = np.array([3.0, 1.0, 2.0])
    picture = Groups({"plain": values, "L2, strong": np.array([5.0])}, "loss")
    figure = verdict_figure(verdict(picture, quick=True), title="Own")
    (axes,) = figure.axes
    assert figure.get_suptitle() == "Own"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), values)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [2.0, 2.0])
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), [5.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["plain", "L2,\nstrong"]
    assert axes.get_yscale() == "linear"
    figure.savefig(tmp_path / "figure.png", dpi=50)


def test_planes_have_a_panel_for_each_field_with_its_lines_and_dots(tmp_path):
    x, y = np.linspace(-1.0, 1.0, 5), np.linspace(-2.0, 2.0, 9)
    field = np.broadcast_to(x, (9, 5))
    line = np.array([[0.0, 0.0], [1.0, 1.0], [np.nan, np.nan], [0.5, -1.0]])
    dots = {"a": {"class 1": line[:2], "class 2": line[3:]}, "b": {"class 1": line[:1]}}
    lines = {"a": {"way": line}, "b": {}}
    picture = Planes(x, y, {"a": field, "b": -field}, np.array([0.5]), lines, dots, "u", "v")
    figure = verdict_figure(verdict(picture))
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    assert (first.get_xlabel(), first.get_ylabel()) == ("u", "v")
    np.testing.assert_array_equal(first.lines[0].get_xydata(), line)
    np.testing.assert_array_equal(first.lines[1].get_xydata(), line[:2])
    (level,) = first.collections[1].get_paths()
    np.testing.assert_allclose(level.vertices[:, 0], 0.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("way", "class 1", "class 2")
    ]
    stored = picture_from_json(json.loads(json.dumps(picture_to_json(picture))))
    np.testing.assert_array_equal(stored.lines["a"]["way"], line)
    assert stored.lines["b"] == {}
    figure.savefig(tmp_path / "figure.png", dpi=50)


def test_a_quick_verdict_is_marked_in_the_title():
    assert verdict_figure(verdict(Groups({"a": np.ones(1)}, "y"), quick=True)).get_suptitle() == (
        "momentum: holds (quick)"
    )
