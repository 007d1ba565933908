"""Intervals, verdicts, bounds, and the picks that keep a number from being chosen and judged at
once."""

import json

import numpy as np
import pytest

from benchmarks.claims import (
    DEPENDS,
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Claimed,
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
from benchmarks.claims._effects import COMPARISONS, COVERAGE, judge_claim
from benchmarks.claims._experiment import first_at_most
from benchmarks.claims._selection import finite_or_worst, pick_by_others, picked, resamples


ABOVE_0 = Claimed(0.0, np.inf, "a planted size")
TAIL = 0.05 / COMPARISONS / 2


def test_the_interval_of_a_mean_is_students():
    # s = 1, n = 3. With 2 degrees of freedom t_p = (2 p - 1) / sqrt(2 p (1 - p)).
    effect = mean_effect("x", np.array([1.0, 2.0, 3.0]), ABOVE_0)
    half = (1 - 2 * TAIL) / np.sqrt(2 * TAIL * (1 - TAIL)) / np.sqrt(3)
    np.testing.assert_allclose(effect[1:4], (2.0, 2 - half, 2 + half), rtol=1e-6)


def test_a_ratio_is_the_geometric_mean():
    effect = ratio_effect("x", np.array([1.0, 4.0]), np.array([1.0, 2.0]), ABOVE_0)
    # With 1 degree of freedom t is Cauchy's; s / sqrt(2) = |log 2 - log 1| / 2.
    half = np.log(2) / 2 / np.tan(np.pi * TAIL)
    np.testing.assert_allclose(effect.value, np.sqrt(2))
    np.testing.assert_allclose(
        np.log([effect.low, effect.high]), np.log(2) / 2 + half * np.array([-1, 1])
    )


def test_an_interval_of_two_seeds_that_differ_widely_has_no_end():
    effect = ratio_effect("x", np.array([1.0, 1e4]), np.ones(2), ABOVE_0)
    assert (effect.low, effect.high) == (0.0, np.inf)
    assert effect.verdict == UNDECIDED


def test_the_interval_of_a_share_has_its_closed_forms_at_both_ends():
    none, all_of_them = (share_effect("x", np.full(10, hit), ABOVE_0) for hit in (False, True))
    bound = TAIL ** (1 / 10)  # all of n with the probability p: p^n is one tail
    np.testing.assert_allclose(none[1:4], (0.0, 0.0, 1 - bound), atol=1e-9)
    np.testing.assert_allclose(all_of_them[1:4], (1.0, bound, 1.0), atol=1e-9)


@pytest.mark.exhaustive
def test_all_intervals_of_a_table_hold_their_truths_in_95_of_a_hundred_tables():
    rng = np.random.default_rng(0)
    tables = 200

    def holds_all():
        effects = [mean_effect("x", draw, ABOVE_0) for draw in rng.normal(size=(COMPARISONS, 5))]
        return all(effect.low < 0 < effect.high for effect in effects)

    held = np.mean([holds_all() for _ in range(tables)])
    assert abs(held - 0.95) < 4 * np.sqrt(0.95 * 0.05 / tables)  # four standard errors
    assert np.isclose(COVERAGE, 1 - 0.05 / COMPARISONS, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "claimed", "verdict"),
    [
        (1.1, 1.9, (1.0, 2.0), HOLDS),
        (2.1, 3.0, (1.0, 2.0), FAILS),
        (0.1, 0.9, (1.0, 2.0), FAILS),
        (0.5, 1.5, (1.0, 2.0), UNDECIDED),
        (0.5, 2.5, (1.0, 2.0), UNDECIDED),
        (2.0, 2.0, (1.0, 2.0), FAILS),  # an exact number on the edge is not between
        (0.3, 0.6, (0.2, np.inf), HOLDS),
        (0.1, 0.6, (0.2, np.inf), UNDECIDED),  # an effect, but maybe smaller than what counts
        (-0.1, 0.1, (0.2, np.inf), FAILS),  # no effect of that size
        (0.05, 0.1, (0.2, np.inf), FAILS),  # an effect, but smaller than what counts
        (-0.9, -0.4, (0.2, np.inf), FAILS),  # the opposite effect
        (-0.9, 0.4, (0.2, np.inf), UNDECIDED),
        (0.3, np.inf, (0.2, np.inf), HOLDS),  # a lower bound
        (-np.inf, 0.1, (-np.inf, 0.2), HOLDS),
        (-np.inf, np.inf, (0.2, np.inf), UNDECIDED),
    ],
)
def test_the_whole_interval_decides_on_an_effect(low, high, claimed, verdict):
    assert Effect("x", 0.0, low, high, Claimed(*claimed)).verdict == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([FAILS, FAILS], FAILS),
        ([HOLDS, FAILS], DEPENDS),
        ([HOLDS, UNDECIDED, FAILS], DEPENDS),
        ([HOLDS, UNDECIDED], UNDECIDED),
        ([FAILS, UNDECIDED], UNDECIDED),
        ([UNDECIDED], UNDECIDED),
    ],
)
def test_the_effects_decide_on_a_claim(found, verdict):
    ends = {HOLDS: (1.0, 2.0), FAILS: (-2.0, -1.0), UNDECIDED: (-1.0, 1.0)}
    assert judge_claim(Effect("x", 0.0, *ends[own], ABOVE_0) for own in found) == verdict


@pytest.mark.parametrize("effect", [1.0, 1.049, 1.051, 1.2, 1 / 1.2])
def test_a_true_effect_is_never_judged_to_be_its_contrary(effect):
    # The verdict of 200 experiments with other seeds is right or open, whatever the true size.
    rng = np.random.default_rng(1)
    claimed = Claimed(1.05, np.inf, "a planted size")
    verdicts = [
        ratio_effect("x", np.exp(np.log(effect) + 0.1 * noise), np.ones(20), claimed).verdict
        for noise in rng.normal(size=(200, 20))
    ]
    assert (FAILS if effect > 1.05 else HOLDS) not in verdicts
    if effect in (1.2, 1 / 1.2):
        assert verdicts.count(UNDECIDED) < 20


def test_capped_numbers_are_printed_as_bounds_and_leave_the_interval_open():
    values = np.array([10.0, 20.0, 30.0])
    some, ones = np.array([True, False, True]), np.ones(3)
    lower = ratio_effect("x", values, ones, ABOVE_0, above_capped=some)
    assert (lower.at_least, lower.at_most, lower.high) == (2, 0, np.inf)
    assert lower.low == ratio_effect("x", values, ones, ABOVE_0).low
    assert lower.shown == ">= 18.2"
    upper = ratio_effect("x", values, ones, ABOVE_0, below_capped=some)
    assert (upper.at_least, upper.at_most, upper.low) == (0, 2, 0.0)
    assert upper.shown == "<= 18.2"
    neither = ratio_effect("x", values, ones, ABOVE_0, above_capped=some, below_capped=~some)
    assert neither.verdict == mean_effect("x", values, ABOVE_0, at_least=some, at_most=some).verdict
    assert neither.verdict == UNDECIDED
    assert "bounded on neither side" in neither.shown
    assert mean_effect("x", values, ABOVE_0, at_most=some).low == -np.inf


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
        ((0.0,), UNDECIDED),
        ((9.0, -9.0), DEPENDS),
        ((-9.0, -8.0), FAILS),
        ((9.0, 0.0), UNDECIDED),
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
    less = exact_effect("less", 2.0, Claimed(-np.inf, 0.0, "it is exact"))
    more = exact_effect("more", 0.0, Claimed(-1.0, np.inf, "it is exact"))
    bound = mean_effect("at least", np.ones(3), ABOVE_0, at_least=np.ones(3, bool))
    effects = (less, more, bound)
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
    assert pick_by_others(losses)[0].tolist() == [1, 1, 0]
    logs = np.log(losses)
    others = [logs[:, [j for j in range(3) if j != i]].mean(1).argmin() for i in range(3)]
    assert pick_by_others(losses)[0].tolist() == others
    # In a resample the copies of a seed are left out with it.
    for counts, picks in zip(resamples(3), pick_by_others(losses), strict=True):
        for i in range(3):
            sums = logs @ np.where(np.arange(3) == i, 0, counts)
            assert sums[picks[i]] == pytest.approx(sums.min(), abs=1e-12)
    assert picked(losses, np.array([0, 0, 1])).tolist() == [1.0, 1.0, 0.5]


def test_noise_looks_no_better_for_having_been_picked():
    # Twenty configurations that do not differ, in many experiments of ten seeds: the best of each
    # seed is far below the mean, and the pick of the others is not.
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        logs = rng.normal(size=(20, 10))
        assert logs.min(0).mean() < -1.0
        found.append(picked(logs, pick_by_others(np.exp(logs))[0]).mean())
    assert abs(np.mean(found)) < 4 / np.sqrt(100 * 10)  # four standard errors


def test_the_standard_error_of_what_is_not_chosen_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=20)
    alone = mean_effect("x", values, ABOVE_0)
    resampled = mean_effect("x", np.broadcast_to(values, resamples(20).shape), ABOVE_0)
    assert resampled.value == alone.value
    width = lambda effect: effect.high - effect.low
    # The standard error of 2000 resamples is known to 1.6 %: three of these.
    assert width(resampled) == pytest.approx(width(alone), rel=0.05)


def test_the_interval_holds_the_choice_of_the_configuration():
    # Two configurations are equally good in the mean, and each is good for half of the seeds: which
    # one is chosen hangs by a thread, and its value moves with it.
    rng = np.random.default_rng(0)
    logs = np.stack([np.tile([1.0, -1.0], 10), np.tile([-1.0, 1.0], 10)])
    logs = logs + 0.1 * rng.normal(size=logs.shape)
    picks = pick_by_others(np.exp(logs))
    nested = mean_effect("x", picked(logs, picks), ABOVE_0)
    fixed = mean_effect("x", logs[0], ABOVE_0)
    assert nested.high - nested.low > 1.2 * (fixed.high - fixed.low)


def test_a_loss_that_is_not_finite_counts_as_the_worst():
    losses = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert finite_or_worst(losses).tolist() == [[1.0, 2.0], [2.0, 2.0]]


def test_the_cost_is_that_of_the_first_value_at_the_target_or_all():
    values = np.array([[3.0, 1.0, 2.0], [3.0, np.nan, 2.5]])
    costs = np.array([10, 20, 30])
    found = first_at_most(values, 1.0, costs)
    assert (found.values.tolist(), found.capped.tolist()) == ([20.0, 30.0], [False, True])
    found = first_at_most(values, np.array([1.0, 2.5]), costs)
    assert (found.values.tolist(), found.capped.tolist()) == ([20.0, 30.0], [False, False])
    assert first_at_most(values, np.array([3.0, 3.0]), costs).values.tolist() == [10.0, 10.0]
    assert first_at_most(values[0], 2.0, costs).values.tolist() == 20.0
    each = first_at_most(values, 1.0, np.array([[1, 2, 3], [4, 5, 6]]))
    assert each.values.tolist() == [2.0, 6.0]
