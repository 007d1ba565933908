"""Kahan summation: narrow parameters, and beside them what rounding has kept from them.

With a parameter w, an update u and a remainder c, all of bfloat16 but u,

    y = u + c,    w' = round(w + y),    c' = round(y - (w' - w))

so that updates below the last place of w add up in c until they count.

References: Kahan, "Further remarks on reducing truncation errors", 1965; Zamirai et al.,
"Revisiting BFloat16 Training", 2020, https://arxiv.org/abs/2010.06192, algorithm 3.
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

from ._narrow import is_narrow, landing, two_trees


class KahanState(NamedTuple):
    """What rounding has kept from the parameters.

    compensation: c, shaped like the params and in their dtypes; ``MaskedNode`` for those of
        float32 or wider.
    inner_state: the state of the optimizer.
    """

    compensation: Params
    inner_state: State


def kahan(optimizer: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Keep what narrow parameters lose by rounding, and add it to the next update.

    It must be the outermost wrapper of whatever changes the updates. The optimizer is handed the
    gradients in float32. The remainder is at most a half in the last place of the parameter: who
    changes the parameters in between, by a projection for instance, changes it no further.

    Args:
        optimizer: the optimizer.

    Raises:
        ValueError: from ``update``, without ``params``.

    Examples:
        >>> from jaxopt_course.transforms import apply_updates
        >>> params, tx = jnp.ones((), jnp.bfloat16), kahan(optax.sgd(1.0))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     updates, state = update(jnp.float32(-0.001), state, params)
        ...     params = apply_updates(params, updates)
        >>> round(float(params), 2)  # without it 1.0
        1.1
    """
    inner = checks.transformation("kahan", "optimizer", optimizer)

    def init(params):
        nothing = lambda p: tree.zeros_like(p) if is_narrow(p) else MaskedNode()
        return KahanState(jax.tree.map(nothing, params), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("kahan", state, KahanState)
        checks.params("kahan", params)
        checks.like("kahan", "gradient", updates, params)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, params, **extra_args
        )

        def summed(param: Any, grad: Any, move: Any, lost: Any) -> tuple[Array, Any]:
            if not is_narrow(param):
                return move.astype(grad.dtype), lost
            wanted = move.astype(jnp.float32) + lost.astype(jnp.float32)
            own = wanted.astype(grad.dtype)
            moved = landing(param, own) - param.astype(jnp.float32)
            return own, (wanted - moved).astype(param.dtype)

        new, lost = two_trees(summed, params, updates, moves, state.compensation)
        return new, KahanState(lost, inner_state)

    return GradientTransformationExtraArgs(init, update)
