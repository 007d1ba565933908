"""The data of a training, and which of its rows are used."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxopt_course.core import checks
from jaxopt_course.data import Split

from ._state import Rows


def pair_of(data: Any) -> tuple[PyTree, PyTree] | None:
    """Inputs and targets, where ``data`` is that pair or has these two attributes."""
    if hasattr(data, "inputs") and hasattr(data, "targets"):
        return data.inputs, data.targets
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    return None


def as_examples(owner: str, data: Any) -> tuple[PyTree, PyTree]:
    """Inputs and targets as jax arrays, in the widths that this process computes in.

    Args:
        owner: the function, for the message.
        data: a pair (inputs, targets), or anything with these two attributes.

    Raises:
        TypeError: if ``data`` is neither, or an array is a list or does not hold numbers.
        ValueError: if there is no example, or the first axes differ.
    """
    pair = pair_of(data)
    if pair is None:
        raise TypeError(
            f"{owner}: `data` must be a pair (inputs, targets) or have `inputs` and `targets`, "
            f"got {type(data).__name__}."
        )
    inputs, targets = as_arrays(owner, "inputs", pair[0]), as_arrays(owner, "targets", pair[1])
    count_rows(owner, (inputs, targets))
    return inputs, targets


def as_arrays(owner: str, name: str, tree: PyTree, convert: Any = jnp.asarray) -> PyTree:
    """``tree`` with its leaves made arrays by ``convert``.

    Raises:
        TypeError: if a leaf is not an array (a list is a pytree of its entries), or holds words
            or other things that are not numbers.
    """

    def array(leaf: Any) -> Any:
        if not getattr(leaf, "shape", ()):
            raise TypeError(
                f"{owner}: `{name}` must be an array, or a pytree of arrays, with one row an "
                f"example, got {leaf!r} as an entry of it; make an array of a list by np.asarray."
            )
        leaf = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        if not (
            isinstance(leaf, jax.Array)
            or jnp.issubdtype(leaf.dtype, np.number)
            or leaf.dtype == np.bool
        ):
            raise TypeError(
                f"{owner}: `{name}` must hold numbers, got {leaf.dtype}; map words to class "
                "numbers first."
            )
        return convert(leaf)

    return jax.tree.map(array, tree)


def count_rows(owner: str, arrays: PyTree) -> int:
    """How many examples ``arrays`` hold.

    Raises:
        ValueError: if it is none, or they do not agree.
    """
    shapes = [jnp.shape(x) for x in jax.tree.leaves(arrays)]
    counts = sorted({shape[0] if shape else 0 for shape in shapes})
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: inputs and targets must have one row an example, got {counts} rows."
        )
    if counts in ([], [0]):
        raise ValueError(f"{owner}: there must be at least one example, got shapes {shapes}.")
    return counts[0]


def as_rows(owner: str, rows: Rows | None, n: int) -> Rows:
    """``rows`` as jax arrays; None is all ``n`` rows, each once, and no validation.

    Raises:
        TypeError: if ``rows`` are a split, which has a third part.
        ValueError: if a row number lies outside [0, n), a weight outside [0, inf), or weights and
            rows differ in number, or there are weights of rows that are not there.
            Traced numbers cannot be looked at: rows outside the data come out as NaN.
    """
    if rows is None:
        return Rows(jnp.arange(n, dtype=jnp.int32))
    if isinstance(rows, Split):
        raise TypeError(
            f"{owner}: `rows` must be Rows, got a Split: give "
            "Rows(parts.train, validation=parts.validation)."
        )
    train = _row_numbers(owner, "rows.train", rows.train, n)
    weights = _weights(owner, "rows.weights", rows.weights, train)
    if rows.validation is None:
        if rows.validation_weights is not None:
            raise ValueError(f"{owner}: `rows.validation_weights` needs `rows.validation`.")
        return Rows(train, weights)
    validation = _row_numbers(owner, "rows.validation", rows.validation, n)
    counted = _weights(owner, "rows.validation_weights", rows.validation_weights, validation)
    return Rows(train, weights, validation, counted)


def rows_used(rows: Rows | None, n: int) -> Bool[np.ndarray, "n"] | None:
    """Which of ``n`` rows train or validate with a weight above 0.

    None, which counts all of them, where ``rows`` are None or traced.
    """
    if rows is None or checks.is_traced(rows.train) or checks.is_traced(rows.validation):
        return None
    used = np.zeros(n, bool)
    for numbers, weights in [
        (rows.train, rows.weights),
        (rows.validation, rows.validation_weights),
    ]:
        if numbers is not None:
            weightless = weights is None or checks.is_traced(weights)
            counted = ... if weightless else np.asarray(weights) > 0
            used[np.asarray(numbers)[counted]] = True
    return used


def take_rows(arrays: PyTree, indices: Int[Array, "batch"]) -> PyTree:
    """The rows ``indices`` of every array."""
    return jax.tree.map(lambda x: jnp.take(x, indices, axis=0), arrays)


def _row_numbers(owner: str, name: str, values: Any, n: int) -> Int[Array, "n"]:
    shape, dtype = jnp.shape(values), jnp.result_type(values)
    if len(shape) != 1 or shape[0] == 0 or not jnp.issubdtype(dtype, np.integer):
        raise ValueError(
            f"{owner}: `{name}` must be a vector of at least one integer, "
            f"got {dtype.name} of shape {shape}."
        )
    if not checks.is_traced(values):
        numbers = np.asarray(values)
        outside = numbers[(numbers < 0) | (numbers >= n)]
        if outside.size:
            raise ValueError(f"{owner}: `{name}` must lie in [0, {n}), got {outside[0]}.")
    return jnp.asarray(values, jnp.int32)


def _weights(owner: str, name: str, values: Any, rows: Int[Array, "n"]) -> Float[Array, "n"] | None:
    if values is None:
        return None
    weights = jnp.asarray(values)
    if weights.shape != rows.shape:
        raise ValueError(
            f"{owner}: `{name}` must have the shape {rows.shape} of its rows, got {weights.shape}."
        )
    if not checks.is_traced(values):
        numbers = np.asarray(values)
        outside = numbers[~((numbers >= 0) & (numbers < np.inf))]
        if outside.size:
            raise ValueError(f"{owner}: `{name}` must lie in [0, inf), got {outside[0]}.")
    return weights
