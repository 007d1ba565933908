"""What `fit` does besides training: logs, callbacks, limits, streams, bad losses, bad input."""

import csv
import functools
import json
import re
import struct

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import array_stream
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from jaxopt_course.training import (
    Checkpointing,
    DivergenceError,
    Logging,
    OutcomeCode,
    Rows,
    Stream,
    fit,
    make_train,
    smoke_test,
)

from .problems import line, line_task


TASK, OPTIMIZER = line_task(), adam(0.1)
KEY = jax.random.key(0)
ROWS = Rows(jnp.arange(8), None, jnp.arange(8, 12))
train = functools.partial(fit, TASK, OPTIMIZER, key=KEY)


def test_logs_hold_a_line_an_evaluation(tmp_path):
    run = train(line(), epochs=3, batch_size=3, rows=ROWS, log=Logging(tmp_path, tensorboard=True))
    text = (tmp_path / "history.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for name in ("step", "loss", "validation_loss"):
        np.testing.assert_array_equal([line[name] for line in lines], run.history[name])
    with open(tmp_path / "history.csv", newline="") as file:
        table = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert table == lines
    (events,) = (tmp_path / "tensorboard").glob("[!.]*")
    losses = [v for _, tag, v in read_events(events.read_bytes()) if tag == "validation_loss"]
    np.testing.assert_allclose(losses, run.history["validation_loss"], rtol=1e-6)  # float32
    with pytest.raises(FileExistsError, match=r"fit: `log`: .* holds a log already"):
        train(line(), epochs=1, batch_size=3, log=tmp_path)


def read_events(data):
    """The scalars of a file of TensorBoard: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
        for value in event.summary.value:
            yield event.step, value.tag, value.simple_value


def test_a_loss_that_is_no_number_is_null_in_json_lines(tmp_path):
    fit(TASK, sgd(1e3), line(), key=KEY, steps=200, batch_size=12, evaluate_every=100, log=tmp_path)
    last = (tmp_path / "history.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["loss"] is None


def test_callbacks_see_the_state():
    records = []
    run = train(line(), epochs=2, batch_size=3, segment=4, callbacks=[records.append])
    assert [record.step for record in records] == [4, 8]
    chex.assert_trees_all_equal(records[-1].state, run.state)


def test_segments_find_their_own_length():
    records = []
    train(line(), steps=3000, batch_size=3, callbacks=[records.append])
    lengths = [len(record.losses) for record in records]
    assert sum(lengths) == 3000
    assert lengths[0] == 1 < max(lengths)


def test_time_ends_a_training_with_an_evaluation():
    run = train(line(), max_time=0.2, batch_size=3, evaluate_every=10**6)
    assert OutcomeCode(int(run.outcome.code)) is OutcomeCode.OUT_OF_TIME
    assert run.history["step"].tolist() == [int(run.state.step)]
    assert np.isfinite(run.history["loss"]).all()


def test_a_smoke_run_tries_everything_and_leaves_nothing(tmp_path):
    run = smoke_test(
        *(TASK, OPTIMIZER, line()),
        key=KEY,
        epochs=50,
        batch_size=3,
        rows=ROWS,
        log=tmp_path / "log",
        checkpoint=Checkpointing(tmp_path / "checkpoints"),
    )
    assert run.history["step"].tolist() == [1, 2]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", [lambda batches: batches, Stream])
def test_a_smoke_run_draws_two_batches_of_an_iterator(wrap, tmp_path):
    data = line()
    batches = iter([(data.inputs[i : i + 4], data.targets[i : i + 4]) for i in (0, 4, 8)])
    smoke_test(TASK, OPTIMIZER, wrap(batches), key=KEY, checkpoint=tmp_path / "c", progress=False)
    assert len(list(batches)) == 1


def test_a_stream_trains_as_the_arrays_do_that_it_comes_from():
    data = line()
    run_key = jax.random.split(KEY)[1]
    order = jax.random.fold_in(run_key, 2**32 - 1)  # what a training on arrays draws from
    stream = functools.partial(array_stream, order, data.inputs, data.targets, 5)
    options = {"steps": 7, "evaluate_every": 3}
    streamed = train(lambda start: stream(start=start), **options)
    whole = jax.jit(make_train(lambda _: (TASK, OPTIMIZER), data, batch_size=5, **options))(KEY)
    for part in ("history", "best_params"):  # in another program, so but for rounding
        chex.assert_trees_all_close(getattr(streamed, part), getattr(whole, part), rtol=1e-12)


@pytest.mark.exhaustive
def test_streams_of_every_kind():
    batch = (np.ones((4, 2)), np.ones((4, 1)))  # float64, whatever this process computes in
    short = (np.ones((2, 2)), np.ones((2, 1)))
    assert int(train([batch] * 3, epochs=2).state.step) == 6
    run = train(iter([batch] * 3))  # without a number: to its end, which is evaluated
    assert run.outcome.code == OutcomeCode.COMPLETED
    assert run.history["step"].tolist() == [3]
    chex.assert_trees_all_equal(train(iter([batch] * 3), segment=3), run)  # its end is a pause
    assert int(train([batch, batch, short], steps=5, batch_size=4).state.step) == 5
    validated = train(Stream([batch] * 3, batch), epochs=1)
    metrics = {"loss", "mean_absolute_error"}
    assert set(validated.history) == {"step"} | metrics | {f"validation_{m}" for m in metrics}
    assert np.argmin(validated.history["validation_loss"]) == len(validated.history["step"]) - 1
    chex.assert_trees_all_equal(validated.best_params, validated.state.params)


@pytest.mark.parametrize(
    ("stream", "options", "said"),
    [
        ([], {"steps": 1}, r"fit: the stream must hold at least one batch, got none\."),
        (iter([(np.ones((4, 2)), np.ones((4, 1)))] * 3), {"steps": 9}, r"ended after 3 batches"),
        (
            [(np.ones((n, 2)), np.ones((n, 1))) for n in (4, 4, 2)],
            {"steps": 3},
            r"batch 2 of the stream .* give `batch_size`",
        ),
        ([np.ones(3)], {"steps": 1}, r"batch 0 of the stream must be \(inputs, targets\)"),
        (iter([(np.ones((4, 2)), np.ones((4, 1)))]), {"epochs": 1}, "`epochs` needs data with a"),
        ([(np.ones((4, 2)), np.ones((4, 1)))] * 3, {"steps": 1, "rows": ROWS}, "`rows` are of arr"),
    ],
)
def test_streams_that_cannot_be_trained_on_are_refused(stream, options, said):
    with pytest.raises(ValueError, match=said):
        train(stream, **options)


def test_bad_options_are_refused(as_users_run_it, tmp_path):
    given = {"epochs": 1, "batch_size": 3}
    for options, error, said in [
        ({"batch_size": None}, TypeError, "`batch_size` must be an integer, got None"),
        ({"on_divergence": "ignore"}, ValueError, "`on_divergence` must be one of"),
        (
            {"checkpoint": Checkpointing(tmp_path / "c", resume="maybe")},
            ValueError,
            "`checkpoint.resume` must be one of",
        ),
        ({"sharding": "zero"}, ValueError, "`sharding` must be one of"),
        ({"max_time": 0}, ValueError, r"`max_time` must lie in \(0, inf\)"),
        ({"epochs": None}, ValueError, "one of `epochs` and `steps`, or `max_time` alone"),
        (
            {"checkpoint": Checkpointing(tmp_path / "new", accept=("data",))},
            ValueError,
            "`accept` needs `checkpoint.resume='auto'`",
        ),
        ({"sharding": "fsdp"}, ValueError, "`sharding='fsdp'` needs `mesh`"),
        ({"checkpoint": tmp_path / ".hidden"}, ValueError, "must consist of letters"),
        ({"checkpoint": tmp_path / ".."}, ValueError, "must consist of letters"),
        ({"checkpoint": Checkpointing(tmp_path / "c", every_steps=0)}, ValueError, r"\[1, inf\)"),
    ]:
        with pytest.raises(error, match=said):
            train(line(), **given | options)
    with pytest.raises(TypeError, match="`data` must be a pair"):
        train(3, **given)
    with pytest.raises(ValueError, match="at least one example"):
        train((np.ones((0, 2)), np.ones((0, 1))), **given)


# --- losses that are not finite --------------------------------------------------------------

BAD_ROW = 6


def poisoned():
    data = line()
    return data._replace(inputs=data.inputs.at[BAD_ROW, 0].set(jnp.nan))


def test_raise_names_the_step_the_row_and_the_leaf():
    options = {"steps": 40, "batch_size": 3, "on_divergence": "raise", "evaluate_every": 40}
    with pytest.raises(DivergenceError) as caught:
        train(poisoned(), segment=7, **options)
    whole = train(poisoned(), **options | {"on_divergence": "stop"})
    assert whole.outcome.code == OutcomeCode.DIVERGED
    assert caught.value.step == int(whole.outcome.step)
    assert caught.value.rows == [BAD_ROW]
    said = rf"the loss of step {caught.value.step} is not finite, because of rows \[6\]\."
    assert re.search(said, str(caught.value))
    assert (caught.value.part, caught.value.leaf is None) == ("loss", False)


@pytest.mark.exhaustive
def test_raise_names_a_parameter_that_is_not_finite_itself():
    task = TASK._replace(init=lambda key: ({"w": jnp.zeros((2, 1)), "b": jnp.full(1, jnp.inf)}, {}))
    said = r"the loss of step 0 is .* no single row is to blame.* the parameter before it, \['b'\]"
    with pytest.raises(DivergenceError, match=said):
        fit(task, OPTIMIZER, line(), key=KEY, epochs=1, batch_size=12, on_divergence="raise")


def test_raise_names_the_place_in_a_batch_of_a_stream():
    fine, bad = line(4), line(4)
    bad = bad._replace(inputs=bad.inputs.at[2].set(jnp.inf))
    with pytest.raises(DivergenceError, match=r"of step 3 .* of places in its batch \[2\]"):
        train([tuple(fine)] * 3 + [tuple(bad)], steps=4, on_divergence="raise")


@pytest.mark.exhaustive
def test_raise_names_the_evaluation_where_that_is_what_is_not_finite():
    """Row 6 validates only: no step meets it."""
    data, rows = poisoned(), Rows(jnp.arange(4), None, jnp.arange(4, 8))
    options = {"steps": 4, "evaluate_every": 2, "on_divergence": "raise", "segment": 3}
    batches = [tuple(line(4))] * 4
    arrays = {"batch_size": 2, "rows": rows}
    for given, besides in ((data, arrays), (Stream(batches, data), {})):
        with pytest.raises(DivergenceError, match="the evaluation after step 2 is not") as caught:
            train(given, **options, **besides)
        assert (caught.value.step, caught.value.leaf, caught.value.rows) == (2, None, [])


def test_skip_leaves_such_steps_without_effect():
    """As if the batches of the poisoned row did not exist: the rest gives the same parameters."""
    run = train(poisoned(), steps=8, batch_size=3, on_divergence="skip", evaluate_every=4)
    assert run.outcome.code == OutcomeCode.COMPLETED
    assert run.history["skipped"].tolist() == [1, 2]  # the row comes once an epoch, of 4 steps
    assert np.isfinite(run.history["loss"]).all()
    clean, taken = iter_batches(), 0
    params, state = TASK.init(jax.random.split(KEY)[0])[0], None
    state = OPTIMIZER.init(params)
    for inputs, targets, _ in clean:
        if np.isnan(inputs).any():
            continue
        grads = jax.grad(lambda p, x=inputs, y=targets: jnp.mean(squared_errors(p, x, y)))(params)
        updates, state = OPTIMIZER.update(grads, state, params)
        params, taken = jax.tree.map(jnp.add, params, updates), taken + 1
    assert taken == 6
    chex.assert_trees_all_close(run.state.params, params, rtol=1e-10)


@pytest.mark.exhaustive
def test_skip_goes_on_where_no_step_of_an_interval_had_effect():
    run = train(poisoned(), steps=8, batch_size=3, on_divergence="skip", evaluate_every=1)
    assert run.outcome.code == OutcomeCode.COMPLETED
    assert int(run.history["skipped"][-1]) == np.isnan(run.history["loss"]).sum() == 2


def iter_batches():
    data = poisoned()
    order = jax.random.fold_in(jax.random.split(KEY)[1], 2**32 - 1)
    return array_stream(order, data.inputs, data.targets, 3, epochs=2)


def squared_errors(params, inputs, targets):
    from jaxopt_course.tasks import Batch

    batch = Batch(jnp.asarray(inputs), jnp.asarray(targets), jnp.ones(len(inputs)))
    return TASK.loss(params, {}, batch, key=None, train=True)[0]


def test_labels_out_of_range_are_found_by_their_rows():
    init = lambda key: {"w": jnp.zeros((2, 3))}
    task = function_task(init, lambda p, x: x @ p["w"], problem("multiclass"))
    data = (line().inputs, jnp.arange(12) % 3)
    bad = (data[0], data[1].at[4].set(3))
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 3\), got 3 at row 4\."):
        fit(task, sgd(0.1), bad, key=KEY, epochs=1, batch_size=4, on_divergence="raise")
    run = fit(task, sgd(0.1), data, key=KEY, epochs=1, batch_size=4)
    assert np.isfinite(run.history["loss"]).all()
