"""Second derivatives, one direction at a time."""

from collections.abc import Callable
from typing import Any

import jax

from . import checks, tree
from ._protocols import Params


def hvp(fn: Callable[[Params], Any], params: Params, vector: Params) -> Params:
    """The Hessian of ``fn`` at ``params`` times ``vector``, without forming the Hessian.

    It is the derivative of the gradient along ``vector`` (forward over reverse mode), and costs
    a few evaluations of ``fn``, however many parameters there are.

    Args:
        fn: maps the parameters to one number; twice differentiable.
        params: where the Hessian is taken.
        vector: what it is multiplied by: same structure and shapes.

    Returns:
        The product, with the structure, shapes and dtypes of the params.

    Raises:
        ValueError: if ``vector`` has another structure or shape.

    References:
        Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994.

    Examples:
        >>> import jax.numpy as jnp
        >>> fn = lambda w: w[0] ** 2 + 3 * w[0] * w[1]  # Hessian [[2, 3], [3, 0]]
        >>> hvp(fn, jnp.array([1.0, 5.0]), jnp.array([1.0, 0.0])).tolist()
        [2.0, 3.0]
    """
    checks.like("hvp", "vector", vector, params)
    return jax.jvp(jax.grad(fn), (params,), (tree.cast_like(vector, params),))[1]
