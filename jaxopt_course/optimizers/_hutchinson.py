"""Hutchinson's estimate of the diagonal of a Hessian, from its product with random signs.

With the Hessian H of the loss at the params, and independent signs z,

    h = z (H z)           entry by entry

Its mean is the diagonal, for E[z_i z_j] is 1 where i = j, else 0.

Reference: Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian
smoothing splines", 1989; Bekas, Kokiopoulou & Saad, "An estimator for the diagonal of a matrix",
2007, https://doi.org/10.1016/j.apnum.2007.01.003.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxopt_course.core import GradientTransformationExtraArgs, checks, hvp, tree


class HutchinsonState(NamedTuple):
    """``key``: what the next signs are drawn from."""

    key: Array


def hutchinson_estimator_diag_hessian(
    random_seed: Array | None = None,
) -> GradientTransformationExtraArgs:
    """Replace updates by an unbiased estimate of the diagonal of the Hessian: z (nabla^2 f z).

    ``update`` needs the params, and the loss as a function of the params alone, as the extra
    argument ``obj_fn`` or ``value_fn``. One estimate costs about two gradients.

    Args:
        random_seed: the key of the random signs; that of seed 0 by default.

    Returns:
        A transformation whose updates are the estimate.

    Raises:
        ValueError: from ``update``, without the params or the loss.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> tx, params = hutchinson_estimator_diag_hessian(jax.random.key(0)), jnp.ones(2)
        >>> loss = lambda w: w[0] ** 2 + 3 * w[1] ** 2  # its Hessian is diagonal: exact
        >>> tx.update(params, tx.init(params), params, obj_fn=loss)[0].tolist()
        [2.0, 6.0]
    """

    def init(params):
        key = jax.random.PRNGKey(0) if random_seed is None else jnp.array(random_seed)
        return HutchinsonState(key)

    def update(updates, state, params=None, obj_fn=None, value_fn=None, **extra_args):
        checks.state("hutchinson_estimator_diag_hessian", state, HutchinsonState)
        checks.params("hutchinson_estimator_diag_hessian", params)
        checks.like("hutchinson_estimator_diag_hessian", "gradient", updates, params)
        loss = value_fn if obj_fn is None else obj_fn
        if loss is None:
            raise ValueError(
                "hutchinson_estimator_diag_hessian reads the loss: call "
                "`update(updates, state, params, obj_fn=loss)`, with a function of the params."
            )
        key, own = jax.random.split(state.key)
        signs = optax.tree_utils.tree_random_like(
            own, params, jax.random.rademacher, dtype=jnp.float32
        )
        signs = tree.cast_like(signs, params)
        estimate = jax.tree.map(jnp.multiply, signs, hvp(loss, params, signs))
        return tree.cast_like(estimate, updates), HutchinsonState(key)

    return GradientTransformationExtraArgs(init, update)
