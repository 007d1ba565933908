"""Adam with an L2 penalty: the decay is part of the gradient, and of both its moments.

With gradients g_t and decay d, Adam sees g_t + d w: the gradient of f(w) + d/2 |w|^2. Since it
divides by the root of what it sees, entries of large gradients decay less; ``adamw`` decays all
alike. For gradient descent the two are one.

Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2 in its
first form, https://arxiv.org/abs/1711.05101.
"""

from collections.abc import Callable

from jaxtyping import DTypeLike, PyTree, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, ScalarOrSchedule
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import scale_by_adam


def adam_l2(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Adam with coupled weight decay, as torch's ``Adam(weight_decay=...)``.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
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
        >>> params, tx = jnp.array([3.0, -2.0]), adam_l2(0.1, weight_decay=0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype),
        scale_by_learning_rate(learning_rate),
    )
