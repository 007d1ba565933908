"""Ranges, configurations, and designs: what they hold, how evenly, and what is refused."""

import collections

import jax
import numpy as np
import pytest
from scipy.stats import kstest, qmc

from jaxopt_course.studies import (
    Choice,
    Float,
    Int,
    configuration_at,
    grid_design,
    random_design,
    sobol_design,
)


SPACE = {"a": Float(0.0, 1.0), "b": Float(1e-4, 1.0, log=True), "c": Int(1, 8), "fixed": "adam"}


def test_ranges_map_the_unit_interval_onto_their_values_evenly():
    even = np.linspace(0, 1, 1001).tolist()
    assert [Float(-2.0, 2.0).at(u) for u in (0.0, 0.25, 1.0)] == [-2.0, -1.0, 2.0]
    rates = np.array([Float(1e-4, 1.0, log=True).at(u) for u in even])
    assert (rates[0], rates[-1]) == (1e-4, 1.0)
    assert kstest(np.log10(rates), "uniform", args=(-4, 4)).statistic < 2e-3
    counts = collections.Counter(Int(-1, 2).at(u) for u in even)
    assert sorted(counts) == [-1, 0, 1, 2]
    assert max(counts.values()) - min(counts.values()) <= 2
    logs = collections.Counter(Int(1, 16, log=True).at(u) for u in even)
    assert sorted(logs) == list(range(1, 17))
    share = np.log(1.5 / 0.5) / np.log(16.5 / 0.5)  # of the number 1: from 0.5 to 1.5
    assert abs(logs[1] / 1001 - share) < 2e-3
    chosen = [Choice(["x", "y", "z"]).at(u) for u in (0.0, 0.34, 0.99, 1.0)]
    assert chosen == ["x", "y", "z", "z"]


def test_a_configuration_has_the_structure_of_the_space_and_plain_values():
    space = {"optimizer": (Choice([8, 16]), [Float(0.0, 1.0), 3]), "steps": Int(1, 2), "none": None}
    found = configuration_at(space, [0.9, 0.5, 0.0])
    assert found == {"optimizer": (16, [0.5, 3]), "steps": 1, "none": None}
    assert [type(x) for x in jax.tree.leaves(found)] == [int, float, int, int]


def test_a_sobol_design_fills_space_better_than_random_points(key):
    for trials in (16, 100):
        sobol = sobol_design(key, SPACE, trials)
        assert sobol.shape == (trials, 3)
        others = [random_design(jax.random.key(i), SPACE, trials) for i in range(20)]
        assert qmc.discrepancy(sobol) < 0.5 * min(map(qmc.discrepancy, others))
    np.testing.assert_array_equal(sobol, sobol_design(key, SPACE, 100))
    assert (sobol != sobol_design(jax.random.key(1), SPACE, 100)).all()


def test_a_grid_has_every_combination_and_the_ends():
    space = {"a": Float(0.0, 1.0), "b": Int(1, 2), "c": Choice("xyz"), "fixed": 1}
    points = grid_design(space, 25)
    found = [tuple(configuration_at(space, p).values()) for p in points]
    # 4 levels of the real number, 2 of the whole one, 3 options: 24; a fifth level makes 30.
    expected = {(a, b, c, 1) for a in (0.0, 1 / 3, 2 / 3, 1.0) for b in (1, 2) for c in "xyz"}
    assert len(found) == 24
    assert set(found) == expected
    assert grid_design({"fixed": 1}, 5).shape == (1, 0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Float(0.0, 1.0, log=True), r"Float: `low` must lie in \(0, inf\), got 0.0"),
        (lambda: Float(1.0, 1.0), r"Float: `high` must lie in \(1.0, inf\), got 1.0"),
        (lambda: Int(0, 3, log=True), r"Int: `low` must lie in \[1, inf\), got 0"),
        (lambda: Choice([]), "Choice: `options` must be at least one value"),
        (lambda: Choice([1, 2, 1]), "all different"),
        (lambda: grid_design({"c": Choice("xyz")}, 2), r"`trials` must lie in \[3, inf\).* got 2"),
        (lambda: sobol_design(jax.random.key(0), SPACE, 0), r"`trials` must lie in \[1, inf\)"),
        (lambda: configuration_at(SPACE, [0.5, 0.5]), "`point` must have 3 numbers, got 2"),
    ],
)
def test_what_is_wrong_is_said(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
