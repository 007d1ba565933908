"""A training that was interrupted goes on as if it had not been: state, history, logs."""

import functools
import itertools
import json
import pathlib
import shutil
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointError,
    CheckpointLockedError,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
)
from jaxopt_course.data import array_stream
from jaxopt_course.optimizers import adam, adamw, nadam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.schedules import cosine_decay_schedule
from jaxopt_course.tasks import function_task, mixed_precision
from jaxopt_course.training import (
    Checkpointing,
    EarlyStopping,
    Rows,
    Stream,
    fit,
)
from jaxopt_course.transforms import MultiSteps, dynamic_loss_scale, ema_params
from tests.tiers import everyday_first

from . import older_format
from .problems import N, blobs, build, keeping, line, line_task


# The task has batch statistics, and the optimizer averages the parameters.
pytestmark = pytest.mark.filterwarnings("ignore:The averaged parameters are evaluated")

ROWS = Rows(jnp.arange(40), jnp.ones(40), jnp.arange(40, N))
TASK = mixed_precision(build(None)[0], jnp.float16)
SCHEDULE = cosine_decay_schedule(0.05, 30)
OPTIMIZER = dynamic_loss_scale(ema_params(MultiSteps(adamw(SCHEDULE), 2), 0.9))


def train(directory, *, optimizer=OPTIMIZER, task=TASK, data=None, key=0, **options):
    """5 steps an epoch, 6 epochs, with a bit of everything that has a state."""
    options = {
        "batch_size": 9,
        "rows": ROWS,
        "early_stopping": EarlyStopping(8),
        "checkpoint": Checkpointing(directory / "checkpoints", every_steps=3),
    } | options
    return fit(
        *(task, optimizer, blobs() if data is None else data),
        key=jax.random.key(key),
        epochs=6,
        evaluate_every=4,
        segment=2,
        log=directory / "log",
        **keeping(options),
    )


LINE, LINE_OPTIMIZER = line_task(), adam(0.1)  # the same ones, so that they compile once


def train_line(directory, *, optimizer=LINE_OPTIMIZER, task=LINE, data=None, key=0, **options):
    """Something smaller: 4 steps an epoch, 12 steps."""
    return fit(
        *(task, optimizer, line() if data is None else data),
        key=jax.random.key(key),
        **keeping(
            {"steps": 12, "batch_size": 3, "segment": 2, "checkpoint": directory / "checkpoints"}
            | options
        ),
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return train(directory), read_logs(directory)


def read_logs(directory):
    return [(directory / "log" / name).read_text() for name in ("history.jsonl", "history.csv")]


class PulledPlugError(Exception):
    """Not one that the library raises."""


def pull_the_plug_at(step):
    def callback(record):
        if record.step >= step:
            raise PulledPlugError

    return callback


@pytest.mark.exhaustive
def test_a_run_that_is_interrupted_over_and_over_ends_as_if_it_had_not_been(tmp_path, undisturbed):
    for step in (1, 8, 17, 29):  # in and between epochs, at evaluations and off them
        with pytest.raises(PulledPlugError):
            train(tmp_path, resume="auto", callbacks=[pull_the_plug_at(step)])
    run = train(tmp_path, resume="auto")
    whole, logs = undisturbed
    chex.assert_trees_all_equal(run, whole)
    assert read_logs(tmp_path) == logs
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert [line["step"] for line in lines] == [*range(4, 30, 4), 30]
    np.testing.assert_array_equal([line["loss"] for line in lines], whole.history["loss"])
    chex.assert_trees_all_equal(train(tmp_path, resume="auto"), whole)  # one that is complete


@pytest.mark.exhaustive
def test_a_run_goes_back_to_its_last_checkpoint_and_takes_back_its_log(tmp_path, undisturbed):
    """As after a kill: what came after the last save is not in the state, so not in the log."""
    with pytest.raises(PulledPlugError):
        train(tmp_path, callbacks=[pull_the_plug_at(13)])
    with CheckpointStore(tmp_path / "checkpoints") as store:
        newest = store.list()[-1].step
    for part in (tmp_path / "checkpoints" / str(newest)).rglob("*"):
        if part.is_file():
            part.write_bytes(b"")
    with pytest.warns(CheckpointWarning, match=f"step {newest}"):
        run = train(tmp_path, resume="auto")
    chex.assert_trees_all_equal(run, undisturbed[0])
    assert read_logs(tmp_path) == undisturbed[1]


@pytest.mark.exhaustive
def test_time_that_is_up_ends_a_run_that_can_be_gone_on_with(tmp_path, undisturbed):
    run = train(tmp_path, max_time=1e-3)
    assert int(run.outcome.code) == 3
    assert run.history["step"][-1] == run.state.step < 30
    chex.assert_trees_all_equal(train(tmp_path, resume="auto"), undisturbed[0])


def test_another_program_or_other_data_is_refused_by_name_unless_accepted(tmp_path):
    go = functools.partial(train_line, tmp_path)
    with pytest.raises(PulledPlugError):
        go(callbacks=[pull_the_plug_at(6)])
    with pytest.raises(CheckpointError, match=r"holds checkpoints up to step 6.*resume='auto'"):
        go()
    with pytest.raises(CheckpointMismatchError, match=r"accept=\(.optimizer.,\)"):
        go(optimizer=nadam(0.1), resume="auto")
    absolute = lambda *args, **kw: jax.tree.map(jnp.abs, LINE.loss(*args, **kw))
    other = LINE._replace(loss=absolute)
    with pytest.raises(CheckpointMismatchError, match="model"):
        go(task=other, resume="auto")
    moved = line()._replace(inputs=line().inputs + 1)
    with pytest.raises(CheckpointMismatchError, match="data"):
        go(data=moved, resume="auto")
    with pytest.raises(CheckpointMismatchError, match=r"trace|mu|nu"):
        go(optimizer=sgd(0.1, 0.9), resume="auto", accept=("optimizer",))
    with pytest.warns(CheckpointWarning, match=r"0\.1.*0\.2"):
        go(optimizer=adam(0.2), resume="auto", callbacks=[lambda record: None])
    with pytest.raises(
        ValueError, match=r"fit: `checkpoint.accept` must be one of .* mean 'optimizer'"
    ):
        go(optimizer=adam(0.2), resume="auto", accept=("optimiser",))


@pytest.mark.exhaustive
def test_a_constant_rate_can_become_a_schedule(tmp_path):
    go = functools.partial(train_line, tmp_path)
    with pytest.raises(PulledPlugError):
        go(callbacks=[pull_the_plug_at(6)])
    run = go(optimizer=adam(SCHEDULE), resume="auto", accept=("optimizer",))
    assert int(run.state.step) == 12


def test_another_state_is_refused_with_what_to_do(tmp_path):
    train_line(tmp_path)
    init = lambda key: {"w": jnp.zeros((2, 3)), "b": jnp.zeros(())}
    wider = function_task(init, lambda p, x: (x @ p["w"])[:, :1] + p["b"], problem("regression"))
    said = r"of another state: .*and \d+ more: .* or give another directory\.$"
    with pytest.raises(CheckpointMismatchError, match=said) as caught:
        train_line(tmp_path, task=wider, resume="auto", accept=("model", "optimizer"))
    assert str(caught.value).count("wanted") == 3


@pytest.mark.parametrize("name", ["results.txt", "7/default", "history.jsonl"])
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_directory_of_other_things_is_refused_and_left_as_it_was(tmp_path, name, resume):
    directory = tmp_path / "checkpoints"
    (directory / name).mkdir(parents=True)
    before = sorted(directory.rglob("*"))
    with pytest.raises(CheckpointError, match=r"checkpoints holds other files and no checkpoint: "):
        train_line(tmp_path, resume=resume)
    assert sorted(directory.rglob("*")) == before


@pytest.mark.exhaustive
def test_directories_of_this_library_are_gone_on_with(tmp_path):
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / ".gitkeep").touch()
    train_line(tmp_path, steps=4, resume="auto", log=tmp_path)  # logs beside it, not in it
    (directory / "notes.txt").touch()
    assert int(train_line(tmp_path, steps=8, resume="auto", log=tmp_path).state.step) == 8
    (directory / ".lock").unlink()  # as a copy without hidden files
    run = train_line(tmp_path, resume="auto", log=tmp_path)
    assert run.history["step"].tolist() == [4, 8, 12]
    for step in directory.glob("[0-9]*"):  # what a first save leaves that was killed
        step.rename(f"{step}.orbax-checkpoint-tmp-1")
    run = train_line(tmp_path, steps=4, resume="auto", log=tmp_path)
    assert run.history["step"].tolist() == [4]


@pytest.mark.exhaustive
def test_other_numbers_of_a_run_are_warned_of_and_recorded(tmp_path):
    go = functools.partial(train_line, tmp_path)
    with pytest.raises(PulledPlugError):
        go(callbacks=[pull_the_plug_at(6)], config={"note": "first"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go(resume="auto", key=1, batch_size=4, config={"note": "second"})
    said = " ".join(str(warning.message) for warning in caught)
    for words in ("`batch_size` was 3", "is 4 now", "`key` is not", "'first'", "'second'"):
        assert words in said
    with CheckpointStore(tmp_path / "checkpoints") as store:
        changes = store.list()[-1].about["changes"]
    assert {step for step, _ in changes} == {6}
    assert any("batch_size" in text for _, text in changes)


@pytest.mark.exhaustive
def test_what_was_not_measured_before_is_no_number_and_no_step_was_skipped(tmp_path):
    """A training that diverged is gone on with so that it cannot; then it gets validation rows."""
    train_line(tmp_path, steps=4)
    run = train_line(tmp_path, steps=8, on_divergence="skip", resume="auto")
    assert run.history["skipped"].tolist() == [0, 0]
    rows = Rows(jnp.arange(12), None, jnp.arange(12))
    run = train_line(tmp_path, rows=rows, resume="auto", accept=("data",))
    assert np.isnan(run.history["validation_loss"]).tolist() == [True, True, False]
    assert np.isfinite(run.history["loss"]).all()


def test_a_directory_in_use_is_refused_with_its_holder(tmp_path):
    locked = pytest.raises(CheckpointLockedError, match="in use by")
    with CheckpointStore(tmp_path / "checkpoints"), locked:
        train(tmp_path)


@pytest.mark.exhaustive
def test_a_stream_goes_on_where_it_was(tmp_path):
    data, opened = line(20), []

    def stream(start):
        opened.append(start)
        return array_stream(jax.random.key(3), data.inputs, data.targets, 6, start=start)

    def go(directory, source, **options):
        return fit(
            *(LINE, LINE_OPTIMIZER, Stream(source, tuple(data))),
            key=jax.random.key(0),
            steps=17,
            evaluate_every=5,
            **keeping({"checkpoint": directory} | options),
        )

    batches = [*itertools.islice(stream(0), 17)]
    whole = go(tmp_path / "whole", stream)
    for name, source in {"function": stream, "list": batches, "iterator": None}.items():
        make = (lambda: iter(batches)) if source is None else (lambda source=source: source)
        with pytest.raises(PulledPlugError):
            go(tmp_path / name, make(), callbacks=[pull_the_plug_at(8)])
        chex.assert_trees_all_equal(go(tmp_path / name, make(), resume="auto"), whole)
    assert max(opened) >= 8  # in the middle


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::jaxopt_course.checkpoints.CheckpointWarning")
def test_a_checkpoint_of_an_older_format_is_gone_on_with(tmp_path):
    """Another JAX may trace other programs than that of the fixture, and warns of it."""
    fixture = pathlib.Path(__file__).parent / "fixtures" / "format-1"
    shutil.copytree(fixture, tmp_path / "old")
    run = older_format.train(tmp_path / "old", resume="auto")
    whole = older_format.train(tmp_path / "new")
    parts = [(run.state.params, run.history) for run in (run, whole)]
    chex.assert_trees_all_close(*parts, rtol=1e-12)


@pytest.mark.parametrize("policy", everyday_first(1, ["raise", "warn"]))
def test_a_directory_that_is_deleted_under_a_run_ends_it_or_does_not(policy, tmp_path, undisturbed):
    directory = tmp_path / "checkpoints"

    def delete(record):
        if record.step == 5:
            shutil.rmtree(directory)

    options = {"every_steps": 3, "on_error": policy}
    go = functools.partial(
        train, tmp_path, checkpoint=Checkpointing(directory, **options), callbacks=[delete]
    )
    if policy == "raise":
        with pytest.raises(CheckpointError, match="was deleted or moved"):
            go()
    else:
        with pytest.warns(CheckpointWarning, match="continues without a checkpoint"):
            run = go()
        chex.assert_trees_all_equal(run, undisturbed[0])
