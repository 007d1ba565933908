"""What a person sees of a training: lines where there is no terminal, and a printed run."""

import functools
import re
import time

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.minimization import minimize
from jaxopt_course.optimizers import adam
from jaxopt_course.training import Checkpointing, EarlyStopping, Outcome, Rows, fit, make_train

from .problems import line, line_task


TASK, OPTIMIZER, KEY = line_task(), adam(0.1), jax.random.key(0)
ROWS = Rows(jnp.arange(8), None, jnp.arange(8, 12))
train = functools.partial(fit, TASK, OPTIMIZER, line(), key=KEY, batch_size=4, rows=ROWS)


def test_a_short_training_ends_with_a_line_of_its_last_state(capsys):
    train(epochs=3, segment=2)
    said = capsys.readouterr().err.splitlines()[-1]  # where compiling takes long, there are more
    assert re.fullmatch(r"epoch 3/3: loss \S+ / \S+, .*, \S+ steps/s, \S+ examples/s", said)


@pytest.mark.exhaustive
def test_the_rate_leaves_out_the_first_segment_which_compiles(capsys):
    pause = lambda record: time.sleep(0.5 if record.step == 8 else 0)
    train(steps=4, segment=4)
    assert "steps/s" not in capsys.readouterr().err  # there was no other segment
    train(steps=12, segment=4, callbacks=[pause])  # 8 steps in half a second
    rate = float(re.findall(r"(\S+) steps/s", capsys.readouterr().err)[-1])
    assert 0.1 < rate <= 16


def test_the_rate_leaves_out_what_follows_the_first_segment(capsys, monkeypatch):
    """The first checkpoint is slow, because it imports what writes checkpoints."""
    monkeypatch.setattr("jaxopt_course.core._reporting.SECONDS", 0.0)  # every line at once
    pause = lambda record: time.sleep(4 if record.step == 4 else 0)
    train(steps=12, segment=4)  # compiles
    capsys.readouterr()
    train(steps=12, segment=4, callbacks=[pause])
    first, second, last = capsys.readouterr().err.splitlines()
    assert "steps/s" not in first
    assert "left" not in first
    assert float(re.findall(r"(\S+) steps/s", second)[0]) > 1
    assert int(re.findall(r"(\S+) s left", second)[0]) < 4
    assert float(re.findall(r"(\S+) steps/s", last)[0]) > 2


def test_a_training_that_goes_on_says_from_where(capsys, tmp_path):
    go = functools.partial(train, checkpoint=Checkpointing(tmp_path / "checkpoints", resume="auto"))
    go(steps=4)
    assert "resuming" not in capsys.readouterr().err
    go(steps=6)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "resuming from step 4"
    assert last.startswith("epoch 3/3: ")


def test_without_progress_nothing_is_said(capsys):
    train(epochs=1, progress=False)
    assert capsys.readouterr().err == ""


def test_a_run_prints_its_outcome_and_its_last_evaluation():
    run = train(epochs=3)
    outcome, figures = str(run).splitlines()
    assert outcome == "Completed 6 steps."
    assert figures.startswith("Evaluated at the last step, 6: loss ")
    assert f"validation_loss {run.history['validation_loss'][-1]:.4g}" in figures
    assert "params" in repr(run)


def test_a_run_that_ended_early_prints_what_it_saw_last():
    run = train(epochs=9, early_stopping=EarlyStopping(1, min_delta=1e9))
    assert "Stopped early" in str(run)
    assert "nan" not in str(run)


@pytest.mark.parametrize("transform", [jax.vmap, lambda f: functools.partial(jax.eval_shape, f)])
def test_several_runs_print_their_shapes(transform):
    whole = make_train(lambda _: (TASK, OPTIMIZER), line(), epochs=2, batch_size=4)
    printed = []
    look = lambda key: printed.append(str(run := whole(key))) or run
    printed.append(str(transform(look)(jax.random.split(KEY, 3) if transform is jax.vmap else KEY)))
    assert len(printed) == 2
    assert all(text.startswith("Run of shapes (Outcome(code=(") for text in printed)


def test_outcomes_of_several_runs_print_their_fields():
    codes = jnp.arange(3)
    assert str(Outcome(codes, codes)).startswith("Outcome(code=Array")
    assert str(Outcome(jnp.array(3), jnp.array(1))) == "Out of time after 1 step."


def test_minima_of_several_starts_print_their_fields():
    found = jax.vmap(lambda x: minimize(jnp.square, x, adam(0.1), max_steps=2))(jnp.arange(3.0))
    assert str(found).startswith("Minimum(params=Array")
    first = jax.tree.map(lambda x: x[0], found)
    assert str(first) == "Converged after 0 steps: value 0, gradient norm 0."
    assert "outcome=" in repr(first)
