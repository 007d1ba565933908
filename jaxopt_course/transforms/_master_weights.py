"""Master weights: narrow parameters that follow a float32 copy of themselves.

The optimizer moves the copy; the parameters are the copy, rounded.

Reference: Micikevicius et al., "Mixed Precision Training", 2018, section 3.1,
https://arxiv.org/abs/1710.03740.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    MaskedNode,
    Params,
    State,
    checks,
    tree,
)

from ._narrow import is_narrow, two_trees


class MasterWeightsState(NamedTuple):
    """The copy that the optimizer moves.

    master: the parameters in float32; ``MaskedNode`` for those of float32 or wider.
    inner_state: the state of the optimizer.
    """

    master: Params
    inner_state: State


def master_weights(optimizer: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``optimizer`` on a float32 copy of narrow parameters, which follow it.

    It must be the outermost wrapper of whatever changes the updates. The optimizer is handed
    gradients and parameters in float32. An entry that is not its copy, rounded, has been changed
    by somebody else, by a projection for instance: the copy starts anew from it.

    Args:
        optimizer: the optimizer.

    Raises:
        ValueError: from ``update``, without ``params``.

    Examples:
        >>> from jaxopt_course.transforms import apply_updates
        >>> params, tx = jnp.ones((), jnp.bfloat16), master_weights(optax.sgd(1.0))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     updates, state = update(jnp.float32(-0.001), state, params)
        ...     params = apply_updates(params, updates)
        >>> round(float(state.master), 4)
        1.1
    """
    inner = checks.transformation("master_weights", "optimizer", optimizer)

    def init(params):
        copied = lambda p: p.astype(jnp.float32) if is_narrow(p) else MaskedNode()
        return MasterWeightsState(jax.tree.map(copied, params), inner.init(tree.widened(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("master_weights", state, MasterWeightsState)
        checks.params("master_weights", params)
        checks.like("master_weights", "gradient", updates, params)

        def current(param: Any, master: Any) -> Any:
            if not is_narrow(param):
                return param
            return jnp.where(master.astype(param.dtype) == param, master, param.astype(jnp.float32))

        whole = jax.tree.map(current, params, state.master)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, whole, **extra_args
        )

        def followed(param: Any, grad: Any, move: Any, master: Any) -> tuple[Array, Any]:
            if not is_narrow(param):
                return move.astype(grad.dtype), MaskedNode()
            master = master + move.astype(jnp.float32)
            ahead = master.astype(param.dtype).astype(jnp.float32) - param.astype(jnp.float32)
            return ahead.astype(grad.dtype), master

        new, master = two_trees(followed, params, updates, moves, whole)
        return new, MasterWeightsState(master, inner_state)

    return GradientTransformationExtraArgs(init, update)
