"""A search: who gets what, what wins, what fails, how it is run, and what is kept."""

import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.core import show_progress
from jaxopt_course.data import k_fold
from jaxopt_course.optimizers import sgd
from jaxopt_course.studies import (
    Choice,
    Float,
    Int,
    SearchResult,
    best_configuration,
    configuration_at,
    cross_validate,
    reevaluate,
    search,
)

# A private name: a planted clock says how long programs take.
from jaxopt_course.studies import _program as programs
from jaxopt_course.training import OutcomeCode, Rows, make_train
from tests.training.problems import line, line_task

from .problems import FOLDS, SPACE, descend, expected_scores


quietly = functools.partial(search, progress=False)


@pytest.mark.parametrize("strategy", ["map", "chunk", "vmap", "auto"])
def test_every_training_gets_its_configuration_fold_and_seed(strategy, key):
    result = quietly(
        descend,
        SPACE,
        key=key,
        trials=7,
        seeds=3,
        folds=FOLDS,
        strategy=strategy,
        chunk_size=4 if strategy == "chunk" else None,
    )
    expected = expected_scores(result.configurations, key, range(3))
    assert 0 < np.isnan(expected).sum() < expected.size
    # The rate is rounded once, to the default dtype, and float32 keeps 7 digits.
    np.testing.assert_allclose(result.scores, expected, rtol=1e-5)
    assert result.history["validation_loss"].shape == (7, 2, 3, 3)
    np.testing.assert_array_equal(result.history["step"][4, 1, 2], [1, 2, 3])
    assert ((result.outcomes == OutcomeCode.DIVERGED) == np.isnan(expected)).all()
    assert sum(result.chunks.values()) == 42


def test_the_best_rate_is_found_and_a_failure_is_last(key):
    """w jumps to its minimum with the rate 1/2; from 1 on all is NaN."""
    result = quietly(descend, SPACE, key=key, trials=64, seeds=2)
    best = best_configuration(result)
    assert abs(best.configuration["rate"] - 0.5) < 0.1
    assert best.mean == np.nanmin(result.values)
    assert best.trainings == 2
    failed = np.array([c["rate"] >= 1 for c in result.configurations])
    assert failed.any()
    assert set(result.ranking[-failed.sum() :]) == set(np.flatnonzero(failed))
    spread = result.scores[best.number].std(ddof=1) / np.sqrt(2)
    assert best.standard_error == pytest.approx(spread)
    text = str(result)
    head, first, *_ = text.splitlines()
    columns = ["rank", "configuration", "rate", "loss", "standard error", "failed"]
    assert re.split(r"\s{2,}", head) == columns
    values = [1, best.number, best.configuration["rate"], best.mean, best.standard_error, 0]
    assert first.split() == [f"{value:.4g}" for value in values]
    assert f"{failed.sum()} configurations with a failed training" in text


def test_the_table_names_its_metric_and_has_no_column_without_numbers(key):
    named = {"metric": "accuracy", "mode": "max"}, {"folds": FOLDS}, {"metric": lambda run: 1.0}
    for options, score in zip(named, ("accuracy", "validation loss", "score"), strict=True):
        head = str(quietly(descend, SPACE, key=key, trials=2, **options)).splitlines()[0]
        of_folds = ["standard error"] * ("folds" in options)
        columns = ["rank", "configuration", "rate", score, *of_folds, "failed"]
        assert re.split(r"\s{2,}", head) == columns


def test_one_failed_training_makes_its_configuration_worst_and_disturbs_no_other(key):
    """Configuration 0 would be the best, but fails on the second fold."""
    points = np.array([[0.0], [0.5], [1.0]])

    def score(key, hyperparameters, rows):
        wins = hyperparameters["x"] == 0
        return jnp.where(wins & (rows.validation.min() == 2), jnp.nan, hyperparameters["x"])

    result = quietly(
        score, {"x": Float(0.0, 1.0)}, key=key, folds=FOLDS, method=points, metric=lambda x: x
    )
    np.testing.assert_array_equal(result.scores[:, :, 0], [[0, np.nan], [0.5, 0.5], [1, 1]])
    assert result.ranking.tolist() == [1, 2, 0]
    assert result.best == 1


def test_the_highest_wins_where_that_is_asked_for(key):
    lowest = quietly(descend, SPACE, key=key, trials=16)
    highest = quietly(descend, SPACE, key=key, trials=16, metric="accuracy", mode="max")
    assert highest.best == lowest.best
    kept = np.isfinite(highest.scores)
    np.testing.assert_array_equal(highest.scores[kept], highest.history["accuracy"].max(-1)[kept])


def test_options_arrive_as_plain_values_numbers_traced_and_each_bucket_compiles_once(key):
    seen = []
    space = {
        "width": Choice([2, 4]),
        "name": Choice(["a", "b"]),
        "depth": Int(1, 3),
        "rate": Float(0.0, 1.0),
        "fixed": 0.25,
    }

    def train(key, hyperparameters, rows):
        seen.append(dict(hyperparameters))
        row = jnp.full(hyperparameters["width"], hyperparameters["rate"])
        return row.sum() + hyperparameters["depth"].astype(row.dtype)

    result = quietly(train, space, key=key, trials=32, metric=lambda x: x, strategy="map")
    expected = [c["width"] * c["rate"] + c["depth"] for c in result.configurations]
    np.testing.assert_allclose(result.values, expected, rtol=1e-6)
    assert {(s["width"], s["name"]) for s in seen} == {(w, n) for w in (2, 4) for n in "ab"}
    assert len(seen) == 4
    assert all(s["fixed"] == 0.25 and isinstance(s["rate"], jax.core.Tracer) for s in seen)
    assert all(jnp.issubdtype(s["depth"].dtype, jnp.integer) for s in seen)
    again = quietly(train, space, key=key, trials=32, metric=result.metric, strategy="map")
    assert len(seen) == 4
    assert again.seconds["compile"] == 0
    np.testing.assert_array_equal(again.scores, result.scores)


def test_fixed_values_that_are_equal_but_of_two_types_are_two_programs(key):
    def train(key, hyperparameters, rows):
        return hyperparameters["rate"] + (0 if isinstance(hyperparameters["fixed"], int) else 10)

    for fixed, least in ((1, 0), (1.0, 10), (np.ones(2), 10)):  # the last cannot be hashed
        space = {"rate": Float(0.0, 1.0), "fixed": fixed}
        result = quietly(train, space, key=key, trials=4, metric=lambda x: x)
        assert least <= result.values.min() < least + 1


@pytest.mark.exhaustive
def test_buckets_of_unequal_length_fill_up_with_nan_and_the_last_step(key):
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["rate"]))

    def train(key, hyperparameters, rows):
        make = make_train(build, line(), epochs=2, batch_size=hyperparameters["batch_size"],
                          evaluate_every=2)  # fmt: skip
        return make(key, hyperparameters, rows)

    space = {"rate": Float(0.01, 0.1), "batch_size": Choice([3, 6])}
    result = quietly(train, space, key=key, trials=4, strategy="map")
    short = np.array([c["batch_size"] == 6 for c in result.configurations])
    assert short.sum() == 2
    steps = result.history["step"][:, 0, 0]
    assert steps[short].tolist() == [[2, 4, 4, 4]] * 2
    assert steps[~short].tolist() == [[2, 4, 6, 8]] * 2
    losses = result.history["loss"][:, 0, 0]
    assert np.isnan(losses[short, 2:]).all()
    assert np.isfinite(losses[~short]).all()
    np.testing.assert_array_equal(result.scores[:, 0, 0], np.nanmin(losses, -1))


def test_map_has_the_bits_of_trainings_one_by_one(key):
    """Course 5 and 6: a cross-validated search is nothing but these trainings."""
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["rate"]))
    train = make_train(build, line(), epochs=3, batch_size=4)
    folds = k_fold(key, np.arange(12), 2)
    space = {"rate": Float(0.01, 0.3, log=True)}
    result = quietly(train, space, key=key, trials=3, seeds=2, folds=folds, strategy="map")
    compiled = jax.jit(train)
    for c, f, s in np.ndindex(3, 2, 2):
        rows = Rows(*(jnp.asarray(x[f]) for x in folds))
        rate = {"rate": jnp.asarray(result.configurations[c]["rate"])}
        run = compiled(jax.random.fold_in(key, s), rate, rows)
        for name, values in run.history.items():
            np.testing.assert_array_equal(result.history[name][c, f, s], values)
        assert result.scores[c, f, s] == run.history["validation_loss"].min()


def test_auto_climbs_as_long_as_it_gains_and_takes_what_was_fastest():
    program = programs.Program(lambda *_: None, None)
    worth = lambda left: programs._worth_measuring(program, left)
    assert worth(10) == 1
    program.compile_seconds, program.call_seconds = {1: 2.0}, {1: 0.01}
    assert worth(350) is None  # 3.5 s are left, to compile takes 2 s, and half might be saved
    assert worth(450) == 8
    program.call_seconds[8] = 0.04  # twice as fast
    assert worth(1000) == 32
    assert programs._fastest(program, 1000) == 8
    assert programs._fastest(program, 3) == 1  # the chunk is not worth filling up
    program.call_seconds[32] = 0.15  # within a tenth of what 8 are
    assert worth(10**6) is None
    program.call_seconds = {1: 0.01, 8: 0.4}  # slower
    assert worth(10**6) is None
    assert programs._fastest(program, 10**6) == 1


def test_auto_measures_while_it_works(key, monkeypatch):
    """With chunks that are never slow, all sizes get their turn; nothing is done twice."""
    monkeypatch.setattr(programs, "LONG_ENOUGH", 0.0)  # three calls each
    monkeypatch.setattr(programs, "_worth_measuring", climb_all)
    result = quietly(descend, SPACE, key=key, trials=100, metric="loss")
    assert {1: 1, 8: 8}.items() <= {k: min(v, k) for k, v in result.chunks.items()}.items()
    assert sum(result.chunks.values()) == 100
    expected = expected_scores(result.configurations, key, [0], folds=1)
    np.testing.assert_allclose(result.scores, expected, rtol=1e-5)


@pytest.mark.parametrize(("first", "taken"), [(5.0, [0.3, 0.1]), (0.01, [0.3, 0.1, 0.1, 0.3])])
def test_what_a_call_takes_is_the_mean_of_a_few_after_the_first(first, taken, monkeypatch):
    now, durations = 0.0, iter([first, *taken])

    def call(members):
        nonlocal now
        now += next(durations)
        return programs.Kept(members[1][1], {}, members[1][1])

    monkeypatch.setattr(programs, "time", types.SimpleNamespace(perf_counter=lambda: now))
    program = programs.Program(lambda *_: None, None)
    program.call = lambda *_: call
    members = (np.zeros((40, 2)), ([], np.arange(40)))
    found = list(programs._measured(program, 4, members, None, 0))
    assert program.call_seconds[4] == pytest.approx(0.2)
    size = 4 * (1 + len(taken))
    np.testing.assert_array_equal(np.concatenate([numbers for numbers, _ in found]), range(size))


def climb_all(program, left):
    return next((c for c in (1, 8) if c not in program.call_seconds and left >= c), None)


def test_fresh_seeds_tell_how_lucky_the_best_was(key):
    """All configurations are alike: the best of 64 lies about 2.4 deviations below the mean."""
    noise = lambda key, hyperparameters, rows: jax.random.normal(key) + 0 * hyperparameters["x"]
    own = lambda key, hyperparameters, rows: noise(
        jax.random.fold_in(key, jnp.int32(1e6 * hyperparameters["x"])), hyperparameters, rows
    )
    found = quietly(own, {"x": Float(0.0, 1.0)}, key=key, trials=64, metric=lambda x: x)
    again = reevaluate(own, found, seeds=200, best=2)
    assert again.numbers.tolist() == found.ranking[:2].tolist()
    np.testing.assert_array_equal(again.selected, found.values[again.numbers])
    assert (again.selected < -1.5).all()
    assert (np.abs(again.means) < 5 * again.standard_errors).all()
    np.testing.assert_allclose(again.standard_errors, 1 / np.sqrt(200), rtol=0.25)
    assert "with fresh seeds" in str(again)
    assert not set(again.scores.ravel()) & set(found.scores.ravel())


def test_a_search_of_failures_says_so(key):
    result = quietly(descend, {"rate": Float(1.5, 2.0)}, key=key, trials=2)
    assert result.ranking.tolist() == [0, 1]
    with pytest.raises(ValueError, match="every configuration has a failed training"):
        best_configuration(result)


def test_progress_is_told_on_stderr(key, monkeypatch, capsys):
    monkeypatch.setattr("jaxopt_course.core._reporting.SECONDS", 0.0)  # every line at once
    monkeypatch.setattr("jaxopt_course.studies._search.BETWEEN", 0.0)  # likewise
    result = search(descend, SPACE, key=key, trials=3, seeds=2, strategy="map")
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"trial 3/3: best {np.nanmin(result.values):.4g}"
    assert [line.split(":")[0] for line in said] == [f"trial {n}/3" for n in (0, 1, 1, 2, 2, 3)]
    assert said[0] == "trial 0/3: no score yet"


def test_no_time_is_estimated_before_anything_was_done(monkeypatch, capsys):
    monkeypatch.setattr("jaxopt_course.core._reporting.SECONDS", 0.0)  # every line at once
    with show_progress(lambda done: f"trial {done}/3", 3, 1) as show:  # one was saved
        for done in (1, 2, 3):
            show(done, "best 1")
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "trial 1/3: best 1"
    assert second == "trial 2/3: best 1; 0 s left"
    assert last == "trial 3/3: best 1"


NOT_A_RUN = lambda key, hyperparameters, rows: 1.0
WRONG = {
    "`method` must be one of .* Did you mean 'tpe'": {"method": "tpr"},
    "`trials` must be given": {"trials": None},
    r"`rounds` must lie in \[8, inf\), got 4": {"method": "tpe", "rounds": 4},
    r"points in \[0, 1\] of shape \(trials, 1\)": {"method": np.zeros((3, 2)), "trials": None},
    r"`trials` must be the 3": {"method": np.zeros((3, 1)), "trials": 4},
    "`strategy` must be one of": {"strategy": "serial"},
    "`rounds` needs a `method` that learns, 'tpe' or 'gp', got 12": {"rounds": 12},
    "`rounds` needs .*, got 9": {"method": np.zeros((3, 1)), "trials": None, "rounds": 9},
    "`chunk_size` needs `strategy='chunk'`, got 2": {"strategy": "map", "chunk_size": 2},
    "`mode` must be one of": {"mode": "lowest"},
    "`metric` must be one of accuracy, loss, step": {"metric": "error"},
    "search: `mode` must be 'max' for the metric 'accuracy', .* got mode='min'": {
        "metric": "accuracy"
    },
    "`metric` must return a scalar": {"metric": lambda run: run.history["loss"]},
    r"`seeds` must lie in \[1, inf\)": {"seeds": 0},
    "each once": {"seeds": [1, 1]},
    "one fold a row": {"folds": FOLDS._replace(weights=np.ones((1, 2)))},
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_wrong_is_said(sentence, key, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        quietly(descend, SPACE, key=key, **{"trials": 4} | WRONG[sentence])


@pytest.mark.parametrize(
    "name", ["validation_accuracy", "top_5_accuracy", "exact_match", "f1", "f1_score", "precision",
             "recall", "r2", "validation_r2"]
)  # fmt: skip
def test_what_is_better_when_larger_is_not_minimized(name, key):
    class BegunError(Exception):
        """The arguments were accepted."""

    def begin(key, hyperparameters, rows):
        raise BegunError

    with pytest.raises(ValueError, match=f"`mode` must be 'max' for the metric '{name}'"):
        quietly(begin, SPACE, key=key, trials=1, metric=name, mode="min")
    own = lambda run: run.history[name].max()
    for metric, mode in ((name, "max"), (f"{name}_error", "min"), (own, "min")):
        with pytest.raises(BegunError):
            quietly(begin, SPACE, key=key, trials=1, metric=metric, mode=mode)


def test_a_cross_validation_does_not_minimize_an_accuracy(key):
    validate = functools.partial(cross_validate, descend, FOLDS, key=key, metric="accuracy")
    with pytest.raises(ValueError, match="`mode` must be 'max'"):
        validate(hyperparameters={"rate": 0.1})
    report = validate(hyperparameters={"rate": 0.1}, mode="max")
    assert report.mean == report.history["accuracy"].max(-1).mean()


def test_a_training_that_is_no_run_needs_a_metric(key):
    with pytest.raises(TypeError, match="`train` must return a Run"):
        quietly(NOT_A_RUN, SPACE, key=key, trials=1)


def test_the_result_is_named_arrays(key):
    result = quietly(descend, SPACE, key=key, trials=4)
    assert isinstance(result, SearchResult)
    assert result.configurations[2] == configuration_at(SPACE, result.points[2])
