"""L-BFGS: the gradient times an inverse Hessian, guessed from the last few steps.

From steps s_k = w_{k+1} - w_k and changes of the gradient y_k = g_{k+1} - g_k, with
rho_k = 1 / (s_k . y_k), the direction r = H g comes from the last m pairs by two loops:

    q = g;         newest pair to oldest:  a_k = rho_k (s_k . q),  q <- q - a_k y_k
    r = gamma q;   oldest pair to newest:  b = rho_k (y_k . r),    r <- r + (a_k - b) s_k

where gamma = (s . y) / (y . y) of the newest pair, and 1 / max(1, |g|) before there is one.

H is positive definite, and r points uphill, if every s_k . y_k is positive. A pair without
positive curvature is therefore not stored, nor one whose s . y is no larger than its own rounding
error, eps |s| |y|: the pairs stored before it stay. A line search for the strong Wolfe conditions
never makes such a pair; a fixed rate or backtracking does.

References: Liu & Nocedal, "On the limited memory BFGS method for large scale optimization", 1989;
Nocedal & Wright, "Numerical Optimization", 2nd edition, 2006, section 7.2, algorithms 7.4 and
7.5, https://doi.org/10.1007/978-0-387-40065-5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxopt_course.core import (
    NO_STEPS,
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    global_norm,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain

from ._line_search import downhill, line_search


class ScaleByLBFGSState(NamedTuple):
    """What the next step needs from the past; trees are in float32 or wider.

    count: how many updates have been made, int32[].
    params: the params of the last update.
    updates: its gradient.
    diff_params_memory: the last m steps s, stacked on a first axis.
    diff_updates_memory: the changes y of the gradient over them.
    weights_memory: rho of each pair, float[m]; 0 where there is none yet.
    pairs: how many pairs have been stored, int32[]. The next goes to place ``pairs % m``.
    """

    count: Int[Array, ""]
    params: Params
    updates: Updates
    diff_params_memory: Params
    diff_updates_memory: Updates
    weights_memory: Float[Array, "m"]
    pairs: Int[Array, ""] = NO_STEPS


def scale_by_lbfgs(
    memory_size: int = 10, scale_init_precond: bool = True
) -> GradientTransformationExtraArgs:
    """Multiply gradients by the inverse Hessian that the last steps suggest.

    Args:
        memory_size: m, how many pairs are kept, in [1, inf); static, for it sets shapes.
        scale_init_precond: whether to scale by gamma between the loops; else by 1.

    Returns:
        A transformation whose updates point uphill; ``update`` needs the params.

    Raises:
        ValueError: if ``memory_size`` lies outside its range.
    """
    checks.flag("scale_by_lbfgs", "scale_init_precond", scale_init_precond)
    checks.integer("scale_by_lbfgs", "memory_size", memory_size, "[1, inf)")

    def memory_like(params: Params) -> Params:
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (memory_size, *x.shape)), tree.accumulator_like(params)
        )

    def init(params):
        return ScaleByLBFGSState(
            count=jnp.zeros((), jnp.int32),
            params=tree.accumulator_like(params),
            updates=tree.accumulator_like(params),
            diff_params_memory=memory_like(params),
            diff_updates_memory=memory_like(params),
            weights_memory=jnp.zeros(memory_size, jnp.result_type(float)),
            pairs=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_lbfgs", state, ScaleByLBFGSState)
        checks.params("scale_by_lbfgs", params)
        checks.like("scale_by_lbfgs", "gradient", updates, state.updates)
        state = _with_newest_pair(state, params, updates)
        s, y, rho = state.diff_params_memory, state.diff_updates_memory, state.weights_memory
        at = lambda memory, k: jax.tree.map(lambda x: x[k], memory)
        oldest_first = (state.pairs + jnp.arange(memory_size, dtype=jnp.int32)) % memory_size

        def backward(q: Updates, k: Array) -> tuple[Updates, Array]:
            along = tree.vdot(at(s, k), q)
            a = rho[k].astype(along.dtype) * along
            return tree.running_sum(at(y, k), q, -a), a

        def forward(r: Updates, k_and_a: tuple[Array, Array]) -> tuple[Updates, None]:
            k, a = k_and_a
            along = tree.vdot(at(y, k), r)
            b = rho[k].astype(along.dtype) * along
            return tree.running_sum(at(s, k), r, a - b), None

        q, a = jax.lax.scan(backward, state.updates, oldest_first, reverse=True)
        if scale_init_precond:
            newest = oldest_first[-1]
            q = tree.scale(q, _gamma(state, at(s, newest), at(y, newest)))
        r, _ = jax.lax.scan(forward, q, (oldest_first, a))
        return tree.cast_like(r, updates), state

    return GradientTransformationExtraArgs(init, update)


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: optax.GradientTransformation | None = optax.scale_by_zoom_linesearch(  # noqa: B008
        max_linesearch_steps=20, initial_guess_strategy="one"
    ),
) -> GradientTransformationExtraArgs:
    """L-BFGS, as a chain of :func:`scale_by_lbfgs`, a rate and a line search.

    For functions without noise: not for mini-batches.

    Args:
        learning_rate: a factor in [0, inf), or a schedule of the step count. None: 1.
        memory_size: how many pairs are kept, in [1, inf); static.
        scale_init_precond: whether to scale by the newest pair's curvature.
        linesearch: the last link, which scales the step. None: none.

    Returns:
        A transformation whose updates are to be added to the params. With a line search
        ``update`` needs ``value``, ``grad`` and ``value_fn``;
        :func:`~jaxopt_course.training.minimize` offers them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.surfaces import rosenbrock
        >>> @jax.jit
        ... def step(params, state):
        ...     value, grads = jax.value_and_grad(rosenbrock)(params)
        ...     offers = {"value": value, "grad": grads, "value_fn": rosenbrock}
        ...     updates, state = tx.update(grads, state, params, **offers)
        ...     return params + updates, state
        >>> params, tx = jnp.array([-1.2, 1.0]), lbfgs()
        >>> state = tx.init(params)
        >>> for _ in range(40):
        ...     params, state = step(params, state)
        >>> bool(jnp.linalg.norm(params - 1.0) < 1e-3)
        True
    """
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        downhill(learning_rate),
        line_search("lbfgs", linesearch),
    )


def _with_newest_pair(
    state: ScaleByLBFGSState, params: Params, updates: Updates
) -> ScaleByLBFGSState:
    """The state after one more point, with the pair that leads to it if that has curvature."""
    params, updates = tree.cast_like(params, state.params), tree.cast_like(updates, state.updates)
    s, y = tree.sub(params, state.params), tree.sub(updates, state.updates)
    curvature = tree.vdot(s, y)
    limits = jnp.finfo(curvature.dtype)
    rounding = limits.eps * (global_norm(s) * global_norm(y))
    stored = (state.count > 0) & (curvature > jnp.maximum(rounding, limits.tiny))
    rho = jnp.where(stored, 1 / jnp.where(stored, curvature, 1), 0)
    size = state.weights_memory.shape[0]
    place = jnp.where(stored, state.pairs % size, size)  # behind the end: nothing is written
    put = lambda memory, x: memory.at[place].set(x.astype(memory.dtype), mode="drop")
    return ScaleByLBFGSState(
        count=numerics.safe_increment(state.count),
        params=params,
        updates=updates,
        diff_params_memory=jax.tree.map(put, state.diff_params_memory, s),
        diff_updates_memory=jax.tree.map(put, state.diff_updates_memory, y),
        weights_memory=put(state.weights_memory, rho),
        pairs=jnp.where(stored, numerics.safe_increment(state.pairs), state.pairs),
    )


def _gamma(state: ScaleByLBFGSState, s: Params, y: Updates) -> Float[Array, ""]:
    """The inverse of the newest pair's curvature; without a pair, what makes the step 1 at most."""
    change = tree.vdot(y, y)
    known = (state.pairs > 0) & (change > 0)
    first = 1 / jnp.maximum(1, global_norm(state.updates))
    return jnp.where(known, tree.vdot(s, y) / jnp.where(known, change, 1), first)
