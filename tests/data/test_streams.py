import gc
import itertools
import threading
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxopt_course.data import array_stream, epoch_batches, padded_stream, prefetched
from jaxopt_course.tasks import Batch


N, SIZE = 10, 4
INPUTS = np.arange(3.0 * N).reshape(N, 3)
TARGETS = np.arange(N)


def stream(key, **options):
    return array_stream(key, INPUTS, TARGETS, SIZE, **options)


def test_course_5_a_stream_gives_what_a_compiled_training_sees(key):
    """Course 5, shuffle every epoch; one epoch is every example once, the ragged batch too."""
    epochs, steps = 2, 3
    batches = list(stream(key, epochs=epochs))
    assert len(batches) == epochs * steps
    indices = jnp.arange(N, dtype=jnp.int32)
    for epoch in range(epochs):
        table = epoch_batches(key, epoch, indices, jnp.ones(N), SIZE)
        for batch, rows, weights in zip(batches[epoch * steps :], *table, strict=False):
            expected = (INPUTS[rows], TARGETS[rows], np.asarray(weights))
            chex.assert_trees_all_equal(batch, expected)
            assert all(type(x) is np.ndarray for x in batch)
    chex.assert_shape(Batch(*batches[0]).inputs, (SIZE, 3))


def test_rows_and_their_weights_may_be_chosen(key):
    rows, weights = np.array([7, 2, 5]), np.array([1.0, 2.0, 0.5])
    batches = list(array_stream(key, INPUTS, TARGETS, 2, rows=rows, weights=weights, epochs=1))
    targets, counted = (np.concatenate([batch[i] for batch in batches]) for i in (1, 2))
    expected = np.zeros(N)
    expected[rows] = weights
    np.testing.assert_array_equal(np.bincount(targets, counted, minlength=N), expected)


@pytest.mark.parametrize("start", [0, 1, 3, 5, 6, 7])
def test_a_stream_goes_on_where_it_was_cut(key, start):
    whole = list(stream(key, epochs=2))
    rest = list(stream(key, epochs=2, start=start))
    chex.assert_trees_all_equal(rest, whole[start:])
    endless = list(itertools.islice(stream(key, start=start), 8 - start))
    chex.assert_trees_all_equal(endless[: len(rest)], rest)
    assert len(endless) == 8 - start


def test_a_mapped_file_is_read_row_by_row(key, tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, INPUTS)
    mapped = np.load(path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    from_file = array_stream(key, {"x": mapped}, TARGETS, SIZE, epochs=1)
    for (inputs, *rest), (expected, *others) in zip(from_file, stream(key, epochs=1), strict=True):
        assert type(inputs["x"]) is np.ndarray
        chex.assert_trees_all_equal((inputs["x"], *rest), (expected, *others))


class Watched:
    """An array that keeps a record of the rows that were read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return N

    def __getitem__(self, rows):
        self.read.append(np.asarray(rows))
        return INPUTS[rows]


def test_what_is_skipped_is_not_read(key):
    watched = Watched()
    start = 30_001  # after the first of the three batches of epoch 10,000
    next(array_stream(key, watched, TARGETS, SIZE, start=start))
    table = epoch_batches(key, 10_000, jnp.arange(N, dtype=jnp.int32), jnp.ones(N), SIZE)
    chex.assert_trees_all_equal(watched.read, [np.asarray(table.indices[1])])


def test_short_batches_of_any_iterable_are_filled_up():
    loader = [(INPUTS[:4], TARGETS[:4]), (INPUTS[4:6], TARGETS[4:6], np.array([0.5, 2.0]))]
    whole, short = padded_stream(loader, 4)
    chex.assert_trees_all_equal(whole, (*loader[0], np.ones(4)))
    assert short[1].tolist() == [4, 5, 4, 4]
    assert short[2].tolist() == [0.5, 2, 0, 0]
    chex.assert_trees_all_equal(short[0], INPUTS[short[1]])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((INPUTS, TARGETS), r"number of rows in \[1, 4\], got \[10\]"),
        ((INPUTS[:0], TARGETS[:0]), r"got \[0\]"),
        ((INPUTS[:2], TARGETS[:3]), r"got \[2, 3\]"),
        (INPUTS, r"a batch must be \(inputs, targets\), .*, got ndarray"),
    ],
)
def test_other_batches_are_refused(batch, message, as_users_run_it):
    with pytest.raises(ValueError, match="padded_stream: .*" + message):
        list(padded_stream([batch], 4))


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetched")]


def test_prefetching_changes_nothing_but_the_place(key):
    got = list(prefetched(stream(key, epochs=2)))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(got))
    chex.assert_trees_all_equal(jax.device_get(got), list(stream(key, epochs=2)))
    assert list(prefetched([])) == []
    assert not threads()


@pytest.mark.parametrize("size", [1, 3])
def test_so_many_items_are_drawn_ahead_and_no_more(size):
    drawn, enough = [], threading.Event()

    def source():
        for i in range(100):
            drawn.append(i)
            if len(drawn) == size + 1:
                enough.set()
            yield np.array(i)

    items = prefetched(source(), size)
    assert drawn == []  # nothing is done before the first is asked for
    assert int(next(items)) == 0
    assert enough.wait(10)  # the thread goes on while the consumer is busy
    time.sleep(0.05)
    assert len(drawn) == size + 1  # the one in use, and those ahead
    items.close()
    assert not threads()


def test_an_error_of_the_source_is_raised_in_its_place():
    def source():
        yield np.array(1)
        yield np.array(2)
        raise OSError("the disk is gone")

    items = prefetched(source(), 3)
    assert [int(next(items)), int(next(items))] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    assert not threads()


def test_the_thread_ends_when_the_consumer_does():
    def consume(leave):
        for item in prefetched(itertools.repeat(np.zeros(1))):
            assert item == 0
            if leave == "error":
                raise KeyboardInterrupt
            break

    consume("break")
    gc.collect()
    assert not threads()
    with pytest.raises(KeyboardInterrupt):
        consume("error")
    gc.collect()
    assert not threads()


def test_batches_are_laid_out_as_the_sharding_says(key):
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    batches = array_stream(key, INPUTS, TARGETS, jax.device_count(), epochs=1)
    for item in prefetched(batches, sharding=sharding):
        assert all(x.sharding == sharding for x in jax.tree.leaves(item))


def test_a_grain_pipeline_is_a_stream(key):
    grain = pytest.importorskip("grain")
    examples = [(row, target) for row, target in zip(INPUTS, TARGETS, strict=True)]
    loader = grain.MapDataset.source(examples).shuffle(seed=1).batch(SIZE)
    batches = [Batch(*item) for item in prefetched(padded_stream(iter(loader), SIZE))]
    chex.assert_shape([batch.inputs for batch in batches], (SIZE, 3))
    targets, weights = (np.concatenate(list(part)) for part in list(zip(*batches, strict=True))[1:])
    np.testing.assert_array_equal(np.bincount(targets, weights), np.ones(N))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, r"array_stream: `batch_size` must lie in \[1, 10\], got 11"),
        ({"start": -1}, r"array_stream: `start` must lie in \[0, inf\), got -1"),
        ({"epochs": 0}, r"array_stream: `epochs` must lie in \[1, inf\), got 0"),
        ({"targets": TARGETS[:9]}, r"all arrays must have one row an example, got \[9, 10\]"),
        ({"rows": np.array([3, 10])}, r"array_stream: `rows` must lie in \[0, 10\), got 10"),
        ({"rows": np.array([-1, 3])}, r"array_stream: `rows` must lie in \[0, 10\), got -1"),
        ({"rows": TARGETS < 5}, r"a vector of integers, such as .*, got bool of shape \(10,\)"),
        ({"rows": TARGETS / 2}, "`rows` must be a vector of integers, such as .*, got float64"),
        ({"weights": np.ones(9)}, r"array_stream: `weights` must have shape \(10,\), got \(9,\)"),
    ],
)
def test_bad_arguments_are_refused_at_once(key, options, message, as_users_run_it):
    arguments = {"inputs": INPUTS, "targets": TARGETS, "batch_size": SIZE} | options
    with pytest.raises(ValueError, match=message):
        array_stream(key, **arguments)
    with pytest.raises(ValueError, match=r"prefetched: `size` must lie in \[1, inf\), got 0"):
        prefetched([], 0)
