"""Folds of a cross-validation, bootstrap weights and class weights.

All folds have the same shape, so that their trainings can be one program. If k does not divide n,
some folds have one validation row more than others. The tables are padded with rows of weight 0
from the same part of the same fold. So every row is validated exactly once over all folds, and no
validation row of a fold is in its training part, whatever its weight.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Integer, Key

from jaxopt_course.core import checks, numerics

from ._split import deal, row_numbers


class Folds(NamedTuple):
    """The folds of a cross-validation, one per row.

    train: training rows.
    weights: weights of the training rows: 1, or 0 for padding.
    validation: validation rows.
    validation_weights: weights of the validation rows: 1, or 0 for padding.
    """

    train: Int32[np.ndarray, "k train"]
    weights: Float[np.ndarray, "k train"]
    validation: Int32[np.ndarray, "k validation"]
    validation_weights: Float[np.ndarray, "k validation"]


def k_fold(
    key: Key[Array, ""],
    rows: Int[np.ndarray | Array, " n"],
    k: int,
    *,
    stratify: Integer[np.ndarray | Array, " n"] | None = None,
) -> Folds:
    """Split ``rows`` into k parts; each fold validates on one of them and trains on the others.

    Args:
        key: PRNG key of the folds.
        rows: different row numbers, such as ``np.arange(n)`` or the rows outside of a test set.
        k: number of folds, in [2, n].
        stratify: class of each row. As in :func:`split`, every part then has the proportional share
            of every class.

    Raises:
        ValueError: if ``k`` is out of range, a row is repeated, or a class has fewer than k rows.

    Warns:
        UserWarning: if a part has fewer rows than there are classes.

    Examples:
        >>> folds = k_fold(jax.random.key(0), np.arange(7), 3)
        >>> folds.train.shape, folds.validation.shape
        ((3, 5), (3, 3))
        >>> folds.validation_weights.sum(axis=1).tolist()
        [3.0, 2.0, 2.0]
    """
    rows = row_numbers("k_fold", rows).astype(np.int32)
    n = len(rows)
    checks.integer("k_fold", "k", k, f"[2, {n}]")
    if len(np.unique(rows)) < n:
        raise ValueError("k_fold: `rows` must hold each row once, or it is on both sides.")
    more = n % k
    parts = deal("k_fold", key, [n // k + (i < more) for i in range(k)], stratify)
    others = [np.concatenate(parts[:i] + parts[i + 1 :]) for i in range(k)]
    train, weights = _table([rows[part] for part in others])
    validation, validation_weights = _table([rows[part] for part in parts])
    return Folds(train, weights, validation, validation_weights)


def bootstrap_weights(key: Key[Array, ""], n: int) -> Float[Array, " n"]:
    """The weights of a bootstrap sample: how often each of n rows occurs in n draws.

    About 1/e of the rows have weight 0, which are the rows out of the bag.

    Args:
        key: PRNG key of the draws; ``vmap`` over keys gives many samples.
        n: number of rows, in [1, inf); static.

    Examples:
        >>> float(bootstrap_weights(jax.random.key(0), 10).sum())
        10.0
    """
    checks.integer("bootstrap_weights", "n", n, "[1, inf)")
    draws = jax.random.randint(key, (n,), 0, n)
    return jnp.bincount(draws, length=n).astype(jnp.result_type(float))


def class_weights(labels: Int[Array, " n"], n_classes: int) -> Float[Array, " n_classes"]:
    """Weights that balance the classes: ``n / (n_classes * members of the class)``.

    ``class_weights(labels, n_classes)[labels]`` are the weights of the examples.

    Args:
        labels: class numbers. Labels outside [0, n_classes), such as -1, are not counted in n.
        n_classes: number of classes, in [1, inf); static.

    Returns:
        One weight per class; 0 for a class without members.

    Examples:
        >>> class_weights(jnp.array([0, 0, 1, 1, 1, 1]), 2).tolist()
        [1.5, 0.75]
    """
    checks.integer("class_weights", "n_classes", n_classes, "[1, inf)")
    labels = jnp.asarray(labels)
    inside = (labels >= 0) & (labels < n_classes)
    # `bincount` ignores numbers that are too large, but counts negative ones as 0.
    counted = jnp.where(inside, labels, n_classes)
    members = jnp.bincount(counted, length=n_classes).astype(jnp.result_type(float))
    n = jnp.sum(inside).astype(members.dtype)
    return numerics.safe_divide(jnp.full_like(members, 1 / n_classes) * n, members)


def _table(parts: list[Int32[np.ndarray, "_"]]) -> tuple[np.ndarray, np.ndarray]:
    """``parts`` padded to one length by repeating their first rows, and the weights."""
    width = max(map(len, parts))
    numbers = np.stack([np.append(part, part[: width - len(part)]) for part in parts])
    counted = np.stack([np.arange(width) < len(part) for part in parts])
    return numbers, counted.astype(jnp.result_type(float))
