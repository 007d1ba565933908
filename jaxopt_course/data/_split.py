"""Random splits into training, validation and test rows, folds, and bootstrap weights.

A stratified split is a table of counts (classes by parts) with given margins, the class sizes and
the part sizes. Its entries are the proportional shares, rounded up or down. Such a table always
exists because it is an integral flow between classes and parts: Cox, "A Constructive Procedure for
Unbiased Controlled Rounding", JASA 1987.

A share below 1 may be rounded to 0. An exchange turns such an entry (i, j) into 1: part j gives a
row of a class that has at least 2 there to a part that has at least 2 rows of class i, and takes
one of these. The margins stay, and no other entry becomes 0. By the pigeonhole principle an
exchange exists wherever the class has a row for each part and the part has one for each class.

All folds of a cross-validation have the same shape, so that their trainings can be one program. If
k does not divide n, some folds have one validation row more than others. The tables are padded with
rows of weight 0 from the same part of the same fold. So every row is validated exactly once over
all folds, and no validation row of a fold is in its training part, whatever its weight.
"""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Integer, Key

from jaxopt_course.core import checks, numerics


class Split(NamedTuple):
    """Row numbers, each in exactly one part.

    train: rows to train on.
    validation: rows to select models by; may be empty.
    test: rows for the final evaluation; may be empty.
    """

    train: Int32[np.ndarray, " train"]
    validation: Int32[np.ndarray, " validation"]
    test: Int32[np.ndarray, " test"]


def split(
    key: Key[Array, ""],
    n: int,
    *,
    validation: float | int,
    test: float | int,
    stratify: Integer[np.ndarray | Array, " n"] | None = None,
) -> Split:
    """Split ``n`` rows into training, validation and test rows, in random order.

    Args:
        key: PRNG key of the split.
        n: number of rows, in [1, inf).
        validation: share of the rows as a float in [0, 1), or number of rows as an int.
        test: share or number of rows, as for ``validation``; 0 for none. The other rows train.
        stratify: class of each row. Every part then has the proportional share of every class,
            rounded up or down, and at least 1 row of it.

    Raises:
        ValueError: if a share is less than one row, no row is left for training, or a class has
            fewer rows than there are parts.

    Warns:
        UserWarning: if a part has fewer rows than there are classes.

    Examples:
        >>> parts = split(jax.random.key(0), 10, validation=0.2, test=3)
        >>> [len(part) for part in parts]
        [5, 2, 3]
    """
    checks.integer("split", "n", n, "[1, inf)")
    sizes = [_size("validation", validation, n), _size("test", test, n)]
    sizes.insert(0, n - sum(sizes))
    if sizes[0] < 1:
        raise ValueError(
            f"split: no row is left for training: of {n}, validation takes {sizes[1]} "
            f"and test {sizes[2]}."
        )
    return Split(*deal("split", key, sizes, stratify))


def row_numbers(owner: str, rows: Int[np.ndarray | Array, " n"]) -> Int[np.ndarray, " n"]:
    """``rows`` on the host; raise unless they are a vector of integers."""
    rows = np.asarray(rows)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"{owner}: `rows` must be a vector of integers, such as np.arange(n), "
            f"got {rows.dtype.name} of shape {rows.shape}."
        )
    return rows


def deal(
    owner: str,
    key: Key[Array, ""],
    sizes: list[int],
    stratify: Integer[np.ndarray | Array, " n"] | None,
) -> list[Int32[np.ndarray, "_"]]:
    """Deal the numbers 0, ..., n - 1 into parts of the given sizes, in random order.

    ``sizes`` may contain 0; the other arguments, errors and warnings are those of :func:`split`.
    """
    n = sum(sizes)
    order = np.asarray(jax.random.permutation(key, np.arange(n, dtype=np.int32)))
    if stratify is None:
        return np.split(order, np.cumsum(sizes)[:-1])
    classes = np.asarray(stratify)
    if classes.shape != (n,):
        raise ValueError(f"{owner}: `stratify` must have shape ({n},), got {classes.shape}.")
    labels, members = np.unique(classes, return_counts=True)
    parts = sum(size > 0 for size in sizes)
    if members.min() < parts:
        raise ValueError(
            f"{owner}: class {labels[members.argmin()]} has {members.min()} rows, "
            f"fewer than the {parts} parts."
        )
    table = _with_all_classes(_controlled_rounding(members, sizes), sizes)
    lacks = [i for i, size in enumerate(sizes) if size > 0 and not table[:, i].all()]
    if lacks:
        lost = [int(sizes[i]) for i in lacks]
        warnings.warn(
            f"{owner}: a stratified part must have at least one row for each of the {len(labels)} "
            f"classes, got parts of {lost} rows, which lack some classes.",
            stacklevel=3,
        )
    by_class = order[np.argsort(classes[order], kind="stable")]
    part = np.empty(n, int)
    part[by_class] = np.repeat(np.tile(np.arange(len(sizes)), len(labels)), table.ravel())
    return [order[part[order] == i] for i in range(len(sizes))]


def _size(name: str, share: float | int, n: int) -> int:
    if isinstance(share, float):
        checks.number("split", name, share, "[0, 1)")
        size = round(share * n)
        if share > 0 and size == 0:
            raise ValueError(f"split: `{name}` of {share} is no row at all out of {n}.")
        return size
    checks.integer("split", name, share, f"[0, {n})")
    return int(share)


def _controlled_rounding(members: Int[np.ndarray, " k"], sizes: list[int]) -> np.ndarray:
    """A table i[k, parts] with the given margins and entries ``members * sizes / n``, rounded.

    It starts from shares that are rounded so that the rows add up. Then it carries single units
    along paths from parts that have too many rows to parts that have too few.
    """
    n = sum(sizes)
    products = members[:, None] * np.asarray(sizes)[None]
    floor, remainder = products // n, products % n
    missing = members - floor.sum(axis=1)
    ranks = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1)
    up = (ranks < missing[:, None]) & (remainder > 0)
    while (excess := up.sum(axis=0) + floor.sum(axis=0) - sizes).any():
        _carry(up, remainder > 0, int(excess.argmax()), excess)
    return floor + up


def _with_all_classes(table: Int[np.ndarray, "k parts"], sizes: list[int]) -> np.ndarray:
    """``table`` after exchanges that keep its margins and leave as few zeros as possible.

    Each exchange minimizes the sum of squared deviations from the shares. The square of a deviation
    d changes by 1 + 2 d if the entry grows, and by 1 - 2 d if it shrinks.
    """
    table, filled = table.copy(), np.asarray(sizes) > 0
    shares = table.sum(axis=1)[:, None] * np.asarray(sizes)[None] / sum(sizes)
    for i, j in np.argwhere((table == 0) & filled):
        deviation = table - shares
        change = 2 * (deviation - deviation[:, j, None] - deviation[None, i])
        possible = (table[:, j, None] > 1) & (table[None, i] > 1)
        if possible.any():
            other, source = np.unravel_index(
                np.where(possible, change, np.inf).argmin(), table.shape
            )
            table[[i, other], [j, source]] += 1
            table[[i, other], [source, j]] -= 1
    return table


def _carry(up: np.ndarray, allowed: np.ndarray, start: int, excess: np.ndarray) -> None:
    """Carry one unit from part ``start`` to the nearest part that lacks one (breadth-first search).

    A step from one part to another moves a rounded-up unit within one class.
    """
    steps: dict[int, tuple[int, int]] = {}  # part -> the part before it, and the class
    queue = [start]
    while excess[part := queue.pop(0)] >= 0:
        for other in range(len(excess)):
            classes = np.flatnonzero(up[:, part] & ~up[:, other] & allowed[:, other])
            if len(classes) and other != start and other not in steps:
                steps[other] = part, int(classes[0])
                queue.append(other)
    while part != start:
        before, row = steps[part]
        up[row, before], up[row, part] = False, True
        part = before


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
