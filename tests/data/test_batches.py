import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import epoch_batches, epoch_order


SIZES = [(1, 1), (5, 1), (5, 2), (5, 5), (64, 16), (65, 64)]


compiled = jax.jit(epoch_batches, static_argnums=4)


def rows_of(n):
    """Row numbers that are no range, and a weight that tells which row it belongs to."""
    indices = 3 * jnp.arange(n, dtype=jnp.int32) + 7
    return indices, 1.0 + indices.astype(jnp.float32)


def sees_every_row_once(table, indices) -> bool:
    seen = np.asarray(table.indices)[np.asarray(table.weights) > 0]
    return np.array_equal(np.sort(seen), np.sort(indices))


@pytest.mark.parametrize(("n", "batch_size"), SIZES)
def test_an_epoch_sees_every_row_exactly_once(key, n, batch_size):
    """Course 5, one epoch is every example once; the last ragged batch is not lost."""
    indices, weights = rows_of(n)
    table = compiled(key, 3, indices, weights, batch_size)
    steps = -(-n // batch_size)
    chex.assert_shape(table, (steps, batch_size))
    assert table.indices.dtype == jnp.int32
    assert table.weights.dtype == jnp.float32
    assert sees_every_row_once(table, indices)
    counted = np.asarray(table.weights > 0)
    assert counted.sum() == n
    assert counted[:-1].all()
    # The weight stays with its row, and padding names rows that exist.
    np.testing.assert_array_equal(table.weights[counted], 1 + table.indices[counted])
    assert np.isin(table.indices, indices).all()


def test_dropping_the_ragged_batch_would_be_noticed(key):
    indices, weights = rows_of(5)
    table = compiled(key, 0, indices, weights, 2)
    assert not sees_every_row_once(jax.tree.map(lambda x: x[:-1], table), indices)
    assert not sees_every_row_once(table._replace(weights=jnp.ones((3, 2))), indices)


def test_the_order_is_fixed_by_key_and_epoch(key):
    """Course 5, shuffle every epoch."""
    order = jax.jit(lambda k, epoch: epoch_order(k, epoch, 50))
    orders = [np.asarray(order(key, epoch)) for epoch in (0, 1, 2, 0)]
    orders.append(np.asarray(order(jax.random.key(1), 0)))
    np.testing.assert_array_equal(orders[0], orders[3])
    distinct = {order.tobytes() for order in orders}
    assert len(distinct) == 4
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))


def test_every_way_of_running_it_gives_the_same_bits(key):
    indices, weights = rows_of(10)

    def table(k, epoch):
        return epoch_batches(k, epoch, indices, weights, 4)

    epochs = jnp.arange(4)
    expected = jax.lax.map(lambda epoch: table(key, epoch), epochs)
    scanned = jax.lax.scan(lambda k, epoch: (k, table(k, epoch)), key, epochs)[1]
    mapped = jax.vmap(table, (None, 0))(key, epochs)
    for other in (scanned, mapped):
        chex.assert_trees_all_equal(other, expected)
    third = jax.tree.map(lambda x: x[2], expected)
    chex.assert_trees_all_equal(table(key, 2), third)
    chex.assert_trees_all_equal(jax.jit(table)(key, 2), third)
    with jax.enable_x64(False):
        chex.assert_trees_all_equal(jax.jit(table)(jax.random.key(0), 2), third)


def test_keys_can_be_vmapped(key):
    indices, weights = rows_of(9)
    keys = jax.random.split(key, 3)
    table = lambda k: compiled(k, 5, indices, weights, 4)
    chex.assert_trees_all_equal(jax.jit(jax.vmap(table))(keys), jax.lax.map(table, keys))


def test_rows_can_be_vmapped_as_folds_and_bags_are(key):
    indices = jnp.array([[0, 1, 2], [3, 3, 4]], jnp.int32)
    weights = jnp.array([[1.0, 1, 1], [1, 2, 0]])
    tables = jax.vmap(lambda i, w: epoch_batches(key, 0, i, w, 2))(indices, weights)
    for i in range(2):
        total = np.bincount(tables.indices[i].ravel(), tables.weights[i].ravel(), minlength=5)
        np.testing.assert_array_equal(total, np.bincount(indices[i], weights[i], minlength=5))


def test_all_orders_are_equally_likely(key):
    orders = jax.vmap(lambda epoch: epoch_order(key, epoch, 3))(jnp.arange(6000))
    _, frequency = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(frequency) == 6
    # Binomial with mean 1000 and deviation 29: five deviations.
    assert abs(frequency - 1000).max() < 145


@pytest.mark.parametrize("batch_size", [0, -1, 6])
def test_an_impossible_batch_size_is_refused(key, batch_size):
    with pytest.raises(
        ValueError, match=rf"epoch_batches: `batch_size` must lie in \[1, 5\], got {batch_size}"
    ):
        epoch_batches(key, 0, *rows_of(5), batch_size)


def test_what_must_be_static_is_named(key, as_users_run_it):
    with pytest.raises(TypeError, match="epoch_batches: `batch_size` is static"):
        jax.jit(lambda b: epoch_batches(key, 0, *rows_of(5), b))(2)
    with pytest.raises(TypeError, match="epoch_batches: `batch_size` must be an int"):
        epoch_batches(key, 0, *rows_of(5), 2.0)
    with pytest.raises(ValueError, match=r"epoch_order: `epoch` must lie in \[0, inf\), got -1"):
        epoch_order(key, -1, 5)
