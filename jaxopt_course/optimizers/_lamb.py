"""LAMB: Adam's update, given to each leaf with the norm of the leaf itself.

With Adam's update u_t of a leaf w, weight decay d and learning rate a_t,

    w <- w - a_t |w| / |u_t + d w| (u_t + d w)

and without the ratio where one of the norms is 0.

Reference: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
2020, https://arxiv.org/abs/1904.00962, algorithm 2.
"""

from collections.abc import Callable

from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, ScalarOrSchedule
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)

from ._adam import scale_by_adam


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-6,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """LAMB: Adam in units of each leaf's norm, for large batches.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), lamb(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state, params)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
