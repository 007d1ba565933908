"""Stochastic rounding: narrow parameters that move by less than their last place, on average.

With a parameter w of bfloat16 and an update u of float32, w + u lies between two numbers that can
be reached, low and high, and

    w <- high with probability (w + u - low) / (high - low), else low

so that the mean of w is w + u. Rounded to the nearest, 1 + 0.001 is 1 for ever.

Reference: Gupta et al., "Deep Learning with Limited Numerical Precision", 2015,
https://arxiv.org/abs/1502.02551, section 3.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    checks,
    count_applied,
    tree,
)

from ._narrow import is_narrow, landing, reaching
from ._noise import own_key


class StochasticRoundingState(NamedTuple):
    """Where the random numbers stand.

    count: how many updates have been made, int32[].
    rng_key: the key that they are drawn from, with the count.
    inner_state: the state of the optimizer.
    """

    count: Int[Array, ""]
    rng_key: Key[Array, ""]
    inner_state: State


def stochastic_rounding(
    optimizer: optax.GradientTransformation, *, key: jax.Array | int
) -> GradientTransformationExtraArgs:
    """Round what narrow parameters become up or down at random, so that the mean is exact.

    It must be the outermost wrapper of whatever changes the updates: these are such that
    :func:`apply_updates` lands on the number that was drawn. The optimizer is handed the
    gradients in float32. Parameters of float32 or wider are updated as ever.

    Args:
        optimizer: the optimizer.
        key: a typed key, or an int that seeds one.

    Raises:
        ValueError: from ``update``, without ``params``.

    Examples:
        >>> params = jnp.ones(1000, jnp.bfloat16)  # its next number is 1.0078125
        >>> tx = stochastic_rounding(optax.sgd(1.0), key=0)
        >>> updates, _ = tx.update(jnp.full(1000, -0.001, jnp.bfloat16), tx.init(params), params)
        >>> bool(0.0007 < jnp.mean((params + updates).astype(jnp.float32)) - 1 < 0.0013)
        True
    """
    inner = checks.transformation("stochastic_rounding", "optimizer", optimizer)

    def init(params):
        return StochasticRoundingState(jnp.zeros((), jnp.int32), own_key(key), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("stochastic_rounding", state, StochasticRoundingState)
        checks.params("stochastic_rounding", params)
        checks.like("stochastic_rounding", "gradient", updates, params)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, params, **extra_args
        )
        now = jax.random.fold_in(state.rng_key, state.count)

        def drawn(number: int, param: Any, grad: Any, move: Any) -> Array:
            if not is_narrow(param):
                return move.astype(grad.dtype)
            target = param.astype(jnp.float32) + move.astype(jnp.float32)
            down, up = (reaching(param, target, grad.dtype, way) for way in (False, True))
            low, high = landing(param, down), landing(param, up)
            chance = jax.random.uniform(jax.random.fold_in(now, number), target.shape, jnp.float32)
            return jnp.where(chance * (high - low) < target - low, up, down)

        leaves, structure = jax.tree.flatten(params)
        numbers = jax.tree.unflatten(structure, range(len(leaves)))
        new = jax.tree.map(drawn, numbers, params, updates, moves)
        return new, StochasticRoundingState(
            count_applied(state.count, inner_state, state.inner_state), state.rng_key, inner_state
        )

    return GradientTransformationExtraArgs(init, update)
