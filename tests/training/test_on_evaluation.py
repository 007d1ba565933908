"""The hook of `fit` at its evaluations, and the metric that decides which parameters are best."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import CheckpointWarning
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.training import (
    STOP,
    Checkpointing,
    EarlyStopping,
    Logging,
    OutcomeCode,
    Rows,
    Stream,
    evaluate,
    fit,
    make_train,
)
from jaxopt_course.transforms import MultiSteps, ema_params, packed

from .problems import line, line_task, planted_task


KEY = jax.random.key(0)
TASK, ADAM = line_task(), adam(0.1)
ROWS = Rows(jnp.arange(8), None, jnp.arange(8, 12))
train = functools.partial(fit, TASK, ADAM, line(), key=KEY, batch_size=3, rows=ROWS, progress=False)

#                         evaluation: 1    2    3    4    5     6    7    8    9
CURVE = jnp.array([np.nan, 5.0, 4.0, 4.5, 3.9, 3.85, 4.0, 4.0, 3.0, 2.0])
PLANTED, SGD = planted_task(CURVE), sgd(1.0)  # after k steps the parameter is k
ALL = Rows(jnp.arange(4), None, jnp.arange(4))
OPTIONS = {"steps": 9, "batch_size": 4, "evaluate_every": 1}
follow = functools.partial(fit, PLANTED, SGD, line(4), key=KEY, rows=ALL, progress=False, **OPTIONS)


def score(evaluation):
    """A metric of the host: higher is better, and the order is that of the validation loss."""
    return {"score": -float(CURVE[evaluation.step])}


def test_a_hook_that_only_looks_changes_no_bit():
    seen = []
    options = {"epochs": 5, "evaluate_every": 2, "early_stopping": EarlyStopping(100)}
    heard = train(**options, on_evaluation=lambda evaluation: seen.append(evaluation.step))
    assert seen == [2, 4, 6, 8, 10, 12, 14, 15]
    chex.assert_trees_all_equal(heard, train(**options))


@pytest.mark.parametrize(
    "optimizer",
    [
        ema_params(adam(0.1), 0.9),
        packed(adam(0.1)),
        MultiSteps(adam(0.1), 4),  # the last group is not full: its update comes first
    ],
)
def test_it_gets_the_evaluated_parameters(optimizer):
    data, losses = line(), []

    def look(evaluation):
        own = evaluate(TASK, *evaluation[1:3], data.inputs[8:], data.targets[8:])
        losses.append(own["loss"])
        assert evaluation.row["validation_loss"] == pytest.approx(own["loss"], rel=1e-5)
        return {"half": own["loss"] / 2}

    options = {"epochs": 3, "batch_size": 3, "rows": ROWS, "progress": False, "key": KEY}
    run = fit(TASK, optimizer, data, on_evaluation=look, **options)
    np.testing.assert_allclose(run.history["half"], np.array(losses) / 2, rtol=1e-6)
    best = evaluate(TASK, run.best_params, {}, data.inputs[8:], data.targets[8:])
    assert best["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_what_it_returns_is_logged_and_shown(tmp_path, capsys):
    answers = iter([None, {"validation_f1": 0.25}, {"validation_f1": 0.5, "late": jnp.array(1)}])
    records = []
    run = train(
        epochs=3,
        log=Logging(tmp_path, tensorboard=True),
        progress=True,
        on_evaluation=lambda evaluation: next(answers),
        callbacks=[records.append],
    )
    np.testing.assert_array_equal(run.history["validation_f1"], [np.nan, 0.25, 0.5])
    np.testing.assert_array_equal(run.history["late"], [np.nan, np.nan, 1.0])
    lines = [json.loads(x) for x in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row.get("validation_f1") for row in lines] == [None, 0.25, 0.5]
    header, *rows = (tmp_path / "history.csv").read_text().splitlines()
    assert header.endswith(",validation_f1,late")
    assert [row.split(",")[-2:] for row in rows] == [["", ""], ["0.25", ""], ["0.5", "1.0"]]
    assert "validation f1 0.5" in capsys.readouterr().err.splitlines()[-1]
    assert "validation_f1 0.5, late 1" in str(run)
    (last,) = records[-1].metrics["validation_f1"]
    assert last == 0.5


RULES = {
    "compiled, min": (EarlyStopping(2, 0.2, monitor="validation_loss"), None),
    "compiled, max": (EarlyStopping(2, 0.2, monitor="validation_gain", mode="max"), None),
    "of the host, max": (EarlyStopping(2, 0.2, monitor="score", mode="max"), score),
    "of the host, min": (
        EarlyStopping(2, 0.2, monitor="cost"),
        lambda evaluation: {"cost": -score(evaluation)["score"]},
    ),
}


def with_gain(task):
    def loss(*arguments, **options):
        losses, (state, _) = task.loss(*arguments, **options)
        return losses, (state, {"gain": -losses})

    return task._replace(loss=loss)


GAINING = with_gain(PLANTED)


@pytest.mark.parametrize("name", RULES)
def test_each_metric_decides_as_the_validation_loss_does(name):
    rule, hook = RULES[name]
    options = {"on_evaluation": hook, "progress": False, "rows": ALL, **OPTIONS}
    run = fit(GAINING, SGD, line(4), key=KEY, early_stopping=rule, **options)
    plain = follow(early_stopping=EarlyStopping(2, 0.2))
    assert int(plain.outcome.code) == OutcomeCode.STOPPED_EARLY
    chex.assert_trees_all_equal(run.outcome, plain.outcome)
    chex.assert_trees_all_equal(run.best_params, plain.best_params)
    for column in plain.history:
        np.testing.assert_array_equal(run.history[column], plain.history[column])


@pytest.mark.parametrize("monitor", ["validation_gain", "loss"])
def test_the_whole_program_decides_as_the_segments_do(monitor):
    rule = EarlyStopping(2, monitor=monitor, mode="max")
    whole = make_train(lambda _: (GAINING, SGD), line(4), early_stopping=rule, **OPTIONS)
    run = jax.jit(whole)(KEY, None, ALL)
    options = {"progress": False, "rows": ALL, **OPTIONS}
    chex.assert_trees_all_equal(
        run, fit(GAINING, SGD, line(4), key=KEY, early_stopping=rule, **options)
    )
    # The training loss of step k is -k at the parameter k, so its largest value is the first.
    assert float(run.best_params["steps"]) == {"validation_gain": 5, "loss": 0}[monitor]


def test_stop_ends_the_training():
    run = follow(on_evaluation=lambda evaluation: STOP if evaluation.step == 3 else None)
    assert (int(run.outcome.code), int(run.state.step)) == (OutcomeCode.STOPPED_ON_REQUEST, 3)
    assert str(run).startswith("Stopped after 3 steps: `on_evaluation` returned STOP.")
    assert run.history["step"].tolist() == [1, 2, *[3] * 7]
    assert float(run.best_params["steps"]) == 2


@pytest.mark.parametrize("hook", [None, score])
def test_an_unknown_metric_is_answered_with_those_there_are(hook):
    rule = EarlyStopping(2, monitor="validation_f1", mode="max")
    own = "" if hook is None else ", 'score'"
    names = f"'loss', 'validation_loss'{own}"
    with pytest.raises(ValueError, match=f"must be one of {names}, got 'validation_f1'"):
        follow(early_stopping=rule, on_evaluation=hook)


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (0.5, TypeError, "must return a mapping from names to numbers, STOP or None, got 0.5"),
        ({"loss": 1.0}, ValueError, "not in use, got 'loss'"),
        ({"epoch": 1.0}, ValueError, "not in use, got 'epoch'"),
        ({"skipped": 1.0}, ValueError, "not in use, got 'skipped'"),
        ({"f1": jnp.ones(2)}, TypeError, "must return real numbers, got .* for 'f1'"),
        ({"f1": "high"}, TypeError, "must return real numbers, got 'high' for 'f1'"),
    ],
)
def test_what_it_may_not_return(answer, error, sentence):
    with pytest.raises(error, match=sentence):
        follow(on_evaluation=lambda evaluation: answer)


@pytest.mark.parametrize(
    ("field", "value", "error", "sentence"),
    [
        ("mode", "most", ValueError, "`early_stopping.mode` must be"),
        ("monitor", 3, TypeError, "`early_stopping.monitor` must be the name of a metric or None"),
    ],
)
def test_bad_rules_are_refused(field, value, error, sentence):
    rule = EarlyStopping(1)
    object.__setattr__(rule, field, value)  # past the check of types that only tests have
    with pytest.raises(error, match=sentence):
        follow(early_stopping=rule)


def test_a_rule_that_is_no_rule_is_refused(as_users_run_it):
    with pytest.raises(TypeError, match="`early_stopping` must be an EarlyStopping or None, got 3"):
        follow(early_stopping=3)


def test_a_resumed_training_remembers_the_best_value(tmp_path):
    rule = EarlyStopping(2, 0.2, monitor="score", mode="max")
    options = {"early_stopping": rule, "on_evaluation": score}
    whole = follow(**options, log=tmp_path / "whole")

    def breaks(evaluation):
        if evaluation.step == 4:
            raise RuntimeError("interrupted")
        return score(evaluation)

    kept = {"checkpoint": Checkpointing(tmp_path / "c", resume="auto"), "log": tmp_path / "parts"}
    with pytest.raises(RuntimeError, match="interrupted"):
        follow(**options | {"on_evaluation": breaks}, **kept)
    resumed = follow(**options, **kept)
    chex.assert_trees_all_equal(resumed, whole)
    for name in ("history.jsonl", "history.csv"):
        parts = (tmp_path / "parts" / name).read_text()
        assert parts == (tmp_path / "whole" / name).read_text()


def test_checkpoints_of_the_best_metric_are_kept(tmp_path):
    rule = EarlyStopping(100, monitor="step_score", mode="max")
    scores = {1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3, 5: 0.4}
    fit(
        *(PLANTED, SGD, line(4)),
        key=KEY,
        rows=ALL,
        progress=False,
        **OPTIONS | {"steps": 5},
        early_stopping=rule,
        on_evaluation=lambda evaluation: {"step_score": scores[evaluation.step]},
        checkpoint=Checkpointing(tmp_path, every_steps=1, keep_latest=1),
    )
    assert {path.name for path in tmp_path.iterdir() if path.name.isdigit()} == {"2", "5"}


def test_a_stream_is_heard_too():
    data, seen = line(), []
    batches = [(data.inputs[i : i + 4], data.targets[i : i + 4]) for i in (0, 4)]
    stream = Stream(iter(batches * 2), validation=(data.inputs[8:], data.targets[8:]))

    def look(evaluation):
        seen.append(evaluation.step)
        return {"double": 2 * evaluation.row["validation_loss"]}

    run = fit(TASK, ADAM, stream, key=KEY, evaluate_every=3, progress=False, on_evaluation=look)
    assert seen == [3, 4]  # and once more where the stream ends
    np.testing.assert_allclose(run.history["double"], 2 * run.history["validation_loss"], rtol=1e-6)


def test_the_evaluation_after_the_time_is_up_is_heard():
    run = fit(
        *(TASK, ADAM, line()),
        key=KEY,
        max_time=0.1,
        batch_size=3,
        evaluate_every=10**6,
        progress=False,
        on_evaluation=lambda evaluation: {"seen": evaluation.step},
    )
    assert int(run.outcome.code) == OutcomeCode.OUT_OF_TIME
    assert run.history["seen"].tolist() == [int(run.state.step)]


def test_the_time_is_up_but_the_last_evaluation_is_not_finite():
    """Such a run has diverged, whatever the clock says."""
    nan = planted_task(jnp.full(10**6, jnp.nan))
    options = {"key": KEY, "max_time": 0.1, "batch_size": 4, "evaluate_every": 10**5}
    run = fit(nan, SGD, line(4), rows=ALL, progress=False, **options)
    assert int(run.outcome.code) == OutcomeCode.DIVERGED


def test_what_the_host_calls_validation_loss_ranks_nothing_by_default(tmp_path):
    """The training loss of step k is -k, so without validation its last checkpoint is the best."""
    fit(
        *(PLANTED, SGD, line(4)),
        key=KEY,
        progress=False,
        **OPTIONS | {"steps": 5},
        on_evaluation=lambda evaluation: {"validation_loss": float(evaluation.step)},
        checkpoint=Checkpointing(tmp_path, every_steps=1, keep_latest=1),
    )
    assert {path.name for path in tmp_path.iterdir() if path.name.isdigit()} == {"5"}


def test_a_resumed_training_with_another_metric_forgets_the_best_value(tmp_path):
    """A score below the loss before would never be the best."""
    small = lambda evaluation: {"score": score(evaluation)["score"] - 100}
    follow(early_stopping=EarlyStopping(100), checkpoint=tmp_path, **OPTIONS | {"steps": 4})
    rule = EarlyStopping(100, monitor="score", mode="max")
    resume = Checkpointing(tmp_path, resume="auto")
    with pytest.warns(CheckpointWarning, match=r"`early_stopping` was \[100, 0.0\] before"):
        run = follow(early_stopping=rule, on_evaluation=small, checkpoint=resume)
    assert float(run.best_params["steps"]) == 9


@pytest.mark.parametrize("monitor", ["score", "validation_loss"])
def test_a_run_stopped_by_the_host_stays_stopped(monitor, tmp_path):
    rule = EarlyStopping(100, monitor=monitor)
    hook = lambda evaluation: STOP if evaluation.step == 4 else score(evaluation)
    kept = {"checkpoint": Checkpointing(tmp_path, resume="auto"), "early_stopping": rule}
    run = follow(on_evaluation=hook, **kept)
    chex.assert_trees_all_equal(follow(on_evaluation=hook, **kept), run)
