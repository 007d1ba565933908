"""A validation set that is streamed gives what the same rows give as arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close, assert_trees_all_equal

from jaxopt_course.metrics import accuracy
from jaxopt_course.tasks import with_metrics
from jaxopt_course.training import Checkpointing, EarlyStopping, Stream, fit
from jaxopt_course.transforms import MultiSteps, ema_params
from tests.training.problems import blobs, build


KEY = jax.random.key(0)
DATA = tuple(map(np.asarray, blobs()))
HELD_OUT = tuple(map(np.asarray, blobs(21)))
TASK, OPTIMIZER = build(None)
OPTIONS = {"key": KEY, "steps": 10, "evaluate_every": 4, "batch_size": 8, "progress": False}


def batches_of(data, size, *more):
    count = len(data[0])
    cut = lambda i: tuple(x[i : i + size] for x in (*data, *more))
    return [cut(i) for i in range(0, count, size)]


TRAIN = batches_of(DATA, 8)


def pieces():
    return batches_of(HELD_OUT, 8)


def agrees(found, expected):
    assert_trees_all_equal(found.state.params, expected.state.params)
    assert_trees_all_close(found.history, expected.history, rtol=1e-9)
    assert_trees_all_close(found.best_params, expected.best_params, rtol=1e-9)


@pytest.mark.parametrize("validation", [pieces(), pieces], ids=["list", "function"])
def test_it_is_evaluated_in_full_as_arrays_are(validation):
    both = [
        fit(TASK, OPTIMIZER, Stream(TRAIN, v), early_stopping=EarlyStopping(50), **OPTIONS)
        for v in (validation, HELD_OUT)
    ]
    agrees(*both)
    assert both[0].history["validation_loss"].shape == (3,)


def test_weights_count_and_short_batches_are_padded():
    weights = np.random.default_rng(1).uniform(0, 2, 21)
    run = fit(TASK, OPTIMIZER, Stream(TRAIN, batches_of(HELD_OUT, 5, weights)), **OPTIONS)
    state = run.state
    losses, _ = TASK.loss(state.params, state.model_state, _batch(HELD_OUT), key=None, train=False)
    expected = np.average(losses, weights=weights)
    assert float(run.history["validation_loss"][-1]) == pytest.approx(expected, rel=1e-9)


def _batch(data):
    from jaxopt_course.tasks import Batch

    return Batch(*map(jnp.asarray, data))


@pytest.mark.exhaustive
def test_averages_and_accumulated_gradients_are_evaluated():
    optimizer = MultiSteps(ema_params(OPTIMIZER, 0.9), 4)
    options = OPTIONS | {"steps": 10}
    with pytest.warns(UserWarning, match="averaged parameters are evaluated"):
        both = [fit(TASK, optimizer, Stream(TRAIN, v), **options) for v in (pieces, HELD_OUT)]
    agrees(*both)


@pytest.mark.exhaustive
def test_metrics_of_the_whole_set_and_the_end_of_a_stream():
    share = lambda predictions, targets, weights: jnp.average(
        accuracy(predictions, targets), weights=weights
    )
    task = with_metrics(TASK, {"share": share})
    options = OPTIONS | {"steps": None, "evaluate_every": 5}
    both = [fit(task, OPTIMIZER, Stream(iter(TRAIN), v), **options) for v in (pieces, HELD_OUT)]
    agrees(*both)
    assert "validation_share" in both[0].history


def test_a_training_resumes_with_its_history(tmp_path):
    stream = Stream(TRAIN, pieces)
    whole = fit(TASK, OPTIMIZER, stream, **OPTIONS)
    fit(TASK, OPTIMIZER, stream, checkpoint=tmp_path / "c", **OPTIONS | {"steps": 8})
    again = Checkpointing(tmp_path / "c", resume="auto")
    agrees(fit(TASK, OPTIMIZER, stream, checkpoint=again, **OPTIONS), whole)


def test_only_one_batch_is_read_at_a_time_and_every_evaluation_reads_all():
    read = []

    def counting():
        for number, batch in enumerate(pieces()):
            read.append(number)
            yield batch

    fit(TASK, OPTIMIZER, Stream(TRAIN, counting), **OPTIONS)
    assert read == [0, *[0, 1, 2] * 3]  # the first is looked at before the training


def test_what_cannot_be_read_again_is_refused():
    bad = [(HELD_OUT[0][:8], HELD_OUT[1][:8] + 5)]
    for validation, said in [
        (iter(pieces()), "an iterable such as a list, or a function that returns one, got list_it"),
        ([], "the stream of `validation` must hold at least one batch"),
        (bad, r"batch 0 of `validation`: multiclass targets must lie in \[0, 3\)"),
        (["ab"], "batch must be"),
    ]:
        with pytest.raises(ValueError, match=said):
            fit(TASK, OPTIMIZER, Stream(TRAIN, validation), **OPTIONS)


@pytest.mark.parametrize("arrays", [DATA, DATA[0], {"inputs": DATA[0]}])
def test_arrays_are_not_taken_for_a_stream(arrays):
    with pytest.raises(TypeError, match=r"got the arrays of all rows: make batches of them by `jc"):
        fit(TASK, OPTIMIZER, Stream(arrays, validation=pieces), **OPTIONS)


def test_two_batches_are_not_taken_for_a_pair():
    with pytest.raises(ValueError, match="give two batches as a function that returns them"):
        fit(TASK, OPTIMIZER, Stream(TRAIN, validation=pieces()[:2]), **OPTIONS)
    fit(TASK, OPTIMIZER, Stream(TRAIN[:2], validation=lambda: pieces()[:2]), **OPTIONS)
