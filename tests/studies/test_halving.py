"""Successive halving: what is given up, what goes on, and that one program serves all budgets."""

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
from jaxopt_course.studies import (
    Choice,
    Float,
    Rungs,
    ScheduleWarning,
    halving_rungs,
    hyperband,
    successive_halving,
    top_k_rungs,
)

# Private names: a study is broken off between two calls of its program, which is not traced again.
from jaxopt_course.studies._cohort import Cohort, programs_of
from jaxopt_course.studies._space import space_of
from jaxopt_course.training import (
    Rows,
    make_train,
    make_training,
)
from tests.training.problems import line, line_task


TASK = line_task()
ROWS = Rows(jnp.arange(8), None, jnp.arange(8, 12))
SPACE = {"rate": Float(1e-4, 10.0, log=True)}
KEY = jax.random.key(0)


def build(hyperparameters):
    return TASK, sgd(hyperparameters["rate"])


TRAINING = make_training(build, line(), batch_size=4)
RUNGS = halving_rungs(27, min_steps=3, max_steps=81)


@pytest.fixture(scope="module")
def result():
    return successive_halving(TRAINING, SPACE, key=KEY, rungs=RUNGS, rows=ROWS)


def test_the_table_of_rungs():
    assert Rungs((27, 9, 3, 1), (3, 9, 27, 81)) == RUNGS
    assert halving_rungs(10, eta=2, min_steps=50, max_steps=100) == Rungs((10, 5), (50, 100))
    assert top_k_rungs(9, 2, min_steps=3, max_steps=8) == Rungs((9, 2), (3, 8))


@pytest.mark.exhaustive
def test_each_score_is_that_of_the_whole_training(result):
    """Trained in pieces, beside others: the losses are those of `train`, stopped at the rung."""
    for rung, steps in enumerate(RUNGS.steps):
        options = {"steps": steps, "batch_size": 4, "evaluate_every": steps}
        train = jax.jit(make_train(build, line(), **options))
        for member in result.survivors[rung][:2]:
            run = train(KEY, {"rate": result.configurations[member]["rate"]}, ROWS)
            expected = run.history["validation_loss"][-1]
            np.testing.assert_allclose(result.scores[rung, member], expected, rtol=1e-9)


def test_the_best_of_a_rung_go_on_and_nobody_else(result):
    for rung, size in enumerate(RUNGS.sizes[1:]):
        best = set(result.survivors[rung][:size].tolist())
        assert set(np.flatnonzero(~np.isnan(result.scores[rung + 1]))) == best
    assert 0.03 < result.configurations[result.best]["rate"] < 1.0


def test_what_diverges_is_worst_and_disturbs_nobody(result):
    rates = np.array([c["rate"] for c in result.configurations])
    failed = np.isnan(result.scores[0]) | (result.scores[0] > 1e3)
    assert failed[rates > 5].all()
    assert not failed[rates < 0.5].any()


def test_rank_correlations_are_reported(result):
    assert result.correlations.shape == (3,)
    ranks = [np.argsort(np.argsort(result.scores[r][result.survivors[1]])) for r in (0, 1)]
    expected = np.corrcoef(*ranks)[0, 1]  # Spearman's is Pearson's of ranks
    assert result.correlations[0] == pytest.approx(expected)
    assert "rank correlation" in str(result)
    assert str(result.configurations[result.best]) in str(result)
    failed = result._replace(scores=np.full_like(result.scores, np.nan))
    assert "nan" in str(failed)
    none = str(result._replace(correlations=np.full(3, np.nan))).splitlines()
    assert [line.split()[-1] == "-" for line in none[1:5]] == [True, True, True, False]
    assert "nan" not in "".join(none)


def test_other_budgets_run_in_the_same_program(result):
    programs = programs_of(TRAINING, None, space_of(SPACE), None)
    sizes = lambda: [program._cache_size() for program in programs]
    compiled = sizes()
    assert min(compiled) > 0
    other = Rungs((27, 5, 2), (2, 7, 50))
    again = successive_halving(TRAINING, SPACE, key=KEY, rungs=other, rows=ROWS)
    assert again.rungs == other
    assert sizes() == compiled


def test_survivors_are_among_those_that_trained(result):
    """Where too few are left, those that diverged go on, and nobody who was given up before."""
    scores = np.full((3, 9), np.nan)
    scores[0], scores[1, [6, 7, 8]] = np.arange(9.0)[::-1], [np.nan, np.nan, 3.0]
    planted = result._replace(scores=scores, rungs=Rungs((9, 3, 2), (1, 2, 3)))
    assert [rung.tolist() for rung in planted.survivors[1:]] == [[8, 7, 6], [8, 7]]


@pytest.mark.exhaustive
def test_what_was_broken_off_ends_as_if_it_was_not(result, tmp_path, monkeypatch):
    halve = functools.partial(successive_halving, TRAINING, SPACE, key=KEY, rungs=RUNGS, rows=ROWS)
    advance, ends = Cohort.advance, []

    def advance_or_break(self, points, end):
        ends.append(end)
        if len(ends) == 3:
            raise KeyboardInterrupt
        return advance(self, points, end)

    monkeypatch.setattr(Cohort, "advance", advance_or_break)
    with pytest.raises(KeyboardInterrupt):
        halve(resume=tmp_path / "study")
    for _ in range(2):  # from the third rung on; then from the end
        np.testing.assert_array_equal(halve(resume=tmp_path / "study").scores, result.scores)
        assert ends == [3, 9, 27, 27, 81]
    with pytest.raises(CheckpointMismatchError, match="another `rungs`"):
        halve(resume=tmp_path / "study", rungs=Rungs((27, 1), (3, 81)))


def test_hyperband_has_brackets_from_many_short_to_few_long(result):
    brackets = hyperband(TRAINING, SPACE, key=KEY, min_steps=3, max_steps=27, rows=ROWS)
    assert [b.rungs for b in brackets] == [
        Rungs((9, 3, 1), (3, 9, 27)),
        Rungs((5, 1), (9, 27)),
        Rungs((3,), (27,)),
    ]
    points = np.concatenate([b.points for b in brackets])
    assert len(np.unique(points, axis=0)) == len(points)  # each looks elsewhere


def test_each_bracket_of_hyperband_ends_at_the_last_step():
    """Though 9 times three, of a bracket that has more than one left there, is 27."""
    brackets = hyperband(TRAINING, SPACE, key=KEY, min_steps=1, max_steps=28, rows=ROWS)
    assert brackets[2].rungs == Rungs((6, 2), (9, 28))
    assert {b.rungs.steps[-1] for b in brackets} == {28}


@pytest.mark.exhaustive
def test_the_highest_can_be_best():
    result = successive_halving(
        TRAINING, SPACE, key=KEY, rungs=Rungs((9, 3), (3, 9)), metric="loss", mode="max"
    )
    assert result.scores[1, result.best] == np.nanmax(result.scores[1])


def test_an_accuracy_is_not_minimized():
    settings = {"key": KEY, "metric": "validation_accuracy"}
    with pytest.raises(ValueError, match="successive_halving: `mode` must be 'max'"):
        successive_halving(TRAINING, SPACE, rungs=RUNGS, **settings)
    with pytest.raises(ValueError, match="hyperband: `mode` must be 'max'"):
        hyperband(TRAINING, SPACE, min_steps=3, max_steps=27, **settings)


def test_a_schedule_that_decays_within_the_budget_is_warned_of():
    decaying = lambda h: (TASK, sgd(cosine_decay_schedule(h["rate"], 9)))
    training = make_training(decaying, line(), batch_size=4)
    with pytest.warns(ScheduleWarning, match="at step 9 the optimizer's steps are"):
        successive_halving(training, SPACE, key=KEY, rungs=Rungs((3, 1), (3, 9)))


def test_what_is_no_table_is_refused():
    for rungs in (Rungs((3, 4), (1, 2)), Rungs((3, 1), (2, 2)), Rungs((), ()), Rungs((1,), (0,))):
        with pytest.raises(ValueError, match="`rungs` must be sizes that do not rise"):
            successive_halving(TRAINING, SPACE, key=KEY, rungs=rungs)
    space = {**SPACE, "width": Choice([1, 2])}
    with pytest.raises(ValueError, match="`space` must hold numbers only"):
        successive_halving(TRAINING, space, key=KEY, rungs=RUNGS)
    with pytest.raises(ValueError, match="`points` must be at least 27, of 1 numbers"):
        successive_halving(TRAINING, SPACE, key=KEY, rungs=RUNGS, points=np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"of 1 numbers in \[0, 1\]"):
        successive_halving(TRAINING, SPACE, key=KEY, rungs=RUNGS, points=np.full((27, 1), 1.5))
    with pytest.raises(ValueError, match=r"top_k_rungs: `trials` must lie in \[1, inf\), got 0"):
        top_k_rungs(0, 1, min_steps=1, max_steps=2)


def test_a_place_without_a_training_is_no_nan():
    """The first bracket has 2 configurations in 3 places, and JAX checks a program's first call."""
    training = make_training(build, line(), batch_size=4)
    options = {"key": KEY, "eta": 1.2, "min_steps": 10, "max_steps": 15, "rows": ROWS}
    with jax.debug_nans(True):
        brackets = hyperband(training, {"rate": Float(0.01, 0.1)}, **options, progress=False)
    assert [own.rungs.sizes[0] for own in brackets] == [2, 2, 3]
