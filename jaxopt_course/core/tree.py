"""Arithmetic on pytrees, in float32 or wider whatever the dtypes of the leaves.

Names are those of ``optax.tree`` where it has the function.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int, PyTree, ScalarLike

from . import checks, numerics
from ._meshes import on_auto_axes, placed_like
from ._protocols import MaskedNode, Params


def accumulator_like(
    tree: PyTree, dtype: DTypeLike | None = None, fill: ScalarLike = 0.0
) -> PyTree:
    """``fill`` in the shapes of ``tree``, in ``dtype`` or else in float32 or wider."""
    return jax.tree.map(
        lambda x: _filled(x, fill, dtype or numerics.wide_dtype(jnp.result_type(x))), tree
    )


def map_unmasked(f: Callable[[Any, Any], Any], tree: PyTree, params: PyTree) -> PyTree:
    """``f`` of each leaf of ``tree`` and of ``params``; the parameter where ``tree`` is masked."""
    is_masked = lambda x: isinstance(x, MaskedNode)
    own_or_new = lambda x, p: p if is_masked(x) else f(x, p)
    return jax.tree.map(own_or_new, tree, params, is_leaf=is_masked)


def for_tree(values: PyTree | Callable[[PyTree], PyTree], tree: PyTree) -> PyTree:
    """``values``, or ``values(tree)`` if it is a function: a mask, labels, strengths.

    A callable module is a tree of values, not a function.
    """
    is_function = callable(values) and jax.tree_util.all_leaves([values])
    return values(tree) if is_function else values


def real_accumulator_like(tree: PyTree, fill: ScalarLike = 0.0) -> PyTree:
    """``fill`` in the shapes of ``tree``, real and in float32 or wider, for squares."""
    return jax.tree.map(lambda x: _filled(x, fill, scalar_dtype(x)), tree)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """``tree`` with the dtypes of ``like``, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.result_type(y)), tree, like)


def update_moment(updates: PyTree, moments: PyTree, decay: ScalarLike, order: int) -> PyTree:
    """A running mean of a power: ``decay * moments + (1 - decay) * updates^order``, leaf by leaf.

    The ``order`` is 1 or 2, static. The second moment of complex numbers is that of ``|g|``.
    """
    keep = numerics.in_dtype(decay)
    add = functools.cache(lambda dtype: numerics.complement(decay, dtype))

    def mixed(m: Any, power: Any) -> Array:
        m = _wide(m)
        return keep(m.dtype) * m + add(m.dtype) * jnp.asarray(power, m.dtype)

    return jax.tree.map(mixed, moments, squared(updates) if order == 2 else updates)


def running_sum(old: PyTree, new: PyTree, decay: ScalarLike) -> PyTree:
    """``decay * old + new``, leaf by leaf."""
    keep = numerics.in_dtype(decay)

    def summed(o: Any, n: Any) -> Array:
        o = _wide(o)
        return keep(o.dtype) * o + jnp.asarray(n, o.dtype)

    return jax.tree.map(summed, old, new)


def bias_correction(mean: PyTree, decay: ScalarLike, count: Int[Array, ""]) -> PyTree:
    """``mean / (1 - decay^count)``: corrects a running mean for starting from zeros."""
    correction = functools.cache(lambda dtype: numerics.one_minus_power(decay, count, dtype))
    return jax.tree.map(lambda m: m / correction(m.dtype), mean)


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros with the shapes, dtypes and shardings of the leaves of ``tree``."""
    return jax.tree.map(lambda x: placed_like(jnp.zeros_like(x), x), tree)


def widened(tree: PyTree) -> PyTree:
    """``tree`` in float32 or wider, leaf by leaf."""
    return jax.tree.map(_wide, tree)


def squared(tree: PyTree) -> PyTree:
    """``|x|^2`` of each leaf, real, in float32 or wider: in float16, 1e-4 squared is 0."""
    return jax.tree.map(lambda x: numerics.abs_sq(_wide(x)), tree)


def divide_by_root(
    numerator: PyTree,
    squares: PyTree,
    eps: ScalarLike | None = None,
    eps_root: ScalarLike | None = None,
) -> PyTree:
    """``numerator / (sqrt(squares + eps_root) + eps)``, in the dtypes of ``numerator``.

    None adds no term. The result and its derivatives are finite even if all squares are 0: a
    denominator is at least sqrt(tiny), the root of the smallest normal number.
    """

    def plus(value: ScalarLike | None) -> Callable[[Array], Array]:
        if value is None:
            return lambda x: x
        term = numerics.in_dtype(value)
        return lambda x: x + term(x.dtype)

    outside, inside = plus(eps), plus(eps_root)

    def divided(n: Any, s: Any) -> Array:
        n, wide = jnp.asarray(n), _wide(n)
        root = outside(numerics.safe_sqrt(inside(s)))
        denominator = jnp.maximum(root, math.sqrt(jnp.finfo(root.dtype).tiny))
        return (wide / denominator.astype(wide.dtype)).astype(n.dtype)

    return jax.tree.map(divided, numerator, squares)


def scale(tree: PyTree, factor: ScalarLike) -> PyTree:
    """``factor * tree``, returned in the leaves' own dtypes."""
    factors = numerics.in_dtype(factor)

    def scaled(x: Any) -> Array:
        wide = _wide(x)
        return (factors(wide.dtype) * wide).astype(jnp.result_type(x))

    return jax.tree.map(scaled, tree)


def divide(tree: PyTree, divisor: Float[Array, "..."]) -> PyTree:
    """``tree / divisor``, leaf by leaf, in float32 or wider, for a divisor above 0 of any size."""
    power = numerics.power_of_two(divisor)
    inverse, rest = 1 / power, divisor / power

    def divided(x: Any) -> Array:
        x = _wide(x)
        return x * inverse.astype(x.dtype) / rest.astype(x.dtype)

    return jax.tree.map(divided, tree)


def sub(tree: PyTree, other: PyTree) -> PyTree:
    """``tree - other``, leaf by leaf, in float32 or wider."""

    def subtracted(x: Any, y: Any) -> Array:
        x = _wide(x)
        return x - jnp.asarray(y, x.dtype)

    return jax.tree.map(subtracted, tree, other)


def scalar_dtype(tree: PyTree) -> Any:
    """The real dtype of a number that all leaves share: float32, or that of the widest leaf."""
    kinds = (
        jnp.finfo(numerics.wide_dtype(jnp.result_type(x))).dtype for x in jax.tree.leaves(tree)
    )
    return functools.reduce(np.promote_types, kinds, jnp.dtype(jnp.float32))


def sum(tree: PyTree) -> Float[Array, ""]:
    """The sum of all entries of all leaves, which must be real; 0 for a tree without leaves."""
    dtype = scalar_dtype(tree)
    sums = (jnp.sum(_wide(x)).astype(dtype) for x in jax.tree.leaves(tree))
    return functools.reduce(jnp.add, sums, jnp.zeros((), dtype))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether no entry of any leaf is NaN or infinite."""
    finite = jnp.array(True)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def vdot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """The sum of ``Re(conj(a) b)`` over all entries, in float32 or wider."""
    dtype = scalar_dtype(a)
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    product = lambda x, y: on_auto_axes(jnp.vdot, _wide(x), _wide(y)).real.astype(dtype)
    terms = (product(x, y) for x, y in leaves)
    return functools.reduce(jnp.add, terms, jnp.zeros((), dtype))


def hvp(fn: Callable[[Params], Any], params: Params, vector: Params) -> Params:
    """The Hessian of ``fn`` at ``params`` times ``vector``, without forming the Hessian.

    It is the derivative of the gradient along ``vector`` (forward over reverse mode), and costs a
    few evaluations of ``fn``, whatever the number of parameters. (Pearlmutter, "Fast Exact
    Multiplication by the Hessian", 1994.)

    Args:
        fn: maps the parameters to one number; twice differentiable.
        params: the point at which the Hessian is taken.
        vector: the vector, with the structure and shapes of ``params``.

    Examples:
        >>> fn = lambda w: w[0] ** 2 + 3 * w[0] * w[1]  # Hessian [[2, 3], [3, 0]]
        >>> hvp(fn, jnp.array([1.0, 5.0]), jnp.array([1.0, 0.0])).tolist()
        [2.0, 3.0]
    """
    checks.like("hvp", "vector", vector, params)
    return jax.jvp(jax.grad(fn), (params,), (cast_like(vector, params),))[1]


def _filled(x: Any, fill: ScalarLike, dtype: Any) -> Array:
    return placed_like(jnp.full_like(x, fill, dtype), x)


def _wide(x: Any) -> Array:
    return jnp.asarray(x, numerics.wide_dtype(jnp.result_type(x)))


def loses_finiteness(old: PyTree, new: PyTree) -> Bool[Array, ""]:
    """Whether an entry of ``new`` is NaN or infinite that is finite in ``old``.

    Leaves without floating point numbers, such as counts and keys, are ignored. An ``old`` of
    another structure, such as None, counts as finite everywhere.
    """
    lost = jnp.array(False)
    leaves, olds = jax.tree.leaves(new), jax.tree.leaves(old)
    of_new: Any = jax.tree.structure(new)
    if of_new != jax.tree.structure(old):
        olds = [jnp.zeros(())] * len(leaves)
    for was, leaf in zip(olds, leaves, strict=True):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            lost |= jnp.any(~jnp.isfinite(leaf) & jnp.isfinite(was))
    return lost
