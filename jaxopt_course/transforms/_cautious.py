"""Cautious optimizers: an update never moves an entry against its gradient.

With the gradient g and the update u that an optimizer makes of it (added to the parameters, so that
u g < 0 means descent), for each leaf of n entries

    phi = 1 where u g < 0, else 0,    u <- phi u n / (sum(phi) + xi)

Reference: Liang et al., "Cautious Optimizers: Improving Training with One Line of Code", 2024,
https://arxiv.org/abs/2411.16085, algorithms 1 and 2 (there u is subtracted, so u g > 0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Inexact, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, State, checks, numerics, states


class CautiousState(NamedTuple):
    """State of :func:`cautious`. ``inner_state``: the state of the inner optimizer."""

    inner_state: State


def cautious(
    inner: optax.GradientTransformation, xi: ScalarLike = 1.0
) -> GradientTransformationExtraArgs:
    """Set entries of an update that do not descend to zero, and enlarge the rest of the leaf.

    ``inner`` must be a complete optimizer, whose updates descend; updates in the gradient direction
    would all become zero. Its weight decay counts as part of the update. To exempt it, apply
    ``cautious`` at the rate 1, followed by the rest of AdamW's chain: ``chain(cautious(adam(1.0)),
    scale(-1.0), add_decayed_weights(d), scale_by_learning_rate(a))``.

    Args:
        inner: the optimizer.
        xi: added to the number of entries that are kept, in [0, inf). With the paper's 1 the update
            of a leaf with a single entry is halved.

    Examples:
        >>> tx = cautious(optax.sgd(1.0, momentum=0.9), xi=0.0)
        >>> _, state = tx.update(jnp.array([1.0, 1.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 3) for u in tx.update(jnp.array([1.0, -0.5]), state)[0]]
        [-3.8, 0.0]
    """
    checks.number("cautious", "xi", xi, "[0, inf)")
    inner = checks.transformation("cautious", "inner", inner)

    def init(params):
        inner_state = inner.init(params)
        states.refuse_accumulation("cautious", "inner", inner_state)
        return CautiousState(inner_state)

    def update(updates, state, params=None, **extra_args):
        checks.state("cautious", state, CautiousState)
        new_updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        checks.like("cautious", "update", new_updates, updates, "gradient")
        offset = numerics.in_dtype(xi)

        def kept(u: Inexact[Array, "*shape"], g: Inexact[Array, "*shape"]) -> Array:
            dtype = numerics.wide_dtype(u.dtype)
            real = jnp.finfo(dtype).dtype
            downhill = opposed(u, g)
            count = jnp.sum(downhill, dtype=real)
            factor = numerics.safe_divide(jnp.asarray(u.size, real), count + offset(real))
            return jnp.where(downhill, factor.astype(dtype) * u.astype(dtype), 0).astype(u.dtype)

        return jax.tree.map(kept, new_updates, updates), CautiousState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def opposed(u: Inexact[Array, "*shape"], g: Inexact[Array, "*shape"]) -> Array:
    """Where ``u g < 0``, without the product, which may round to 0 in float16."""
    if jnp.iscomplexobj(u):
        return (u * jnp.conj(g)).real < 0
    return ((u > 0) & (g < 0)) | ((u < 0) & (g > 0))
