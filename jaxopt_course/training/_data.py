"""The arrays of a training: checks of data and rows, and the batches in their order."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxopt_course.core import checks, is_inputs
from jaxopt_course.data import BatchTable, Split, epoch_batches
from jaxopt_course.tasks import Batch

from ._arguments import Timetable
from ._state import Rows


# Folded into the run's key for the order of the data; the steps folded into it are below 2^31.
DATA_STREAM = 2**32 - 1


def pair_of(data: Any) -> tuple[PyTree, PyTree] | None:
    """Inputs and targets of ``data``, or None if it does not hold arrays.

    It is a pair, has these two attributes, or is an array or a dict: inputs without targets.
    """
    if hasattr(data, "inputs") and hasattr(data, "targets"):
        return data.inputs, data.targets
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    return (data, None) if is_inputs(data) else None


def as_examples(owner: str, data: Any) -> tuple[PyTree, PyTree]:
    """Inputs and targets as JAX arrays, in the precision of this process.

    Raises:
        TypeError: if ``data`` is neither a pair (inputs, targets) nor has these two attributes nor
            is an array or a dict, or an array is a list or does not hold numbers.
        ValueError: if there is no example, or the numbers of rows differ.
    """
    pair = pair_of(data)
    if pair is None:
        raise TypeError(
            f"{owner}: `data` must be a pair (inputs, targets), have `inputs` and `targets`, or be "
            f"an array or a dict of arrays without targets, got {type(data).__name__}."
        )
    inputs, targets = as_arrays(owner, "inputs", pair[0]), as_arrays(owner, "targets", pair[1])
    count_rows(owner, {"inputs": inputs, "targets": targets})
    return inputs, targets


def as_arrays(owner: str, name: str, tree: PyTree, convert: Any = jnp.asarray) -> PyTree:
    """``tree`` with its leaves converted to arrays.

    Raises:
        TypeError: if a leaf is not an array (a list is a pytree of its entries), or does not hold
            numbers.
    """

    def array(leaf: Any) -> Any:
        if not getattr(leaf, "shape", ()):
            raise TypeError(
                f"{owner}: `{name}` must be an array, or a pytree of arrays, with one row per "
                f"example, got {leaf!r} as a leaf; convert lists by np.asarray."
            )
        if isinstance(leaf, jax.Array):
            return convert(leaf)
        leaf = np.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, np.number) and leaf.dtype != np.bool:
            raise TypeError(
                f"{owner}: `{name}` must hold numbers, got {leaf.dtype}; map words to class "
                "numbers first."
            )
        return convert(leaf)

    with jax.debug_nans(False):  # rows that do not count may hold NaN; the training looks at others
        return jax.tree.map(array, tree)


def count_rows(owner: str, arrays: PyTree) -> int:
    """The number of examples in ``arrays``.

    Raises:
        ValueError: if there is none, or the numbers of rows differ.
    """
    shapes = {path: jnp.shape(x) for path, x in jax.tree.leaves_with_path(arrays)}
    first: dict[int, Any] = {}  # the first leaf with each number of rows
    for path, shape in shapes.items():
        first.setdefault(shape[0] if shape else 0, path)
    if len(first) > 1:
        name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
        got = ", ".join(f"{count} rows in `{name(path)}`" for count, path in first.items())
        raise ValueError(f"{owner}: inputs and targets must have one row per example, got {got}.")
    if set(first) <= {0}:
        raise ValueError(
            f"{owner}: there must be at least one example, got shapes {[*shapes.values()]}."
        )
    return next(iter(first))


def as_rows(owner: str, rows: Rows | None, n: int) -> Rows:
    """``rows`` as JAX arrays; None means all ``n`` rows, each once, and no validation.

    Traced row numbers cannot be checked: rows outside the data are read as NaN.

    Raises:
        TypeError: if ``rows`` is a split, which has a third part.
        ValueError: if a row number lies outside [0, n), a weight lies outside [0, inf), or the
            numbers of weights and rows differ.
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

    None, which counts all of them, if ``rows`` is None or traced.
    """
    if rows is None or checks.is_traced(rows.train) or checks.is_traced(rows.validation):
        return None
    used, validation = np.zeros(n, bool), (rows.validation, rows.validation_weights)
    for numbers, weights in [(rows.train, rows.weights), validation]:
        if numbers is not None:
            weightless = weights is None or checks.is_traced(weights)
            counted = ... if weightless else np.asarray(weights) > 0
            used[np.asarray(numbers)[counted]] = True
    return used


def take_rows(arrays: PyTree, indices: Int[Array, "batch"]) -> PyTree:
    """The rows ``indices`` of every array."""
    return jax.tree.map(lambda x: jnp.take(x, indices, axis=0), arrays)


class Epoch(NamedTuple):
    """The batches of an epoch.

    number: number of the epoch, from 0, i32[]; -1 for none.
    table: its batches.
    """

    number: Int[Array, ""]
    table: BatchTable


class Batches:
    """The batches of a training on arrays, in an order that is a function of key and epoch."""

    def __init__(self, examples: tuple[PyTree, PyTree], rows: Rows, timetable: Timetable) -> None:
        n = rows.train.shape[0]
        self.examples, self.timetable = examples, timetable
        self.rows, self.weights = rows.train, rows.weights
        self.all_count = rows.weights is None and n % timetable.batch_size == 0

    @property
    def like(self) -> Batch:
        """Shapes and dtypes of a batch, without weights."""
        first = self.rows[: self.timetable.batch_size]
        return jax.eval_shape(lambda: Batch(*take_rows(self.examples, first)))

    @property
    def no_epoch(self) -> Epoch:
        """The :class:`Epoch` before any was drawn."""
        shape = (self.timetable.steps_per_epoch, self.timetable.batch_size)
        dtype = jnp.result_type(float) if self.weights is None else self.weights.dtype
        empty = BatchTable(jnp.zeros(shape, self.rows.dtype), jnp.zeros(shape, dtype))
        return Epoch(jnp.full((), -1, jnp.int32), empty)

    def table(self, key: Any, step: Any) -> BatchTable:
        """The batches of the epoch that contains ``step``, counted from 0."""
        epoch = step // self.timetable.steps_per_epoch
        stream = jax.random.fold_in(key, DATA_STREAM)
        ones = lambda: jnp.ones(self.rows.shape[0], jnp.result_type(float))
        weights = ones() if self.weights is None else self.weights
        return epoch_batches(stream, epoch, self.rows, weights, self.timetable.batch_size)

    def turn(self, key: Any, old: Epoch, step: Any) -> Epoch:
        """The epoch that contains ``step``; it is drawn only if it is not ``old``."""
        number = jnp.asarray(step // self.timetable.steps_per_epoch, jnp.int32)
        same = number == old.number
        return Epoch(number, jax.lax.cond(same, lambda: old.table, lambda: self.table(key, step)))

    def batch(self, table: BatchTable, step: Any) -> Batch:
        """The batch of ``step``, from the table of its epoch."""
        position = step % self.timetable.steps_per_epoch
        inputs, targets = take_rows(self.examples, table.indices[position])
        return Batch(inputs, targets, None if self.all_count else table.weights[position])

    def batch_at(self, key: Any, step: Any) -> Batch:
        """The batch of any ``step``."""
        return self.batch(self.table(key, step), step)


def _row_numbers(owner: str, name: str, values: Any, n: int) -> Int[Array, "n"]:
    shape, dtype = jnp.shape(values), jnp.result_type(values)
    if len(shape) != 1 or shape[0] == 0 or not jnp.issubdtype(dtype, np.integer):
        raise ValueError(
            f"{owner}: `{name}` must be a vector of at least one integer, "
            f"got {dtype.name} of shape {shape}."
        )
    _check_below(owner, name, values, n)
    return jnp.asarray(values, jnp.int32)


def _weights(owner: str, name: str, values: Any, rows: Int[Array, "n"]) -> Float[Array, "n"] | None:
    if values is None:
        return None
    weights = jnp.asarray(values)
    if weights.shape != rows.shape:
        raise ValueError(
            f"{owner}: `{name}` must have the shape {rows.shape} of its rows, got {weights.shape}."
        )
    _check_below(owner, name, values, np.inf)
    return weights


def _check_below(owner: str, name: str, values: Any, end: float) -> None:
    """Raise unless all ``values`` lie in [0, end), or are traced."""
    if not checks.is_traced(values):
        numbers = np.asarray(values)
        outside = numbers[~((numbers >= 0) & (numbers < end))]
        if outside.size:
            raise ValueError(f"{owner}: `{name}` must lie in [0, {end}), got {outside[0]}.")
