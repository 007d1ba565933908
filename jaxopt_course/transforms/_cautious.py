"""Cautious optimizers: no entry of an update goes against the gradient that asked for it.

With the gradient g and the update u that an optimizer makes of it (added to the parameters, so
that downhill means u g < 0), for each leaf of n entries

    phi = 1 where u g < 0, else 0,    u <- phi u n / (sum(phi) + xi)

Reference: Liang et al., "Cautious Optimizers: Improving Training with One Line of Code", 2024,
https://arxiv.org/abs/2411.16085, algorithms 1 and 2 (there u is subtracted, so u g > 0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Inexact, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    checks,
    numerics,
    refuse_accumulation,
)


class CautiousState(NamedTuple):
    """``inner_state``: the state of the optimizer inside."""

    inner_state: State


def cautious(
    inner: optax.GradientTransformation, xi: ScalarLike = 1.0
) -> GradientTransformationExtraArgs:
    """Set to zero what of an update does not go downhill, and enlarge the rest of the leaf.

    ``inner`` must be a recipe, whose updates go downhill; of a link that keeps the gradient's
    sign nothing would be left. Weight decay inside it counts as part of the update. To spare it,
    be cautious at the rate 1, and take the rest of AdamW's chain behind: ``chain(
    cautious(adam(1.0)), scale(-1.0), add_decayed_weights(d), scale_by_learning_rate(a))``.

    Args:
        inner: the optimizer.
        xi: what the number of entries that stay is increased by, in [0, inf). The paper's 1
            halves the update of a leaf with a single entry.

    Raises:
        ValueError: if ``xi`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = cautious(optax.sgd(1.0, momentum=0.9))
        >>> params = jnp.zeros(3)
        >>> _, state = tx.update(jnp.array([1.0, 1.0, 1.0]), tx.init(params))
        >>> updates, _ = tx.update(jnp.array([1.0, -0.5, 1.0]), state)  # the second turns round
        >>> [round(float(u), 3) for u in updates]
        [-1.9, 0.0, -1.9]
    """
    checks.number("cautious", "xi", xi, "[0, inf)")
    inner = checks.transformation("cautious", "inner", inner)

    def init(params):
        inner_state = inner.init(params)
        refuse_accumulation("cautious", "inner", inner_state)
        return CautiousState(inner_state)

    def update(updates, state, params=None, **extra_args):
        checks.state("cautious", state, CautiousState)
        new_updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        checks.like("cautious", "update", new_updates, updates, "gradient")
        offset = numerics.in_dtype(xi)

        def kept(u: Inexact[Array, "*shape"], g: Inexact[Array, "*shape"]) -> Array:
            dtype = numerics.wide_dtype(u.dtype)
            real = jnp.finfo(dtype).dtype
            downhill = _opposed(u, g)
            count = jnp.sum(downhill, dtype=real)
            factor = numerics.safe_divide(jnp.asarray(u.size, real), count + offset(real)).astype(
                dtype
            )
            return jnp.where(downhill, factor * u.astype(dtype), 0).astype(u.dtype)

        return jax.tree.map(kept, new_updates, updates), CautiousState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def _opposed(u: Inexact[Array, "*shape"], g: Inexact[Array, "*shape"]) -> Array:
    """Where ``u g < 0``, without the product, which in float16 may round to 0."""
    if jnp.iscomplexobj(u):
        return (u * jnp.conj(g)).real < 0
    return ((u > 0) & (g < 0)) | ((u < 0) & (g > 0))
