"""What is read off stored trials: by hand where they are few, by planted truths where many."""

import json

import numpy as np
import pytest

from jaxopt_course.workloads import (
    Summary,
    Trials,
    best_trials,
    edge_shares,
    pairwise_differences,
    performance_profiles,
    summarize,
    tuning_curves,
    tuning_studies,
)

from .stored import LENGTH, NEVER, lottery, stored


def constant(steps, trials=3, seeds=2):
    """The same steps in every training."""
    return np.full((trials, seeds), steps)


def three_on_four():
    """Steps to the target of a, b and c on four workloads, whatever is tuned."""
    table = {"a": [10, 40, 30, NEVER], "b": [20, 20, 90, NEVER], "c": [40, 10, NEVER, NEVER]}
    return stored(
        {own: {f"w{k}": constant(x) for k, x in enumerate(row)} for own, row in table.items()},
        seconds={"a": 1.0, "b": 0.25, "c": 1.0},
    )


def comparison_of(values):
    """Of one optimizer "a": values[workload, trial, evaluation], equal for all seeds and variants.

    The evaluations are after 10, 20, ... steps, and the target is 1.
    """
    costs = np.arange(10.0, 10.0 * len(values[0][0]) + 1, 10.0)
    trials = {f"w{k}": Trials(np.stack([x, x], 1), costs, 1.0) for k, x in enumerate(values)}
    like = stored({"a": dict.fromkeys(trials, constant(1, trials=len(values[0])))})
    return like._replace(
        targets=dict.fromkeys(like.targets, 1.0),
        trials={cell: trials[cell[1]] for cell in like.trials},
    )


def test_costs_are_of_the_first_evaluation_at_the_target_and_failures_never_get_there():
    nan = np.nan
    values = np.array([[3, 1, 2, 0.5], [1.5, 0.9, nan, nan], [nan] * 4, [4, 3, 2, 1.1]])
    defaults = tuning_studies(comparison_of([[x, x] for x in values]), 1, studies=1)
    np.testing.assert_array_equal(defaults.steps["held_out"][0, 0], [20, 20, np.inf, np.inf])
    # trials rank by steps, then by the best value
    ordered = [(0, 1), (1, 3), (3, 2)]
    best = best_trials(comparison_of([values[[worse, better]] for better, worse in ordered]))
    assert set(best.values()) == {1}
    best = best_trials(comparison_of([values[list(pair)] for pair in ordered]))
    assert set(best.values()) == {0}


def test_profiles_are_those_computed_by_hand():
    studies = tuning_studies(three_on_four(), 2, studies=5)
    profiles = performance_profiles(studies)
    at = lambda factor: profiles.shares[:, np.argmin(np.abs(profiles.factors - factor))]
    # ratios: a 1, 4, 1; b 2, 2, 3; c 4, 1, never; nobody reaches the last
    np.testing.assert_allclose(at(1.0), [0.5, 0.0, 0.25])
    np.testing.assert_allclose(at(2.0), [0.5, 0.5, 0.25])
    np.testing.assert_allclose(at(4.0), [0.75, 0.75, 0.5])
    np.testing.assert_allclose(at(16.0), [0.75, 0.75, 0.5])
    np.testing.assert_array_equal(profiles.low, profiles.shares)
    # b takes a quarter of the time: seconds 5, 5, 22.5
    by_time = performance_profiles(studies, clock="seconds", setting="held_out")
    np.testing.assert_allclose(by_time.shares[:, 0], [0.0, 0.75, 0.0])


def test_pairs_are_those_computed_by_hand():
    pairs = pairwise_differences(tuning_studies(three_on_four(), 2, studies=5))
    # a over b: 1/2, 2, 1/3, equal; never counts as twice the length
    logs = np.log([[10 / 20, 40 / 20, 30 / 90, 1], [10 / 40, 40 / 10, 30 / 200, 1]])
    np.testing.assert_allclose(pairs.log_ratios[0, 1:], np.median(logs, 1))
    np.testing.assert_allclose(pairs.wins[0, 1:], [2.5 / 4, 2.5 / 4])
    np.testing.assert_allclose(pairs.log_ratios, -pairs.log_ratios.T)
    np.testing.assert_allclose(pairs.wins + pairs.wins.T, 1.0)
    np.testing.assert_array_equal(pairs.low, pairs.log_ratios)
    ratio = np.exp(pairs.log_ratios[0, 1])
    first = f"a over b: {ratio:.2f} [{ratio:.2f}, {ratio:.2f}] in steps, cheaper on 62% of"
    assert str(pairs).startswith(first)
    assert len(str(pairs).splitlines()) == 3
    by_time = pairwise_differences(
        tuning_studies(three_on_four(), 1, studies=2), clock="seconds", setting="held_out"
    )
    logs = np.log([10 / 5, 40 / 5, 30 / 22.5, 1])
    np.testing.assert_allclose(by_time.log_ratios[0, 1], np.median(logs))


def test_tuning_curves_are_those_computed_by_hand():
    drawn = [tuning_studies(three_on_four(), budget, studies=3) for budget in (1, 2)]
    curves = tuning_curves(drawn)
    assert curves.budgets == (1, 2)
    expected = [(0.1 * 0.4 * 0.3 * 2) ** 0.25, (0.2 * 0.2 * 0.9 * 2) ** 0.25]
    np.testing.assert_allclose(curves.costs[:, :2], [expected, expected])
    np.testing.assert_allclose(curves.reached, [[0.75, 0.75, 0.5]] * 2)
    np.testing.assert_array_equal(curves.each[0, 2], [40, 10, np.inf, np.inf])
    by_time = tuning_curves(drawn, clock="seconds")
    # in seconds too, never is twice the longest whole training: 200, not 50
    np.testing.assert_allclose(by_time.costs[0, 1], (5 * 5 * 22.5 * 200) ** 0.25)


def test_a_study_is_scored_by_another_seed_than_it_was_picked_by():
    steps = np.array([[50, 50], [10, 90], [90, 20], [60, 60]])
    held_out = np.array([[1], [2], [3], [4]])
    comparison = stored({"a": {"w": steps}}, {"a": {"w": held_out}})
    studies = tuning_studies(comparison, 3, studies=400)
    picks, fresh = studies.picks[:, 0, 0], studies.steps["fresh_seed"][:, 0, 0]
    assert set(picks) == {1, 2, 3}  # the defaults, 0, are of the budget 1
    # The favourite of either seed is 90 to the other; a study that has not drawn it takes trial 3
    # or, if all its draws are the other seed's favourite, that one.
    for value, chance in ((90, 1 - (2 / 3) ** 3), (60, (2 / 3) ** 3 - (1 / 3) ** 3)):
        error = np.sqrt(chance * (1 - chance) / len(fresh))
        assert (fresh == value).mean() == pytest.approx(chance, abs=4 * error)
    assert set(fresh[picks == 3]) == {60.0}
    np.testing.assert_array_equal(studies.steps["held_out"][:, 0, 0], picks + 1)
    defaults = tuning_studies(comparison, 1, studies=10)
    assert set(defaults.steps["fresh_seed"].ravel()) == {50.0}


def test_the_same_optimizer_under_two_names_does_not_differ():
    held = 0
    for seed in range(20):
        studies = tuning_studies(lottery(seed, {"adam": 1.0, "madam": 1.0}), 20, studies=100)
        pairs = pairwise_differences(studies)
        assert pairs.differ.diagonal().sum() == 0
        held += not pairs.differ[0, 1]
        assert pairs.wins_low[0, 1] <= 0.5 <= pairs.wins_high[0, 1] or pairs.differ[0, 1]
    assert held >= 18  # of 20: an interval of 95 % misses three or more in 8 % of such series


def test_a_planted_winner_is_found_and_by_how_much():
    comparison = lottery(0, {"sgd": 1.0, "winner": 0.5, "adam": 1.0})
    for budget in (20, 100):
        pairs = pairwise_differences(tuning_studies(comparison, budget, studies=300))
        assert pairs.differ[1].tolist() == [True, False, True]
        assert pairs.high[1, 0] < 0
        assert pairs.low[1, 0] < np.log(0.5) < pairs.high[1, 0]  # the planted factor
        assert not pairs.differ[0, 2]


def test_a_bad_optimizer_changes_no_pair_of_others_bit_for_bit():
    without = lottery(1, {"sgd": 1.0, "adam": 0.8})
    bad = {"w" + str(k): np.full((101, 2), NEVER) for k in range(12)}
    steps = {own: {} for own in without.optimizers}
    for own, on, variant in without.trials:
        if variant == "base":
            reached = without.trials[own, on, variant].values <= 0.5
            steps[own][on] = np.where(reached.any(-1), 1 + reached.argmax(-1), NEVER)
    joined = stored({"bad": bad, **steps})
    first, second = (
        pairwise_differences(tuning_studies(x, 20, studies=200)) for x in (without, joined)
    )
    for field in ("log_ratios", "low", "high", "wins", "wins_low", "wins_high"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field)[1:, 1:])
    assert (second.wins[1:, 0] > 0.9).all()


def test_more_trials_cost_less_in_the_end():
    drawn = [tuning_studies(lottery(2, {"a": 1.0}), b, studies=300) for b in (5, 20, 100)]
    costs = tuning_curves(drawn).costs[:, 0]
    assert (np.diff(costs) < 0).all()
    # a merit uniform in [15, 120]: the least of b has the mean 15 + 105 / (b + 1)
    assert costs[0] == pytest.approx((15 + 105 / 6) / LENGTH, rel=0.15)


def test_picks_at_an_edge_are_counted_and_flagged():
    falling = np.arange(100, 57, -1)[:, None] * np.ones((1, 2))  # the last trial is the best
    comparison = stored(
        {"a": {"w": falling, "v": falling[::-1]}, "b": {"w": falling, "v": falling}}
    )
    studies = tuning_studies(comparison, 40, studies=200)
    edges = edge_shares(comparison, studies)
    assert edges.ranges == (("a", "rate"), ("b", "rate"))
    upper = (studies.picks[:, 0, 0] >= 40).mean()  # of 42: 95 % lie at 39.9
    assert edges.high[0, 0] == upper > 0.8
    assert edges.low[0, 1] > 0.5  # the defaults, trial 0, are never drawn
    found = {(own, end) for own, _, end, _ in edges.flags}
    assert found == {("a", "lower"), ("a", "upper"), ("b", "upper")}


def test_a_summary_can_be_printed_and_written():
    summary = summarize(lottery(3, {"sgd": 1.0, "adam": 0.5}), studies=50, budgets=(1, 20, 1000))
    assert summary.budgets == (1, 20)
    lines = str(summary).splitlines()
    assert lines[1].startswith("adam")  # the cheapest first
    text = summary.markdown()
    assert text.count("## Cost to the target") == 4
    assert "| adam | " in text
    assert "**" in text
    record = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    np.testing.assert_array_equal(
        record["pairs"]["steps/fresh_seed"]["log_ratios"],
        summary.pairs["steps", "fresh_seed"].log_ratios,
    )
    assert set(record["best"]["adam"]) == set(summary.workloads)


def test_a_summary_is_read_again_from_what_json_keeps_of_it():
    steps = {"a": {"w": constant(10), "v": constant(NEVER)}, "b": {"w": constant(20)}}
    summary = summarize(stored({"a": steps["a"], "b": steps["a"] | steps["b"]}), studies=20)
    again = Summary.from_json(json.loads(json.dumps(summary.as_json(), allow_nan=False)))
    assert np.isinf(again.tuning["steps", "fresh_seed"].each).any()  # JSON has null for these
    assert str(again) == str(summary)
    assert again.markdown() == summary.markdown()
    assert again.as_json() == summary.as_json()
    assert again.best == summary.best


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, s: tuning_studies(c, 3), r"`budget` must lie in \[1, 2\], got 3"),
        (lambda c, s: performance_profiles(s, clock="step"), "Did you mean 'steps'"),
        (lambda c, s: pairwise_differences(s, setting="base"), "`setting` must be one of"),
        (lambda c, s: tuning_curves([]), "at least one budget, got none"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    comparison = three_on_four()
    with pytest.raises(ValueError, match=message):
        call(comparison, tuning_studies(comparison, 1, studies=1))
