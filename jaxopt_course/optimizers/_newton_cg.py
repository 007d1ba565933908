"""Newton-CG: Newton's direction, solved approximately by conjugate gradients.

With gradient g and Hessian H, conjugate gradients solve H z = g, starting from z = 0:

    a = r.r / d.Hd,    z <- z + a d,    r' = r - a Hd,    d <- r' + (r'.r' / r.r) d

with r = d = g at first. They stop as soon as

    |r| <= min(1/2, sqrt(|g|)) |g|      the forcing term: more accurate near the minimum
    d.Hd <= 0                           negative curvature: z as it is, or g if d is the first

so -z is always a descent direction, and near a minimum with positive curvature convergence is
superlinear. H is never formed: Hd is the derivative of the gradient along d.

Reference: Nocedal & Wright, "Numerical Optimization", 2nd edition, 2006, algorithm 7.1,
https://doi.org/10.1007/978-0-387-40065-5.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
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

from ._line_search import bound_value_fn, downhill, line_search


class ScaleByNewtonCGState(NamedTuple):
    """State of the Newton-CG transformation.

    count: number of updates so far, int32[].
    num_cg_steps: number of products with the Hessian in the last update, int32[].
    """

    count: Int[Array, ""]
    num_cg_steps: Int[Array, ""]


def scale_by_newton_cg(max_iterations: ScalarLike = 100) -> GradientTransformationExtraArgs:
    """Multiply gradients by an inverse Hessian. Arguments are those of :func:`newton_cg`.

    ``update`` needs ``value_fn``, whose other arguments are taken from the extra arguments.
    Gradients of complex params must be conjugated, as for all optimizers.
    """
    checks.number("scale_by_newton_cg", "max_iterations", max_iterations, "[1, inf)")

    def init(params):
        return ScaleByNewtonCGState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_newton_cg", state, ScaleByNewtonCGState)
        checks.params("scale_by_newton_cg", params, updates)
        if "value_fn" not in extra_args:
            raise ValueError(
                "scale_by_newton_cg differentiates the function: call "
                "`update(grads, state, params, value_fn=fn)`."
            )
        fn = bound_value_fn(extra_args["value_fn"], extra_args)
        _, derivative = jax.linearize(jax.grad(fn), params)

        def product(d: Params) -> Params:
            return jax.tree.map(jnp.conj, derivative(tree.cast_like(d, params)))

        z, steps = _solve(product, updates, max_iterations)
        new_state = ScaleByNewtonCGState(numerics.safe_increment(state.count), steps)
        return tree.cast_like(z, updates), new_state

    return GradientTransformationExtraArgs(init, update)


def newton_cg(
    learning_rate: ScalarOrSchedule | None = None,
    max_iterations: ScalarLike = 100,
    linesearch: optax.GradientTransformation | None = optax.scale_by_zoom_linesearch(  # noqa: B008
        max_linesearch_steps=20,
        curv_rtol=1e4,  # any slope will do: it backtracks by interpolation
        initial_guess_strategy="one",
    ),
) -> GradientTransformationExtraArgs:
    """Newton-CG with a line search, for small problems without noise.

    An update costs at most ``max_iterations`` gradients. It needs ``value``, ``grad`` and
    ``value_fn``, which ``minimize`` passes.

    Args:
        learning_rate: factor of the step, in [0, inf), or a schedule of the step count. None: 1.
        max_iterations: largest number of conjugate gradient steps in one update, in [1, inf). In
            exact arithmetic as many as there are parameters are enough.
        linesearch: last transformation of the chain, which scales the step; by default it
            backtracks from the full step. None: no line search.

    Examples:
        >>> tx, fn, params = newton_cg(), lambda w: jnp.sum(w**2), jnp.array([3.0, -2.0])
        >>> extra = {"value": fn(params), "grad": 2 * params, "value_fn": fn}
        >>> updates, state = tx.update(2 * params, tx.init(params), params, **extra)
    """
    return chain(
        scale_by_newton_cg(max_iterations),
        downhill(learning_rate),
        line_search("newton_cg", linesearch),
    )


def _solve(
    product: Callable[[Params], Params], gradient: Updates, max_iterations: ScalarLike
) -> tuple[Updates, Int[Array, ""]]:
    """Solve H z = gradient approximately; return z and the number of products with H."""
    norm = global_norm(gradient)
    # The solution for g / |g|, times |g|: squares of a large residual are infinite.
    g = tree.divide(gradient, jnp.where(norm > 0, norm, 1))
    tolerance = jnp.minimum(0.5, numerics.safe_sqrt(norm))

    def is_unsolved(carry: Any) -> Array:
        steps, _, _, _, rr, positive = carry
        has_steps_left = ~numerics.has_reached(steps, max_iterations)
        return positive & (numerics.safe_sqrt(rr) > tolerance) & has_steps_left

    def step(carry: Any) -> Any:
        steps, z, r, d, rr, _ = carry
        hd = tree.cast_like(product(d), r)
        curvature = tree.vdot(d, hd)
        positive = curvature > 0
        a = jnp.where(positive, rr / jnp.where(positive, curvature, 1), 0)
        z, r = tree.running_sum(d, z, a), tree.running_sum(hd, r, -a)
        new_rr = tree.vdot(r, r)
        return steps + 1, z, r, tree.running_sum(d, r, new_rr / rr), new_rr, positive

    start = (jnp.zeros((), jnp.int32), tree.zeros_like(g), g, g, tree.vdot(g, g), jnp.array(True))
    steps, z, _, _, _, positive = jax.lax.while_loop(is_unsolved, step, start)
    at_once = ~positive & (steps == 1)
    return tree.scale(jax.tree.map(lambda x, y: jnp.where(at_once, y, x), z, g), norm), steps
