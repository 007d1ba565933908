"""Convolutions that run as fast inside a compiled loop on a CPU as outside of it.

XLA's CPU backend uses its fast convolution library only if dimensions have the order (batch,
spatial ..., feature) with kernels (spatial ..., in, out). It reorders the dimensions of other
convolutions in the entry computation of a program, but not in loops, where a naive algorithm then
takes up to 50 times as long. Gradients of convolutions have such permuted dimensions. This module
reorders them before XLA compiles the program.

Each convolution is replaced by a primitive that all transformations of JAX treat as the same
operation. Only its lowering on CPUs differs.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.lax import ConvDimensionNumbers
from jaxtyping import Array

from . import tree
from ._meshes import explicit_mesh


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# Entries of a kernel whose gradient is unrolled: each enlarges the program.
MOST_ENTRIES = 64
# Sizes of a group up to which the naive algorithm was measured to be faster.
FEW_OUTPUTS, FEW_PRODUCTS = 4, 9


def canonical_convolutions(f: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Make the convolutions of ``f`` run as fast inside a loop on a CPU as outside of it.

    XLA's CPU backend computes the gradients of convolutions up to 50 times as slowly inside
    ``jax.lax.scan``, ``fori_loop`` and ``while_loop`` as outside. The returned function avoids this
    and computes the same results. On other platforms, and without convolutions, its program is that
    of ``f``. It can be differentiated, compiled and vectorized.

    Only the gradients that ``f`` itself computes become fast, so apply this to a whole training or
    step and compile the result. The trainings of this library already apply it.

    Args:
        f: a function of pytrees of arrays. It is traced in every call, as by ``jax.jit``.

    Examples:
        >>> convolve = lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME")
        >>> gradient = jax.jit(canonical_convolutions(jax.grad(lambda k, x: convolve(x, k).sum())))
        >>> gradient(jnp.zeros((4, 1, 3, 3)), jnp.ones((2, 1, 5, 5))).shape
        (4, 1, 3, 3)
    """

    @functools.wraps(f)
    def canonical(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        traced, shapes = jax.make_jaxpr(f, return_shape=True)(*args, **kwargs)
        results = jaxpr_as_fun(_replaced(traced, {}))(*jax.tree.leaves((args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return canonical


def _replaced(part: Any, known: dict[int, Any]) -> Any:
    """``part`` of a jaxpr with ``convolution_p`` in place of convolutions; unchanged without any.

    ``known`` holds the jaxprs that were replaced before, by their identity, so that a function that
    is called twice is compiled once.
    """
    if isinstance(part, tuple | list):
        parts = [_replaced(x, known) for x in part]
        return part if all(map(operator.is_, parts, part)) else type(part)(parts)
    if not isinstance(part, ClosedJaxpr | Jaxpr):
        return part
    if id(part) not in known:
        inner = getattr(part, "jaxpr", part)
        if inner is not part:  # a closed jaxpr; since jax 0.11 every jaxpr may be closed
            changes = {"jaxpr": _replaced(inner, known)}
            same = changes["jaxpr"] is inner
        else:
            changes = {"eqns": [_replaced_equation(equation, known) for equation in part.eqns]}
            same = all(map(operator.is_, changes["eqns"], part.eqns))
        known[id(part)] = part if same else part.replace(**changes)
    return known[id(part)]


def _replaced_equation(equation: Any, known: dict[int, Any]) -> Any:
    if equation.primitive is plain_p:
        return equation.replace(primitive=convolution_p)
    params = {name: _replaced(value, known) for name, value in equation.params.items()}
    same = all(params[name] is value for name, value in equation.params.items())
    return equation if same else equation.replace(params=params)


def _plain(lhs: Array, rhs: Array, **params: Any) -> Array:
    """The convolution of JAX."""
    return plain_p.bind(lhs, rhs, **params)


def _on_cpu(lhs: Array, rhs: Array, **params: Any) -> Array:
    """The convolution in the form that is fast on CPUs."""
    if explicit_mesh((lhs, rhs)) is not None:  # on which JAX may refuse to reorder sharded axes
        return _plain(lhs, rhs, **params)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    lhs = lhs.transpose(lhs_spec[0], *lhs_spec[2:], lhs_spec[1])
    rhs = rhs.transpose(*rhs_spec[2:], rhs_spec[1], rhs_spec[0])
    window = _Window(**{name: params[name] for name in _Window._fields})
    places = window.places(lhs.shape[1:-1], rhs.shape[:-2])
    channels, entries = rhs.shape[-1], math.prod(places)
    one_by_one = jnp.issubdtype(lhs.dtype, jnp.inexact) and 0 < entries <= MOST_ENTRIES
    if one_by_one and params["batch_group_count"] == channels == lhs.shape[0] > 1:
        out = _depthwise_kernel(lhs, rhs, window, places)
    else:
        out = _dense_or_grouped(lhs, rhs, window, params)
    out = out.astype(params["preferred_element_type"] or lhs.dtype)
    return out.transpose(*np.argsort((out_spec[0], *out_spec[2:], out_spec[1])))


class _Window(NamedTuple):
    """The window of a convolution, and the precision of its sums."""

    window_strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    precision: Any
    preferred_element_type: Any

    def places(self, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The number of outputs along each spatial axis."""
        sizes = zip(lhs_shape, self.lhs_dilation, self.padding, strict=True)
        padded = [low + (size - 1) * by + 1 + high for size, by, (low, high) in sizes]
        windows = zip(padded, rhs_shape, self.rhs_dilation, self.window_strides, strict=True)
        return tuple((n - (size - 1) * by - 1) // stride + 1 for n, size, by, stride in windows)

    def padded(self, lhs: Array) -> Array:
        """``lhs``, [batch, spatial ..., feature], with zeros around and between its entries."""
        edges = zip(self.padding, self.lhs_dilation, strict=True)
        spatial = [(low, high, by - 1) for (low, high), by in edges]
        nothing = (0, 0, 0)
        return jax.lax.pad(lhs, jnp.zeros((), lhs.dtype), [nothing, *spatial, nothing])


def _dense_or_grouped(lhs: Array, rhs: Array, window: _Window, params: Any) -> Array:
    """A convolution by the CPU library, or by the naive algorithm where groups are small."""
    groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    if batch_groups > 1:  # each group of examples has its own kernels, as groups of features do
        apart = lhs.reshape(batch_groups, -1, *lhs.shape[1:])
        lhs = jnp.moveaxis(apart, 0, -2).reshape(*apart.shape[1:-1], -1)
        groups = batch_groups
    rank, outputs = lhs.ndim, rhs.shape[-1] // groups
    last = out = (0, rank - 1, *range(1, rank - 1))
    few = outputs <= FEW_OUTPUTS and outputs * rhs.shape[-2] <= FEW_PRODUCTS
    if rank > 2 and groups > 1 and few:
        out = (0, rank - 2, *range(1, rank - 2), rank - 1)  # which the library does not support
    numbers = ConvDimensionNumbers(last, (rank - 1, rank - 2, *range(rank - 2)), out)
    found = jax.lax.conv_general_dilated(
        lhs, rhs, dimension_numbers=numbers, feature_group_count=groups, **window._asdict()
    )
    return found if out == last else jnp.swapaxes(found, -1, -2)


def _depthwise_kernel(lhs: Array, rhs: Array, window: _Window, places: Sequence[int]) -> Array:
    """The gradient of a depthwise convolution with respect to its kernel.

    Each entry is a sum over all positions. ``lhs`` is the input, [channel, spatial ..., batch],
    ``rhs`` the cotangent of the output, [spatial ..., batch, channel].
    """
    inputs = window.padded(jnp.swapaxes(tree.widened(lhs), 0, -1))
    cotangent = jnp.moveaxis(tree.widened(rhs), -2, 0)

    strides = window.rhs_dilation
    extents = np.multiply(np.subtract(rhs.shape[:-2], 1), strides) + 1

    def entry(place: tuple[int, ...]) -> Array:
        start = np.multiply(place, window.window_strides)
        begin, end = (0, *start, 0), (inputs.shape[0], *(start + extents), inputs.shape[-1])
        part = jax.lax.slice(inputs, begin, end, (1, *strides, 1))
        return jnp.sum(part * cotangent, range(part.ndim - 1))

    return jnp.stack([*map(entry, np.ndindex(*places))]).reshape(1, *places, -1)


def _transposed(linear: Callable[[Array], Array], operand: Any, cotangent: Array) -> Array:
    """The transpose of ``linear``, a function of ``operand``, at a cotangent of its result."""
    shape = jax.ShapeDtypeStruct(operand.aval.shape, operand.aval.dtype)
    transpose = lambda cotangent: jax.linear_transpose(linear, shape)(cotangent)[0]
    return canonical_convolutions(transpose)(cotangent)


def _transposed_by_lhs(cotangent: Array, lhs: Any, rhs: Array, **params: Any) -> Array:
    return _transposed(lambda lhs: _plain(lhs, rhs, **params), lhs, cotangent)


def _transposed_by_rhs(cotangent: Array, lhs: Array, rhs: Any, **params: Any) -> Array:
    return _transposed(lambda rhs: _plain(lhs, rhs, **params), rhs, cotangent)


def _batched(operands: Sequence[Array], axes: Sequence[Any], **params: Any) -> tuple[Array, int]:
    many = jax.vmap(functools.partial(_plain, **params), axes)
    return canonical_convolutions(many)(*operands), 0


plain_p = jax.lax.conv_general_dilated_p
convolution_p = Primitive("convolution")
convolution_p.def_impl(_plain)
convolution_p.def_abstract_eval(lambda *args, **params: plain_p.abstract_eval(*args, **params)[0])
ad.defbilinear(convolution_p, _transposed_by_lhs, _transposed_by_rhs)
batching.primitive_batchers[convolution_p] = _batched
mlir.register_lowering(convolution_p, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(
    convolution_p, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
