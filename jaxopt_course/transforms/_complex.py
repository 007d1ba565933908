"""Complex parameters as pairs of real ones, for optimizers of real numbers.

For complex parameters ``jax.grad`` returns the conjugate of the direction of ascent: conjugate it
before calling ``update``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    states,
)


class SplitRealAndImaginaryState(NamedTuple):
    """State of the wrapper. ``inner_state``: the inner state, in which complex leaves are pairs."""

    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """What the state inside has to evaluate with."""
        return self._point(states.evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """Where the state inside wants the gradient."""
        return self._point(states.lookahead_params, params)

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        pairs = _split(params)
        own_or_new = lambda own, old, new: own if new is old else _joined(new)
        return jax.tree.map(own_or_new, params, pairs, point(self.inner_state, pairs))


class RealAndImaginary(NamedTuple):
    """A complex array in two parts."""

    real: Float[Array, "*shape"]
    imaginary: Float[Array, "*shape"]


def split_real_and_imaginary(
    inner: optax.GradientTransformation,
) -> GradientTransformationExtraArgs:
    """Run ``inner`` on the real and imaginary parts; real leaves stay as they are.

    Args:
        inner: the transformation, which sees only real numbers.

    Examples:
        >>> tx = split_real_and_imaginary(optax.clip(1.0))
        >>> complex(tx.update(jnp.array(3.0 - 0.5j), tx.init(jnp.array(0j)))[0])
        (1-0.5j)
    """
    inner = checks.transformation("split_real_and_imaginary", "inner", inner)

    def init(params):
        return SplitRealAndImaginaryState(inner.init(_split(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("split_real_and_imaginary", state, SplitRealAndImaginaryState)
        updates, inner_state = inner.update(
            _split(updates), state.inner_state, _split(params), **extra_args
        )
        return _joined(updates), SplitRealAndImaginaryState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def _split(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: RealAndImaginary(x.real, x.imag) if jnp.iscomplexobj(x) else x, tree
    )


def _joined(tree: PyTree) -> PyTree:
    is_pair = lambda x: isinstance(x, RealAndImaginary)
    return jax.tree.map(lambda x: jax.lax.complex(*x) if is_pair(x) else x, tree, is_leaf=is_pair)
