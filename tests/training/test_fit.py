"""A training in segments is the training in one program, bit for bit.

Tests compile faster and less well than users do (``tests/conftest.py``). On jax 0.10 a product of
the training as a whole is rounded otherwise then, so there the bits are compared as users compile.
"""

import functools
import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.training import EarlyStopping, OutcomeCode, Rows, fit, make_train

from .problems import N, blobs, build, line, line_task, planted_task


EPOCHS, PER_EPOCH = 22, 5
ROWS = Rows(jnp.arange(40), jnp.ones(40), jnp.arange(40, N))
OPTIONS = {"epochs": EPOCHS, "batch_size": 9}  # ragged: 9 + 9 + 9 + 9 + 4
TASK, OPTIMIZER = build(None)

BITS = os.environ.get("JAXOPT_COURSE_OPTIMIZED") == "1" or jax.__version_info__ >= (0, 11)

also = functools.partial(pytest.param, marks=pytest.mark.exhaustive)


def assert_same(run, whole):
    if BITS:
        chex.assert_trees_all_equal(run, whole)
    else:
        key_data = lambda tree: jax.tree.map(
            lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
            tree,
        )
        chex.assert_trees_all_close(key_data(run), key_data(whole), rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def whole():
    train = make_train(lambda _: (TASK, OPTIMIZER), blobs(), **OPTIONS)
    return jax.jit(train)(jax.random.key(0), None, ROWS)


@pytest.mark.parametrize(
    "segment",
    [7, 3 * PER_EPOCH, *(also(steps) for steps in (1, PER_EPOCH, EPOCHS * PER_EPOCH))],
)
def test_segments_of_any_length_give_the_bits_of_the_whole(segment, whole):
    records = []
    run = fit(
        *(TASK, OPTIMIZER, blobs()),
        key=jax.random.key(0),
        rows=ROWS,
        segment=segment,
        callbacks=[records.append],
        **OPTIONS,
    )
    assert_same(run, whole)
    total = EPOCHS * PER_EPOCH
    assert [record.step for record in records] == [
        *range(segment, total, segment),
        total,
    ]
    assert sum(len(record.losses) for record in records) == total
    assert records[-1].epoch == EPOCHS
    seen = np.concatenate([r.metrics["loss"] for r in records if r.metrics])
    assert_same(seen, np.asarray(whole.history["loss"]))


CURVE = jnp.array([9.0, 8, 5, 6, 4, 7, 3, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9])
PLANTED, COUNT = planted_task(CURVE), sgd(1.0)


@pytest.mark.parametrize("segment", [3, also(1), also(50)])
def test_a_run_that_ends_early_ends_in_the_same_state(segment, key):
    data, rows = line(4), Rows(jnp.arange(4), None, jnp.arange(4))
    options = {"steps": 15, "batch_size": 2, "evaluate_every": 2}
    options["early_stopping"] = EarlyStopping(patience=2)
    whole = jax.jit(make_train(lambda _: (PLANTED, COUNT), data, **options))(key, None, rows)
    records = []
    run = fit(
        *(PLANTED, COUNT, data),
        key=key,
        rows=rows,
        segment=segment,
        callbacks=[records.append],
        **options,
    )
    chex.assert_trees_all_equal(run, whole)
    assert (run.outcome.code, run.outcome.step) == (OutcomeCode.STOPPED_EARLY, 10)
    assert records[-1].step == int(run.state.step) == sum(len(r.losses) for r in records)
    assert sum(len(r.metrics.get("loss", ())) for r in records) == 5


@pytest.mark.exhaustive
def test_divergence_in_the_middle_of_an_interval_ends_in_the_same_state(key):
    options = {"steps": 200, "batch_size": 12, "evaluate_every": 10}
    task, optimizer = line_task(), sgd(1e3)
    whole = jax.jit(make_train(lambda _: (task, optimizer), line(), **options))(key)
    assert whole.outcome.code == OutcomeCode.DIVERGED
    assert int(whole.outcome.step) % 10 not in (0, 9)
    run = fit(task, optimizer, line(), key=key, segment=3, **options)
    chex.assert_trees_all_equal(run, whole)


def test_bad_segments_and_batches_are_refused(key):
    with pytest.raises(ValueError, match=r"fit: `segment` must lie in \[1, inf\), got 0"):
        fit(line_task(), sgd(0.1), line(), key=key, epochs=1, batch_size=2, segment=0)
    with pytest.raises(ValueError, match=r"fit: `batch_size` must lie in \[1, 12\]"):
        fit(line_task(), sgd(0.1), line(), key=key, epochs=1, batch_size=13)
