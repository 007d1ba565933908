"""Mini-batches inside the compiled program: tables of row numbers, and their weights.

The order of an epoch is a pure function of (key, epoch), so that a training which stops and goes
on sees what it would have seen. An epoch holds every row once; where the batch size does not
divide their number, the last batch is filled up with rows of weight 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, ScalarLike

from jaxopt_course.core import checks


class BatchTable(NamedTuple):
    """The batches of one epoch, one a row, to be scanned over.

    indices: rows of the data set.
    weights: what each counts in its batch's mean; 0 for what only fills the last batch up.
    """

    indices: Int32[Array, "steps batch_size"]
    weights: Float[Array, "steps batch_size"]


def epoch_order(key: Key[Array, ""], epoch: ScalarLike, n: int) -> Int32[Array, " n"]:
    """A permutation of 0, ..., n - 1, fixed by the key and the epoch.

    Args:
        key: of the data, the same for all epochs.
        epoch: which epoch, from 0; may be traced.
        n: how many rows there are; static.
    """
    checks.integer("epoch_order", "n", n, "[1, inf)")
    checks.number("epoch_order", "epoch", epoch, "[0, inf)")
    return jax.random.permutation(jax.random.fold_in(key, epoch), jnp.arange(n, dtype=jnp.int32))


def epoch_batches(
    key: Key[Array, ""],
    epoch: ScalarLike,
    indices: Int32[Array, " n"],
    weights: Float[Array, " n"],
    batch_size: int,
) -> BatchTable:
    """The shuffled batches of one epoch over the rows ``indices``.

    Args:
        key: of the data, the same for all epochs.
        epoch: which epoch, from 0; may be traced.
        indices: the rows to train on: all of them, those of a fold, or those of a bag.
        weights: the weight of each; it stays with its row.
        batch_size: in [1, n]; static. 1 is stochastic, n is full-batch gradient descent.

    Returns:
        ``ceil(n / batch_size)`` batches. Padding repeats rows of the first batch.

    Raises:
        ValueError: if ``batch_size`` lies outside [1, n].

    Examples:
        >>> rows, ones = jnp.arange(5, dtype=jnp.int32), jnp.ones(5)
        >>> table = epoch_batches(jax.random.key(0), 0, rows, ones, batch_size=2)
        >>> table.indices.shape, float(table.weights.sum())
        ((3, 2), 5.0)
    """
    n = indices.shape[0]
    checks.integer("epoch_batches", "batch_size", batch_size, f"[1, {n}]")
    order = epoch_order(key, epoch, n)
    padding = -n % batch_size  # fewer than n: the first rows suffice to fill up
    padded = jnp.concatenate([order, order[:padding]])
    counted = jnp.concatenate([weights[order], jnp.zeros(padding, weights.dtype)])
    return BatchTable(
        indices=indices[padded].reshape(-1, batch_size), weights=counted.reshape(-1, batch_size)
    )
