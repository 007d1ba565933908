"""The points that an optimizer passes through, for looking at its path.

    p_0 = params,   p_(t+1) = p_t + u_t,   u_t = update(grad f(look(p_t)), ...)

where look(p) is p, or the point at which an optimizer wants its gradient.
:func:`~jaxopt_course.training.minimize` knows when to stop, and keeps no points.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_course.core import Params, canonical_convolutions, checks
from jaxopt_course.transforms import lookahead_params

from ._step import take_step


def trajectory(
    fn: Callable[[Any], Any], params: Params, optimizer: optax.GradientTransformation, steps: int
) -> Params:
    """The parameters after 0, 1, ..., ``steps`` steps down ``fn``.

    It is pure: jit it, or ``vmap`` it over starts, or over hyperparameters of an optimizer that is
    built inside.

    Args:
        fn: maps params, a pytree of floats, to one float; differentiable.
        params: where to start.
        optimizer: any gradient transformation. Its ``update`` is also offered ``value``, ``grad``
            and ``value_fn``.
        steps: how many, in [0, inf); static.

    Returns:
        The params with an axis of ``steps + 1`` points in front.

    Raises:
        ValueError: if ``steps`` lies outside its range.

    Examples:
        >>> from jaxopt_course.optimizers import sgd
        >>> trajectory(lambda x: x**2, jnp.array(1.0), sgd(0.25), 3).tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    checks.integer("trajectory", "steps", steps, "[0, inf)")
    tx = checks.transformation("trajectory", "optimizer", optimizer)
    start = jax.tree.map(jnp.asarray, params)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(fn)(lookahead_params(state, params))
        params, state = take_step(tx, params, state, fn, value, grads)
        return (params, state), params

    run = canonical_convolutions(lambda carry: jax.lax.scan(step, carry, length=steps)[1])
    points = run((start, tx.init(start)))
    return jax.tree.map(lambda first, later: jnp.concatenate([first[None], later]), start, points)
