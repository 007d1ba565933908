"""Intervals, verdicts, and the picks that keep a number from being chosen and judged at once."""

import json

import numpy as np
import pytest

from jaxopt_course.claims import (
    DEPENDS,
    FAILS,
    HOLDS,
    Claim,
    Curves,
    Effect,
    Evidence,
    Groups,
    Verdict,
    exact_effect,
    mean_effect,
    ratio_effect,
    share_effect,
    verdicts_markdown,
)
from jaxopt_course.claims._experiment import finite_or_worst, first_at_most, pick_by_others, picked


ABOVE_0 = (0.0, np.inf)


def test_the_interval_of_a_mean_is_students():
    # s = 1, n = 3: t_{0.975, 2} = 4.302653 from a table, over the root of 3
    effect = mean_effect("x", np.array([1.0, 2.0, 3.0]), ABOVE_0)
    half = 4.302653 / np.sqrt(3)
    np.testing.assert_allclose(effect[1:4], (2.0, 2 - half, 2 + half), rtol=1e-6)


def test_a_ratio_is_the_geometric_mean():
    effect = ratio_effect("x", np.array([1.0, 8.0]), np.array([1.0, 2.0]), ABOVE_0)
    half = 12.706205 * np.log(4) / 2  # t_{0.975, 1}, and s / sqrt(2) = |log 4 - log 1| / 2
    np.testing.assert_allclose(effect.value, 2.0)
    np.testing.assert_allclose((effect.low, effect.high), 2 * np.exp([-half, half]), rtol=1e-5)


def test_the_interval_of_a_share_has_its_closed_forms_at_both_ends():
    none, all_of_them = (share_effect("x", np.full(10, hit), ABOVE_0) for hit in (False, True))
    bound = 0.025 ** (1 / 10)  # all of n with the probability p: p^n = 2.5 %
    np.testing.assert_allclose(none[1:4], (0.0, 0.0, 1 - bound), atol=1e-9)
    np.testing.assert_allclose(all_of_them[1:4], (1.0, bound, 1.0), atol=1e-9)


def test_of_many_intervals_95_in_a_hundred_hold_the_truth():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    effects = [mean_effect("x", draw, ABOVE_0) for draw in draws]
    covered = np.mean([effect.low < 0 < effect.high for effect in effects])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)  # four standard errors


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.9, HOLDS),
        (2.1, 3.0, FAILS),
        (0.1, 0.9, FAILS),
        (0.5, 1.5, DEPENDS),
        (0.5, 2.5, DEPENDS),
        (2.0, 2.0, FAILS),  # an exact number on the edge is not between
    ],
)
def test_the_whole_interval_decides(low, high, verdict):
    assert Effect("x", 0.0, low, high, (1.0, 2.0)).verdict == verdict


@pytest.mark.parametrize("values", [[1.0, np.nan], [1.0, np.inf], [1.0]])
def test_what_is_not_a_number_for_each_seed_is_refused(values):
    with pytest.raises(ValueError, match=r"a finite number for each of at least 2 seeds.*x"):
        mean_effect("x", np.array(values), ABOVE_0)
    with pytest.raises(ValueError, match="finite"):
        ratio_effect("x", np.zeros(3), np.ones(3), ABOVE_0)


def planted(*means: float, seen: list | None = None) -> Claim:
    """A claim that all of these means are positive, of which the numbers decide."""

    def measure(key, seeds, quick):
        (seen if seen is not None else []).append((seeds, quick))
        noise = np.random.default_rng(0).normal(size=seeds)
        effects = tuple(mean_effect(f"mean {m}", m + noise, ABOVE_0) for m in means)
        return Evidence(effects, "Planted.", Groups({"noise": noise}, "value"))

    return Claim("planted", "All means are positive.", "T", measure)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((9.0,), HOLDS),
        ((-9.0,), FAILS),
        ((0.0,), DEPENDS),
        ((9.0, -9.0), DEPENDS),
        ((-9.0, -8.0), FAILS),
        ((9.0, 0.0), DEPENDS),
    ],
)
def test_a_planted_claim_gets_the_verdict_of_its_numbers(means, verdict, key):
    found = planted(*means)(key)
    assert found.verdict == verdict
    assert (found.value, found.low, found.high) == found.effects[0][1:4]
    assert verdict.capitalize() in str(found)
    assert f"| planted | {verdict} |" in verdicts_markdown([found])


def test_quick_is_fewer_seeds_and_says_so(key):
    seen = []
    claim = planted(9.0, seen=seen)
    full, quick, own = claim(key), claim(key, quick=True), claim(key, seeds=3, quick=True)
    assert seen == [(20, False), (5, True), (3, True)]
    assert [found.seeds for found in (full, quick, own)] == [20, 5, 3]
    assert "(quick: a try, not a result)" in str(quick)
    assert "quick" not in str(full)


def test_fewer_than_two_seeds_are_refused(key, as_users_run_it):
    with pytest.raises(ValueError, match=r"planted: `seeds` must lie in \[2, inf\), got 1"):
        planted(1.0)(key, seeds=1)


def test_a_verdict_comes_back_from_json_as_it_was():
    curves = Curves(np.array([1.0, 2.0]), {"a": np.ones((3, 2))}, "x", "y", log_x=True)
    effects = (exact_effect("less", 2.0, (-np.inf, 0.0)), exact_effect("more", 0.0, (-1.0, np.inf)))
    before = Verdict("n", "A claim.", "TK", effects, "Where.", curves, 20, False)
    after = Verdict.from_json(json.loads(json.dumps(before.as_json(), allow_nan=False)))
    assert after.effects == before.effects
    assert after.verdict == before.verdict == DEPENDS
    assert str(after) == str(before)
    assert type(after.picture) is Curves
    np.testing.assert_array_equal(after.picture.lines["a"], curves.lines["a"])
    groups = before._replace(picture=Groups({"b": np.ones(3)}, "y"))
    assert Verdict.from_json(groups.as_json()).picture.values["b"].tolist() == [1.0] * 3


def test_a_seed_is_judged_by_the_pick_of_the_others():
    # For the others, each time, row 0 is best; seed 2 alone would rather have row 1.
    losses = np.array([[1.0, 1.0, 3.0], [2.0, 4.0, 0.5]])
    assert pick_by_others(losses).tolist() == [1, 1, 0]
    logs = np.log(losses)
    others = [logs[:, [j for j in range(3) if j != i]].mean(1).argmin() for i in range(3)]
    assert pick_by_others(losses).tolist() == others
    assert picked(losses, np.array([0, 0, 1])).tolist() == [1.0, 1.0, 0.5]


def test_noise_looks_no_better_for_having_been_picked():
    # Twenty configurations that do not differ: the best of each seed is far below the mean, and
    # the pick of the others is not.
    logs = np.random.default_rng(0).normal(size=(20, 2000))
    found = np.log(picked(np.exp(logs), pick_by_others(np.exp(logs))))
    assert logs.min(0).mean() < -1.5
    assert abs(found.mean()) < 0.1  # four standard errors of 2000 unit normals


def test_a_loss_that_is_not_finite_counts_as_the_worst():
    losses = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert finite_or_worst(losses).tolist() == [[1.0, 2.0], [2.0, 2.0]]


def test_the_cost_is_that_of_the_first_value_at_the_target_or_all():
    values = np.array([[3.0, 1.0, 2.0], [3.0, np.nan, 2.5]])
    costs = np.array([10, 20, 30])
    assert first_at_most(values, 1.0, costs).tolist() == [20.0, 30.0]
    assert first_at_most(values, np.array([1.0, 2.5]), costs).tolist() == [20.0, 30.0]
    assert first_at_most(values, np.array([3.0, 3.0]), costs).tolist() == [10.0, 10.0]
    assert first_at_most(values[0], 2.0, costs).tolist() == 20.0
