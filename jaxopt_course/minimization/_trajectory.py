"""The points that an optimizer visits.

    p_0 = params,   p_(t+1) = p_t + u_t,   u_t = update(grad f(look(p_t)), ...)

where look(p) is p, or the look-ahead point of the optimizer. :func:`minimize` stops at a minimum,
but does not keep the points.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_course.core import Params, canonical_convolutions, checks
from jaxopt_course.transforms import lookahead_params, take_step


def trajectory(
    fn: Callable[[Any], Any], params: Params, optimizer: optax.GradientTransformation, steps: int
) -> Params:
    """The parameters after 0, 1, ..., ``steps`` steps of minimizing ``fn``.

    The function is pure: jit it, or ``vmap`` it over initial points or hyperparameters of an
    optimizer that is built inside.

    Args:
        fn: a function from params to a scalar.
        params: the initial point.
        optimizer: any gradient transformation.
        steps: number of steps, in [0, inf), static.

    Returns:
        The params with a leading axis of ``steps + 1`` points.

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
        params, state = take_step(tx, params, state, grads, value=value, value_fn=fn)
        return (params, state), params

    run = canonical_convolutions(lambda carry: jax.lax.scan(step, carry, length=steps)[1])
    points = run((start, tx.init(start)))
    return jax.tree.map(lambda first, later: jnp.concatenate([first[None], later]), start, points)
