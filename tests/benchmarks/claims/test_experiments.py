"""Parts of the experiments, on planted numbers."""

import numpy as np

# Private names: a claim as a whole trains for minutes.
from benchmarks.claims import HOLDS, UNDECIDED, _batch_norm, _batch_size
from benchmarks.claims._experiment import Cost
from benchmarks.claims._selection import resamples


RATES = np.array([0.1, 1.0, 10.0])


def test_the_highest_working_rate_is_a_bound_where_none_works_or_the_last_one_does():
    #                         none   gap  first  last
    losses = np.array([[0.9, 0.4, 0.4, 0.1], [0.8, 0.9, 0.6, 0.1], [0.7, 0.3, 0.7, 0.1]])
    highest, none, all_work = _batch_norm._highest(losses, RATES)
    assert highest.tolist() == [0.1, 10.0, 0.1, 10.0]
    assert none.tolist() == [True, False, False, False]
    assert all_work.tolist() == [False, True, False, True]
    edge = _batch_norm._highest(np.full((3, 1), _batch_norm.GOOD), RATES)
    assert edge[1].tolist() == [True]  # half is not below a half


def test_a_gain_in_rate_without_a_rate_that_works_is_a_lower_bound():
    plain = np.array([[0.9, 0.4, 0.4], [0.9, 0.9, 0.4], [0.9, 0.9, 0.4]])
    normal = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    gain = _batch_norm._gain(plain, normal, RATES)
    np.testing.assert_allclose(gain.values, [10.0, 10.0, 0.1])
    assert gain.at_least.tolist() == [True, False, False]
    assert gain.at_most.tolist() == [False, False, True]
    swapped = _batch_norm._gain(normal, plain, RATES)
    assert swapped.at_most.tolist() == gain.at_least.tolist()
    assert swapped.at_least.tolist() == gain.at_most.tolist()


def test_a_gain_that_is_a_bound_gives_a_bound_over_relu_in_its_own_direction():
    seeds = np.zeros(20, bool)
    some = seeds.copy()
    some[0] = True
    high, low = np.full(20, 100.0), np.full(20, 2.0)
    bound = _batch_norm.Gain(high, some, seeds)
    exact = _batch_norm.Gain(low, seeds, seeds)
    over = _batch_norm._over_relu("sigmoid", bound, exact)
    assert (over.at_least, over.at_most, over.shown) == (1, 0, ">= 50")
    assert over.verdict == HOLDS
    under = _batch_norm._over_relu("sigmoid", exact, bound)
    assert (under.at_least, under.at_most, under.shown) == (0, 1, "<= 0.02")
    both = _batch_norm._over_relu("sigmoid", bound, bound)
    assert both.verdict == UNDECIDED


def test_the_range_over_scales_is_that_at_the_rate_that_is_best_for_the_others():
    # Rate 0 is best in the mean over scales, with a range of log 4; rate 1 has none.
    losses = np.empty((2, 3, 5))
    losses[0] = np.array([0.1, 0.2, 0.4])[:, None]
    losses[1] = 0.5
    spread = _batch_norm._spread(losses)
    assert spread.values.shape == resamples(5).shape
    np.testing.assert_allclose(spread.values, np.log(4))
    assert not spread.capped.any()
    losses[0, 2, 3] = np.inf
    assert _batch_norm._spread(losses).capped[0].tolist() == [False] * 3 + [True, False]
    steady = np.full((2, 3, 5), 0.3)
    narrowed = _batch_norm._narrowed(losses, steady)
    assert narrowed.at_least[0].sum() == 1
    assert not narrowed.at_most.any()


def test_narrowing_is_the_range_without_less_that_with_it():
    wide = np.array([0.1, 0.2, 0.8])[None, :, None] * np.ones((1, 3, 4))
    narrow = np.array([0.1, 0.1, 0.2])[None, :, None] * np.ones((1, 3, 4))
    narrowed = _batch_norm._narrowed(wide, narrow)
    np.testing.assert_allclose(narrowed.values, np.log(8) - np.log(2))
    small = narrowed._replace(values=narrowed.values / 4)
    effect = _batch_norm._narrowed_over_relu(narrowed, narrowed, small)
    np.testing.assert_allclose(effect.value, 0.75 * np.log(4))
    np.testing.assert_allclose(_batch_norm._mean_narrowed([narrowed, small]).value, 0.866434)


def test_the_time_of_a_size_is_that_of_its_pick_with_whether_it_arrived():
    values = np.array([[1.0, 1.0, 1.0, 5.0], [3.0, 3.0, 3.0, 3.0]])
    capped = np.array([[False, False, False, True], [False] * 4])
    picked = _batch_size._picked(Cost(values, capped))
    assert picked.values[0].tolist() == [1.0, 1.0, 1.0, 5.0]
    assert picked.capped[0].tolist() == [False, False, False, True]
    assert picked.values.shape == resamples(4).shape
