"""Leaves of any number of axes as matrices: which axes are rows, which columns, which a batch."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import Params, tree


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a weight are the rows and columns of its matrix; the others are a batch.

    reduction_axis: the axis or axes that a layer sums over: its inputs.
    output_axis: the axis or axes of its outputs.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1


Dimensions: TypeAlias = MuonDimensionNumbers | PyTree | Callable[[Params], PyTree] | None


def specs_of(dimensions: Dimensions, params: PyTree) -> PyTree:
    """The dimension numbers, or None, of each leaf of ``params``."""
    if not jax.tree.leaves(params):
        return params
    is_spec = lambda x: x is None or isinstance(x, MuonDimensionNumbers)
    specs = MuonDimensionNumbers() if dimensions is None else tree.for_tree(dimensions, params)
    return jax.tree.map(
        lambda spec, below: jax.tree.map(lambda _: spec, below), specs, params, is_leaf=is_spec
    )


def fans(shape: tuple[int, ...], spec: MuonDimensionNumbers) -> tuple[int, int]:
    """How many inputs and how many outputs the layer of this weight has."""
    _, rows, columns = _axes(shape, spec)
    return _size(shape, rows), _size(shape, columns)


def folded(x: Array, spec: MuonDimensionNumbers) -> Array:
    """``x`` as one matrix, or as a batch of them, with the shorter side as rows.

    For what commutes with transposition, f(X') = f(X)': so both are one kind.
    """
    batch, rows, columns = axes = _wide_axes(x.shape, spec)
    kinds = axes if batch else (rows, columns)
    return x.transpose(batch + rows + columns).reshape([_size(x.shape, own) for own in kinds])


def unfolded(matrices: Array, shape: tuple[int, ...], spec: MuonDimensionNumbers) -> Array:
    """The inverse of :func:`folded`."""
    order = sum(_wide_axes(shape, spec), ())
    return matrices.reshape([shape[i] for i in order]).transpose(np.argsort(order))


def _axes(shape: tuple[int, ...], spec: MuonDimensionNumbers) -> tuple[tuple[int, ...], ...]:
    """The axes of the batch, of the rows and of the columns, none negative."""
    n = len(shape)
    rows, columns = (
        tuple(axis % n if n else axis for axis in np.atleast_1d(axes).tolist()) for axes in spec
    )
    if n < 2 or len({*rows, *columns}) < len(rows + columns):
        raise ValueError(
            "MuonDimensionNumbers: a leaf must have two axes or more, and its rows and columns "
            f"must not share one, got shape {shape} with {spec}."
        )
    return tuple(i for i in range(n) if i not in rows + columns), rows, columns


def _wide_axes(shape: tuple[int, ...], spec: MuonDimensionNumbers) -> tuple[tuple[int, ...], ...]:
    """As :func:`_axes`, with the shorter side as rows."""
    batch, rows, columns = _axes(shape, spec)
    is_tall = _size(shape, rows) > _size(shape, columns)
    return (batch, columns, rows) if is_tall else (batch, rows, columns)


def _size(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[i] for i in axes)
