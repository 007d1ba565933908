"""Other layouts of the parameters: one vector of all leaves, or pairs for complex numbers."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    on_auto_axes,
    states,
)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["inner_state"], meta_fields=["absent"]
)
@dataclasses.dataclass(frozen=True)
class FlatState:
    """State of an optimizer that runs on one vector.

    inner_state: inner state, with a vector for each tree shaped like the params.
    absent: numbers of the leaves that other groups of a partition train, static.
    """

    inner_state: State
    absent: tuple[int, ...] = ()

    def evaluation_params(self, params: Params) -> Params:
        """The evaluation parameters of the inner state."""
        return self._point(states.evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """The look-ahead point of the inner state."""
        return self._point(states.lookahead_params, params)

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        return states.in_own_layout(point, self.inner_state, params, _joined, _split, self.absent)


def flatten(inner: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``inner`` on all leaves joined to one vector, in the widest of their dtypes.

    This is faster for many small leaves and costs a copy of large ones. An optimizer that looks at
    leaves or axes, for instance by a norm per leaf, sees one leaf with one axis.

    Args:
        inner: the transformation, which should be elementwise.

    Examples:
        >>> tx = flatten(optax.trace(0.9))
        >>> tx.init({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}).inner_state.trace.shape
        (9,)
    """
    inner = checks.transformation("flatten", "inner", inner)

    def init(params):
        vector = on_auto_axes(_joined, params)
        return FlatState(inner.init(vector), states.absent_leaves(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("flatten", state, FlatState)
        like = updates if params is None else params
        checks.like("flatten", "gradient", updates, like)
        to = lambda tree: on_auto_axes(_joined, tree)
        back = lambda vector: on_auto_axes(_split, vector, like, like=like)
        offers = _in_layout(extra_args, to, back)
        moves, inner_state = inner.update(to(updates), state.inner_state, to(params), **offers)
        moves = on_auto_axes(_split, moves, updates, like=updates)
        return moves, FlatState(inner_state, state.absent)

    return GradientTransformationExtraArgs(init, update)


def _joined(tree: PyTree) -> PyTree:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:  # a placeholder of optax, or an empty tree
        return tree
    dtype = functools.reduce(np.promote_types, (leaf.dtype for leaf in leaves))
    return jnp.concatenate([leaf.reshape(-1).astype(dtype) for leaf in leaves])


def _split(vector: PyTree, like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    if not leaves:
        return like
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = jnp.split(vector, ends)

    def shaped(part: Array, leaf: Any) -> Array:
        dtype = jnp.result_type(leaf)
        is_real = not jnp.issubdtype(dtype, jnp.complexfloating)
        return (part.real if is_real else part).astype(dtype).reshape(jnp.shape(leaf))

    return jax.tree.unflatten(structure, map(shaped, parts, leaves))


class SplitRealAndImaginaryState(NamedTuple):
    """State of the wrapper. ``inner_state``: the inner state, in which complex leaves are pairs."""

    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The evaluation parameters of the inner state."""
        return self._point(states.evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """The look-ahead point of the inner state."""
        return self._point(states.lookahead_params, params)

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        pairs = _pairs_of(params)
        own_or_new = lambda own, old, new: own if new is old else _complex_of(new)
        return jax.tree.map(own_or_new, params, pairs, point(self.inner_state, pairs))


class RealAndImaginary(NamedTuple):
    """A complex array in two parts."""

    real: Float[Array, "*shape"]
    imaginary: Float[Array, "*shape"]


def split_real_and_imaginary(
    inner: optax.GradientTransformation,
) -> GradientTransformationExtraArgs:
    """Run ``inner`` on the real and imaginary parts; real leaves stay as they are.

    For complex parameters ``jax.grad`` returns the conjugate of the direction of ascent: conjugate
    it before calling ``update``.

    Args:
        inner: the transformation, which sees only real numbers.

    Examples:
        >>> tx = split_real_and_imaginary(optax.clip(1.0))
        >>> complex(tx.update(jnp.array(3.0 - 0.5j), tx.init(jnp.array(0j)))[0])
        (1-0.5j)
    """
    inner = checks.transformation("split_real_and_imaginary", "inner", inner)

    def init(params):
        return SplitRealAndImaginaryState(inner.init(_pairs_of(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("split_real_and_imaginary", state, SplitRealAndImaginaryState)
        offers = _in_layout(extra_args, _pairs_of, _complex_of)
        updates, inner_state = inner.update(
            _pairs_of(updates), state.inner_state, _pairs_of(params), **offers
        )
        return _complex_of(updates), SplitRealAndImaginaryState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def _pairs_of(tree: PyTree) -> PyTree:
    pair_of = lambda x: RealAndImaginary(x.real, x.imag) if jnp.iscomplexobj(x) else x
    return jax.tree.map(pair_of, tree)


def _complex_of(tree: PyTree) -> PyTree:
    is_pair = lambda x: isinstance(x, RealAndImaginary)
    return jax.tree.map(lambda x: jax.lax.complex(*x) if is_pair(x) else x, tree, is_leaf=is_pair)


def _in_layout(
    extra_args: dict[str, Any], to: Callable[[Params], Any], back: Callable[[Any], Params]
) -> dict[str, Any]:
    """``grad`` and ``value_fn`` for an optimizer that holds the parameters in another layout.

    Args:
        extra_args: the extra arguments of an update; the others are returned as they are.
        to: maps a tree shaped like the parameters to that layout.
        back: the reverse.
    """

    def of_layout(value_fn: Any) -> Any:
        @functools.wraps(value_fn)
        def own(params: Any, *args: Any, **kwargs: Any) -> Any:
            return value_fn(back(params), *args, **kwargs)

        of_last = getattr(value_fn, "of_last", None)
        if of_last is not None:
            own.of_last = lambda *args: of_layout(of_last(*args))  # type: ignore[attr-defined]
        return own

    offers = dict(extra_args)
    for name, convert in (("grad", to), ("value_fn", of_layout)):
        if offers.get(name) is not None:
            offers[name] = convert(offers[name])
    return offers
