"""Population-based training: who is replaced, by what, and that each way is one training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointMismatchError,
)
from jaxopt_course.optimizers import sgd
from jaxopt_course.schedules import cosine_decay_schedule
from jaxopt_course.studies import Choice, Float, Int, ScheduleWarning, population_based_training

# Private names: a study is broken off between two calls of its program, and turns are drawn.
from jaxopt_course.studies import _cohort as cohorts
from jaxopt_course.studies._population_based import Turn, multiplied, turn
from jaxopt_course.studies._space import space_of
from jaxopt_course.tasks import Task
from jaxopt_course.training import (
    make_training,
)
from jaxopt_course.transforms import inject_hyperparams


KEY = jax.random.key(0)
SPACE = {"rate": Float(1e-5, 1e60, log=True)}
RATES = np.array([1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3e-2, 6e-2, 1e50])
POINTS = (np.log(RATES / 1e-5) / np.log(1e65))[:, None]
OWN = np.arange(8)


def bowl():
    """w^2 / 2 from a w of the key's own, with a momentum-like memory of noise: rate 1 ends it."""

    def init(key):
        return {"w": 1 + jax.random.uniform(key)}, {}

    def loss(params, model_state, batch, *, key, train):
        return params["w"] ** 2 / 2 + 0 * batch.inputs, (model_state, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


def build(hyperparameters):
    return bowl(), sgd(hyperparameters["rate"], momentum=0.5)


DATA = (jnp.zeros(6), jnp.zeros(6))
TRAINING = make_training(build, DATA, batch_size=3)
train = functools.partial(
    population_based_training,
    TRAINING,
    SPACE,
    key=KEY,
    members=8,
    rounds=8,
    interval=5,
    quantile=0.25,
    resample=0.0,
    points=POINTS,
    progress=False,
)


@pytest.fixture(scope="module")
def result():
    return train()


@pytest.fixture(scope="module")
def plain():
    """Nobody is replaced."""
    return train(quantile=0.0)


@jax.jit
def piece(progress, rate, end):
    """A round, by ``training`` alone."""
    own = TRAINING({"rate": rate})
    progress, row = own.evaluate(own.advance(progress, end))
    return progress, jnp.where(progress.running, row["loss"], jnp.nan)


def replayed(result, member):
    """The scores along the lineage of ``member``."""
    places = result.lineage(member)
    key = jax.random.fold_in(KEY, places[0])
    progress, scores = TRAINING({"rate": 0.0}).start(key), []
    for r, place in enumerate(places):
        progress, score = piece(progress, result.values[r, place, 0], int(result.steps[r]))
        scores.append(float(score))
    return scores, [float(result.scores[r, place]) for r, place in enumerate(places)]


def same(result, whole):
    for name in ("points", "scores", "parents", "correlations"):
        np.testing.assert_array_equal(getattr(result, name), getattr(whole, name))


def test_the_way_to_each_member_is_one_training_with_a_schedule(result):
    """To the bit: a copy has its parent's parameters, momentum and key, and its own numbers."""
    for member in {result.best, *np.flatnonzero(result.parents[-1] != OWN).tolist()}:
        again, scores = replayed(result, member)
        assert again == scores
    rates = [configuration["rate"] for configuration in result.schedule]
    places = result.lineage(result.best)
    assert rates == [result.values[r, place, 0] for r, place in enumerate(places)]


def test_without_exploitation_all_are_plain_trainings(plain):
    np.testing.assert_array_equal(plain.parents, np.tile(OWN, (8, 1)))
    np.testing.assert_array_equal(plain.points, np.tile(POINTS, (8, 1, 1)))
    for member in (0, 6):
        again, scores = replayed(plain, member)
        assert again == scores
    assert np.isnan(plain.scores[:, 7]).all()


def test_the_worst_become_copies_of_the_best_with_numbers_near_theirs(result):
    for r in range(7):
        order = np.argsort(np.nan_to_num(result.scores[r], nan=np.inf), kind="stable")
        copies = np.flatnonzero(result.parents[r + 1] != OWN)
        assert set(copies) == set(order[-2:])
        parents = result.parents[r + 1, copies]
        assert set(parents) <= set(order[:2])
        ratios = result.values[r + 1, copies, 0] / result.values[r, parents, 0]
        assert (np.isclose(ratios, 0.8) | np.isclose(ratios, 1.2)).all()
        stay = np.setdiff1d(OWN, copies)
        np.testing.assert_array_equal(result.points[r + 1, stay], result.points[r, stay])


def test_what_diverges_is_replaced(result):
    assert np.isnan(result.scores[0, 7])
    assert np.isfinite(result.scores[1:]).all()


def test_rates_climb_to_where_a_quadratic_ends_soonest(result, plain):
    """All begin far below; the losses fall below those of the best of them by orders."""
    assert result.schedule[-1]["rate"] > 1.5 * RATES[:7].max()
    assert np.nanmin(result.scores[-1]) < 0.3 * np.nanmin(plain.scores[-1])
    assert result.schedule[0]["rate"] <= RATES[:7].max()


def test_the_result_says_what_happened(result):
    lines = str(result).splitlines()
    assert len(lines) == 1 + 8 + 1
    assert lines[0].split()[-1] == "rate"
    assert lines[-2].split()[-1] == f"{result.schedule[-1]['rate']:.4g}"
    assert lines[-1].startswith(f"best: member {result.best}")
    stayed = result.parents[1] == OWN
    ranks = [np.argsort(np.argsort(result.scores[r][stayed])) for r in (0, 1)]
    assert result.correlations[0] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    with pytest.raises(ValueError, match=r"`member` must lie in \[0, 8\), got 8"):
        result.lineage(8)


def test_the_highest_can_be_best_in_the_same_program(result):  # of which the lowest is
    programs = cohorts.programs_of(TRAINING, None, space_of(SPACE), None)
    compiled = [program._cache_size() for program in programs]
    assert min(compiled) > 0
    found = train(mode="max", rounds=2, interval=3, quantile=0.5)
    assert found.scores[1, found.best] == np.nanmax(found.scores[1])
    assert [program._cache_size() for program in programs] == compiled


def break_off_at(monkeypatch, call):
    """As a full disk or a Ctrl-C would."""
    advance, calls = cohorts.Cohort.advance, []

    def advance_or_break(self, points, end):
        calls.append(end)
        if len(calls) == call:
            raise KeyboardInterrupt
        return advance(self, points, end)

    monkeypatch.setattr(cohorts.Cohort, "advance", advance_or_break)
    return calls


@pytest.mark.exhaustive
def test_what_was_broken_off_ends_as_if_it_was_not(result, tmp_path, monkeypatch):
    path = tmp_path / "study"
    with monkeypatch.context() as context:
        break_off_at(context, 4)
        with pytest.raises(KeyboardInterrupt):
            train(resume=path)
    calls = break_off_at(monkeypatch, 0)
    same(train(resume=path), result)
    assert calls == [20, 25, 30, 35, 40]
    same(train(resume=path), result)
    assert len(calls) == 5
    with pytest.raises(CheckpointMismatchError, match="another `turn`"):
        train(resume=path, quantile=0.5)
    training = make_training(lambda h: (bowl(), sgd(h["rate"])), DATA, batch_size=3)
    with pytest.raises(CheckpointMismatchError, match="another `training`"):
        train.func(training, SPACE, **{**train.keywords, "resume": path})


def test_turns():
    how = Turn(0.4, (0.5, 2.0), 0.0)
    ranges = [Float(1.0, 16.0, log=True), Float(0.0, 1.0)]
    points = np.linspace(0.3, 0.7, 10).reshape(5, 2)
    scores = np.array([1.0, np.nan, 0.0, np.inf, 2.0])
    parents, new = turn(how, ranges, points, scores, "min", (0, 3))
    assert parents.tolist()[::2] == [0, 2, parents[4]]  # 1 and 3 are worst, 4 is neither
    assert parents[4] == 4
    assert {parents[1], parents[3]} <= {0, 2}
    for member in (1, 3):
        u = points[parents[member]]
        assert abs(new[member, 0] - u[0]) == pytest.approx(0.25, abs=1e-12)
        assert new[member, 1] / u[1] in (0.5, 2.0) or new[member, 1] == 1.0
    again = turn(how, ranges, points, scores, "min", (0, 3))
    np.testing.assert_array_equal(again[1], new)
    others = [turn(how, ranges, points, scores, "min", (0, r))[1] for r in range(20)]
    assert len({tuple(other[1]) for other in others}) > 3
    everyone = np.full(5, np.nan)
    np.testing.assert_array_equal(turn(how, ranges, points, everyone, "min", (0, 0))[1], points)
    drawn = [
        turn(how._replace(resample=1.0), ranges, points, scores, "max", (0, r))[1][1]
        for r in range(300)
    ]
    np.testing.assert_allclose(np.mean(drawn, 0), 0.5, atol=0.07)  # four deviations


def test_multiplying_moves_the_value_by_the_factor():
    for kind in (Float(1.0, 100.0), Float(1.0, 100.0, log=True), Float(-3.0, 50.0)):
        assert kind.at(multiplied(kind, 0.4, 1.2)) == pytest.approx(1.2 * kind.at(0.4))
        assert kind.at(multiplied(kind, 0.9, 1e6)) == kind.high
    for kind in (Int(1, 5), Int(1, 5, log=True)):
        u = 0.3
        before = kind.at(u)
        for _ in range(4):
            u = multiplied(kind, u, 1.2)  # each below one half of the step from 2 to 3
        assert kind.at(u) > before


def test_what_does_not_fit_is_refused(as_users_run_it):
    keeping = lambda h: (bowl(), inject_hyperparams(sgd)(h["rate"]))
    for sentence, options in {
        "`space` must hold numbers only": {"space": {**SPACE, "width": Choice([1, 2])}},
        r"`quantile` must lie in \[0, 0.5\], got 0.6": {"quantile": 0.6},
        r"`factors` must lie in \(0, inf\), got 0.0": {"factors": (0.0, 1.2)},
        r"`factors` must be two numbers, got \(0.8, 1, 1.2\)": {"factors": (0.8, 1, 1.2)},
        r"`points` must be at least 8, of 1 numbers": {"points": POINTS[:3]},
        "`mode` must be 'max' for the metric 'accuracy'": {"metric": "accuracy"},
        r"of 1 numbers in \[0, 1\], got": {"points": np.where(POINTS > 0.5, np.nan, POINTS)},
        "take rate again in every round, but its state keeps": {
            "training": make_training(keeping, DATA, batch_size=3)
        },
    }.items():
        arguments = {"training": TRAINING, "space": SPACE, **train.keywords, **options}
        with pytest.raises(ValueError, match=sentence):
            population_based_training(**arguments)


def test_a_schedule_that_decays_within_the_rounds_is_warned_of():
    decaying = lambda h: (bowl(), sgd(cosine_decay_schedule(h["rate"], 10)))
    training = make_training(decaying, DATA, batch_size=3)
    with (
        pytest.warns(ScheduleWarning, match="at step 10 the optimizer's steps are"),
        pytest.raises(ValueError, match="must be one of"),  # before anything is compiled
    ):
        train.func(training, SPACE, **{**train.keywords, "rounds": 2, "metric": "error"})
