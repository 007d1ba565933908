"""A study that was broken off goes on where it was saved, and ends as it would have ended."""

import functools
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointWarning,
)
from jaxopt_course.studies import Choice, Float, search

# A private name: a study is broken off between two calls of its program.
from jaxopt_course.studies import _table as tables
from tests.tiers import everyday_first

from .problems import FOLDS, SPACE, descend


quietly = functools.partial(search, progress=False, strategy="map", trials=16)


def same(result, whole):
    np.testing.assert_array_equal(result.points, whole.points)
    np.testing.assert_array_equal(result.scores, whole.scores)
    np.testing.assert_array_equal(result.outcomes, whole.outcomes)
    for name, values in whole.history.items():
        np.testing.assert_array_equal(result.history[name], values)


def saved_steps(directory):
    return [int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit()]


def break_off_after(monkeypatch, saves):
    """As a full disk or a Ctrl-C would, between two calls of the program."""
    record, left = tables.Table.record, [saves]

    def record_or_break(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        record(self, *arguments)

    monkeypatch.setattr(tables.Table, "record", record_or_break)


@pytest.mark.parametrize("method", everyday_first(1, ["sobol", "tpe"]))
def test_a_study_that_was_broken_off_ends_as_if_it_was_not(method, key, tmp_path, monkeypatch):
    study = functools.partial(quietly, descend, SPACE, key=key, seeds=2, folds=FOLDS, method=method)
    if method == "tpe":
        study = functools.partial(study, rounds=8)
    whole = study()
    monkeypatch.setattr(tables, "SECONDS", 0.0)
    for calls in (3, 20):
        with monkeypatch.context() as context:
            break_off_after(context, calls)
            with pytest.raises(KeyboardInterrupt):
                study(resume=tmp_path / "study")
    resumed = study(resume=tmp_path / "study")
    same(resumed, whole)
    assert sum(resumed.chunks.values()) == 64 - 23  # what was done is not done again
    again = study(resume=tmp_path / "study")
    same(again, whole)
    assert again.chunks == {}


# Reads of a damaged file report to an event loop of Orbax that is closed by then.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damage_costs_no_more_than_the_time_since_the_save_before(key, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SECONDS", 0.0)
    monkeypatch.setattr(tables, "SHARE", 1e9)
    whole = quietly(descend, SPACE, key=key, resume=tmp_path / "study")
    newest = tmp_path / "study" / str(max(saved_steps(tmp_path / "study")))
    for path in newest.rglob("*"):
        if path.is_file() and "d" in path.relative_to(newest).parts:  # which is where arrays lie
            path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.warns(CheckpointWarning, match="is skipped"):
        resumed = quietly(descend, SPACE, key=key, resume=tmp_path / "study")
    same(resumed, whole)
    assert 0 < sum(resumed.chunks.values()) < 16


def test_another_study_is_refused(key, tmp_path):
    study = functools.partial(quietly, descend, SPACE, key=key, resume=tmp_path / "study")
    study()
    for name, other in {
        "trials": {"trials": 8},
        "seeds": {"seeds": 2},
        "folds": {"folds": FOLDS},
        "method": {"method": "random"},
        "metric": {"metric": "loss"},
    }.items():
        with pytest.raises(CheckpointMismatchError, match=f"a study with another `{name}`"):
            study(**other)
    with pytest.raises(CheckpointMismatchError, match="another `space`"):
        quietly(descend, {"rate": Float(0.1, 0.2)}, key=key, resume=tmp_path / "study")


def test_another_train_is_refused(key, tmp_path):
    """Another program, and the same with other numbers."""
    study = functools.partial(quietly, space=SPACE, key=key, resume=tmp_path / "study")
    study(descend)
    study(lambda key, hyperparameters, rows: descend(key, hyperparameters, rows))  # is the same
    scaled = lambda scale: (
        lambda key, hyperparameters, rows: descend(
            key, {"rate": scale * hyperparameters["rate"]}, rows
        )
    )
    with pytest.raises(CheckpointMismatchError, match="a study with another `train`"):
        study(scaled(0.5))
    other = functools.partial(study, resume=tmp_path / "other")
    other(scaled(0.5))
    with pytest.raises(CheckpointMismatchError, match="a study with another `train`"):
        other(scaled(0.25))


def test_histories_that_grow_longer_with_a_later_bucket_are_saved(key, tmp_path):
    def train(key, hyperparameters, rows):
        run = descend(key, hyperparameters, rows)
        history = {n: x[: hyperparameters["evaluations"]] for n, x in run.history.items()}
        return run._replace(history=history)

    space = SPACE | {"evaluations": Choice([2, 3])}
    whole = quietly(train, space, key=key)
    quietly(train, space, key=key, resume=tmp_path / "study")
    same(quietly(train, space, key=key, resume=tmp_path / "study"), whole)


@pytest.mark.parametrize("options", [["good", "bad"], ["bad", "good"]])
def test_an_option_that_raises_costs_no_other_option_its_trainings(options, key, tmp_path):
    done = []

    def train(key, hyperparameters, rows):
        if hyperparameters["kind"] == "bad":
            raise RuntimeError("this option cannot be built")
        done.append(None)
        return descend(key, {"rate": hyperparameters["rate"]}, rows)

    space = SPACE | {"kind": Choice(options)}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot be built") as raised:
            quietly(train, space, key=key, resume=tmp_path / "study")
        assert raised.value.__notes__[-1] == (
            "search: raised by the trainings with ['bad']; all others of this round are done."
        )
    assert max(saved_steps(tmp_path / "study")) > 0
    assert len(done) <= 3  # a fingerprint each time, and one program: nothing is trained again


def test_a_directory_of_other_files_is_refused(key, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="study holds other files and no checkpoint"):
        quietly(descend, SPACE, key=key, resume=tmp_path / "study")
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["notes.txt"]


@pytest.mark.faults
@pytest.mark.parametrize("study", ["search", "population"])
def test_a_killed_study_ends_as_if_it_was_not(study, tmp_path):
    """Killed five times at random moments; it saves after every call."""
    program = [sys.executable, "-m", "tests.studies.overnight", study]
    run = lambda name: [*program, str(tmp_path / name)]
    ends = lambda out: [line for line in out.splitlines() if line.startswith("ends in")]
    whole = subprocess.run(run("whole"), capture_output=True, text=True, check=True)
    moments = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(run("killed"), stdout=subprocess.PIPE, text=True)
        before = max(saved_steps(tmp_path / "killed"), default=0)
        while max(saved_steps(tmp_path / "killed"), default=0) <= before:
            assert process.poll() is None, "it ended before it was killed: more pieces"
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -9, "it ended before it was killed: more pieces"
    resumed = subprocess.run(run("killed"), capture_output=True, text=True, check=True)
    assert ends(resumed.stdout) == ends(whole.stdout)
    assert len(ends(whole.stdout)) == 1
    assert len(os.listdir(tmp_path / "killed")) > 1
    counts = [
        int(out.split("pieces done: ")[1].split()[0]) for out in (whole.stdout, resumed.stdout)
    ]
    assert counts[1] < counts[0]
