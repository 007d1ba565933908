"""Tables of the rows that trainings of one population see: folds of a cross-validation, bags.

All folds have one shape, so that trainings on them can be one program. Where k does not divide n,
n % k folds validate one row more than the others; what that leaves open in a table is filled up
with rows of the same part and the same fold, of weight 0. So every row is validated exactly once
over all folds, and no row that a fold validates is in its training part, whatever its weight.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Integer, Key

from jaxopt_course.core import checks, numerics

from ._split import deal


class Folds(NamedTuple):
    """The folds of a cross-validation, one a row.

    train: the rows to fit on.
    weights: what each counts: 1, or 0 where it only fills the table up.
    validation: the rows to measure on.
    validation_weights: likewise.
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
    """Deal ``rows`` into k parts; each fold validates on one of them and trains on the others.

    Args:
        key: the same key gives the same folds.
        rows: row numbers, each once: those of a data set without its test set, or
            ``np.arange(n)``.
        k: in [2, n].
        stratify: the class of each of ``rows``. Every part then holds of every class its
            proportional share, rounded up or down, and at least 1 row.

    Returns:
        The folds, whose numbers are those of ``rows``.

    Raises:
        ValueError: if ``k`` is out of range, a row is there twice, or a class has fewer than k
            rows.

    Warns:
        UserWarning: if a part has fewer rows than there are classes, and so lacks some.

    Examples:
        >>> folds = k_fold(jax.random.key(0), np.arange(7), 3)
        >>> folds.train.shape, folds.validation.shape
        ((3, 5), (3, 3))
        >>> folds.validation_weights.sum(axis=1).tolist()
        [3.0, 2.0, 2.0]
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"k_fold: `rows` must be a vector of integers, such as np.arange(n), got {rows}."
        )
    rows, n = rows.astype(np.int32), len(rows)
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
    """How often each of n rows comes up in n draws with replacement: the weights of one bag.

    About 1/e of the rows get 0: they are out of the bag.

    Args:
        key: fixes the draws; ``vmap`` over keys gives many bags.
        n: how many rows there are; static.

    Examples:
        >>> float(bootstrap_weights(jax.random.key(0), 10).sum())
        10.0
    """
    checks.integer("bootstrap_weights", "n", n, "[1, inf)")
    draws = jax.random.randint(key, (n,), 0, n)
    return jnp.bincount(draws, length=n).astype(jnp.result_type(float))


def class_weights(labels: Int[Array, " n"], n_classes: int) -> Float[Array, " n_classes"]:
    """Weights under which all classes count alike: ``n / (n_classes * members of the class)``.

    ``class_weights(labels, n_classes)[labels]`` are the weights of the examples. A label outside
    [0, n_classes), such as -1 of an example without a label, belongs to no class, and ``n`` does
    not count it.

    Args:
        labels: class numbers in [0, n_classes).
        n_classes: static, in [1, inf).

    Returns:
        One weight for each class; 0 for one without members.

    Examples:
        >>> class_weights(jnp.array([0, 0, 1, 1, 1, 1]), 2).tolist()
        [1.5, 0.75]
    """
    checks.integer("class_weights", "n_classes", n_classes, "[1, inf)")
    labels = jnp.asarray(labels)
    inside = (labels >= 0) & (labels < n_classes)
    # ``bincount`` counts what is too large for nothing, and what is negative for class 0.
    counted = jnp.where(inside, labels, n_classes)
    members = jnp.bincount(counted, length=n_classes).astype(jnp.result_type(float))
    n = jnp.sum(inside).astype(members.dtype)
    return numerics.safe_divide(jnp.full_like(members, 1 / n_classes) * n, members)


def _table(parts: list[Int32[np.ndarray, "_"]]) -> tuple[np.ndarray, np.ndarray]:
    """``parts`` as rows of one length, and weights: what fills up repeats the part's first."""
    width = max(map(len, parts))
    numbers = np.stack([np.append(part, part[: width - len(part)]) for part in parts])
    counted = np.stack([np.arange(width) < len(part) for part in parts])
    return numbers, counted.astype(jnp.result_type(float))
