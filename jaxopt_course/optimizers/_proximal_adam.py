"""Proximal Adam: Adam on a smooth loss f plus a penalty R, with the threshold in Adam's metric.

With Adam's m_hat and v_hat, and D = 1 / (sqrt(v_hat + eps_root) + eps) for each entry,

    w <- argmin over y of  sum_i (y_i - x_i)^2 / (2 a_t D_i) + R(y),   x = w - a_t D m_hat

For the L1 penalty s sum |w| it is a soft threshold a_t s D_i of its own for each entry: where
Adam steps far, it also thresholds far. So it stops only where -grad f lies in the slopes of R:
at the minimum of f + R. With one threshold for all, ``chain(adam(a), proximal(operator, a))``,
it would stop at another point; see ``proximal``.

Reference: Yun, Lozano & Yang, "Adaptive Proximal Gradient Methods for Structured Neural
Networks", NeurIPS 2021.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, ScalarOrSchedule, tree
from jaxopt_course.regularizers import weights_only
from jaxopt_course.transforms import partition, scaled_proximal

from ._adam import ScaleByAdamState, adam, scale_by_adam


def proximal_adam(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Adam with the proximal operator of an entry-wise penalty, in Adam's own metric.

    Args:
        operator: ``operator(x, scaling=a D)`` of one array, with an array of scalings: such as
            ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mask: which leaves are penalized: a tree of bools shaped like (a prefix of) the params,
            or a function of the params that returns one; None for all. By default biases and
            the parameters of normalizations are left out: plain Adam trains them.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import functools, jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import prox_l1
        >>> lasso = functools.partial(prox_l1, strength=1.0)
        >>> params, tx = jnp.array([3.0, 2.0]), proximal_adam(lasso, 0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(400):
        ...     grads = params - jnp.array([2.0, 0.5])  # of half the squared distance to a point
        ...     updates, state = update(grads, state, params)
        ...     params = params + updates
        >>> params.round(3).tolist()
        [1.0, 0.0]
    """

    def metric(state: ScaleByAdamState) -> PyTree:
        ones = jax.tree.map(jnp.ones_like, state.nu)
        return tree.divide_by_root(
            ones, tree.bias_correction(state.nu, b2, state.count), eps, eps_root
        )

    penalized = scaled_proximal(
        scale_by_adam(b1, b2, eps, eps_root), metric, operator, learning_rate
    )
    if mask is None:
        return penalized
    free = adam(learning_rate, b1, b2, eps, eps_root)
    return partition({True: penalized, False: free}, mask)
