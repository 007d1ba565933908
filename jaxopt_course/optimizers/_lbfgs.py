"""L-BFGS: the gradient times an inverse Hessian that is estimated from the last few steps.

From steps s_k = w_{k+1} - w_k and changes of the gradient y_k = g_{k+1} - g_k, with
rho_k = 1 / (s_k . y_k), the direction r = H g comes from the last m pairs by two loops:

    q = g;         newest pair to oldest:  a_k = rho_k (s_k . q),  q <- q - a_k y_k
    r = gamma q;   oldest pair to newest:  b = rho_k (y_k . r),    r <- r + (a_k - b) s_k

where gamma = (s . y) / (y . y) of the newest pair, and 1 / max(1, |g|) before the first pair.

H is positive definite if every s_k . y_k is positive. A pair is therefore stored only if s . y is
positive and exceeds its own rounding error, eps |s| |y|. A line search for the strong Wolfe
conditions always yields such a pair; a fixed learning rate or backtracking may not.

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
    """State of the L-BFGS transformation; trees are in float32 or wider.

    count: number of updates so far, int32[].
    params: params of the last update.
    updates: its gradient.
    diff_params_memory: the last m steps s, stacked along a first axis.
    diff_updates_memory: the changes y of the gradient, likewise.
    weights_memory: rho of each pair, float[m]; 0 for unused places.
    pairs: number of pairs stored so far, int32[]. The next one is stored at ``pairs % m``.
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
    """Multiply gradients by an estimated inverse Hessian. Arguments are those of :func:`lbfgs`."""
    checks.flag("scale_by_lbfgs", "scale_init_precond", scale_init_precond)
    checks.integer("scale_by_lbfgs", "memory_size", memory_size, "[1, inf)")

    def memory_like(params: Params) -> Params:
        stacked = lambda x: jnp.broadcast_to(x, (memory_size, *x.shape))
        return jax.tree.map(stacked, tree.accumulator_like(params))

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
        checks.step("scale_by_lbfgs", updates, state, ScaleByLBFGSState, "updates")
        checks.params("scale_by_lbfgs", params)
        state = _with_newest_pair(state, params, updates)
        return tree.cast_like(_direction(state, scale_init_precond), updates), state

    return GradientTransformationExtraArgs(init, update)


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: optax.GradientTransformation | None = optax.scale_by_zoom_linesearch(  # noqa: B008
        max_linesearch_steps=20, initial_guess_strategy="one"
    ),
) -> GradientTransformationExtraArgs:
    """L-BFGS with a line search, for functions without noise, not for mini-batches.

    With a line search ``update`` needs ``value``, ``grad`` and ``value_fn``, which
    ``minimize`` passes.

    Args:
        learning_rate: factor of the step, in [0, inf), or a schedule of the step count. None: 1.
        memory_size: number m of stored pairs, a static int in [1, inf).
        scale_init_precond: whether to scale by gamma between the loops, instead of by 1.
        linesearch: last transformation of the chain, which scales the step. None: no line search.

    Examples:
        >>> tx, fn, params = lbfgs(), lambda w: jnp.sum(w**2), jnp.array([3.0, -2.0])
        >>> extra = {"value": fn(params), "grad": 2 * params, "value_fn": fn}
        >>> updates, state = tx.update(2 * params, tx.init(params), params, **extra)
    """
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        downhill(learning_rate),
        line_search("lbfgs", linesearch),
    )


def _direction(state: ScaleByLBFGSState, scale_init_precond: bool) -> Updates:
    """H g by the two loops over the stored pairs."""
    s, y, rho = state.diff_params_memory, state.diff_updates_memory, state.weights_memory
    at = lambda memory, k: jax.tree.map(lambda x: x[k], memory)
    oldest_first = (state.pairs + jnp.arange(rho.size, dtype=jnp.int32)) % rho.size

    def backward(q: Updates, k: Array) -> tuple[Updates, Array]:
        product = tree.vdot(at(s, k), q)
        a = rho[k].astype(product.dtype) * product
        return tree.running_sum(at(y, k), q, -a), a

    def forward(r: Updates, k_and_a: tuple[Array, Array]) -> tuple[Updates, None]:
        k, a = k_and_a
        product = tree.vdot(at(y, k), r)
        b = rho[k].astype(product.dtype) * product
        return tree.running_sum(at(s, k), r, a - b), None

    q, a = jax.lax.scan(backward, state.updates, oldest_first, reverse=True)
    if scale_init_precond:
        newest = oldest_first[-1]
        q = tree.scale(q, _gamma(state, at(s, newest), at(y, newest)))
    return jax.lax.scan(forward, q, (oldest_first, a))[0]


def _with_newest_pair(
    state: ScaleByLBFGSState, params: Params, updates: Updates
) -> ScaleByLBFGSState:
    """The state after one more point, with the newest pair if its curvature suffices."""
    params, updates = tree.cast_like(params, state.params), tree.cast_like(updates, state.updates)
    s, y = tree.sub(params, state.params), tree.sub(updates, state.updates)
    curvature = tree.vdot(s, y)
    limits = jnp.finfo(curvature.dtype)
    rounding = limits.eps * (global_norm(s) * global_norm(y))
    stored = (state.count > 0) & (curvature > jnp.maximum(rounding, limits.tiny))
    rho = jnp.where(stored, 1 / jnp.where(stored, curvature, 1), 0)
    size = state.weights_memory.shape[0]
    place = jnp.where(stored, state.pairs % size, size)  # an index past the end writes nothing
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
    """The inverse of the newest pair's curvature; before the first pair 1 / max(1, |g|)."""
    change = tree.vdot(y, y)
    known = (state.pairs > 0) & (change > 0)
    first = 1 / jnp.maximum(1, global_norm(state.updates))
    return jnp.where(known, tree.vdot(s, y) / jnp.where(known, change, 1), first)
