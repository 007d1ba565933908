"""DoG and DoWG: the learning rate is the distance from the first params over the gradient norms.

With gradients g_t, first params w_0, a factor a_t (1 in the papers), norms taken over all leaves,

    r_t = max(r_{t-1}, |w_t - w_0|)

    DoG    G_t = G_{t-1} + |g_t|^2,         w <- w - a_t r_t / sqrt(G_t + eps) g_t
    DoWG   V_t = V_{t-1} + r_t^2 |g_t|^2,   w <- w - a_t r_t^2 / (sqrt(V_t) + eps) g_t

The authors of DoG recommend averaging the iterates. DoWG's paper has eps = 0.

References: Ivgi, Hinder & Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size
Schedule", 2023, equation (DoG), https://arxiv.org/abs/2302.12022; Khaled, Mishchenko & Jin, "DoWG
Unleashed: An Efficient Universal Parameter-Free Gradient Descent Method", 2023, algorithm 1,
https://arxiv.org/abs/2305.16284.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    global_norm,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, identity, scale_by_learning_rate


InitStep = tuple[Literal["distance", "learning_rate", "heuristic"], ScalarLike]


class DoGState(NamedTuple):
    """State of the DoG transformation.

    is_init_step: whether no update has been made yet, bool[].
    init_params: w_0, the first params.
    max_dist: r, the largest distance from ``init_params``, float[], float32 or wider.
    sum_sq_norm_grads: G, float[].
    """

    is_init_step: Bool[Array, ""]
    init_params: Params
    max_dist: Float[Array, ""]
    sum_sq_norm_grads: Float[Array, ""]


def scale_by_dog(init_step: InitStep, eps: ScalarLike = 1e-8) -> GradientTransformationExtraArgs:
    """Multiply gradients by DoG's learning rate. Arguments are those of :func:`dog`."""
    if not isinstance(init_step, tuple | list) or len(init_step) != 2:
        raise TypeError(
            "scale_by_dog: `init_step` must be a pair of a name and a number, "
            f"got {checks.shown(init_step)}."
        )
    kind, size = init_step
    checks.choice("scale_by_dog", "init_step[0]", kind, ("distance", "learning_rate", "heuristic"))
    checks.number("scale_by_dog", "init_step[1]", size, "(0, inf)")
    checks.number("scale_by_dog", "eps", eps, "[0, inf)")

    def init(params):
        dtype = tree.scalar_dtype(params)
        distance = jnp.asarray(size, dtype)
        if kind == "heuristic":
            distance *= 1 + global_norm(params)
        if kind == "learning_rate":
            distance = jnp.zeros((), dtype)
        first = jax.tree.map(jnp.copy, params)  # a copy, because params may be donated
        return DoGState(jnp.array(True), first, distance, jnp.zeros((), dtype))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_dog", updates, state, DoGState, "init_params")
        checks.params("scale_by_dog", params)
        dtype = state.max_dist.dtype
        distance = global_norm(tree.sub(params, state.init_params)).astype(dtype)
        max_dist = jnp.maximum(state.max_dist, distance)
        squares = state.sum_sq_norm_grads + tree.sum(tree.squared(updates)).astype(dtype)
        rate = numerics.safe_divide(max_dist, numerics.safe_sqrt(squares + jnp.asarray(eps, dtype)))
        if kind == "learning_rate":
            rate = jnp.where(state.is_init_step, jnp.asarray(size, dtype), rate)
        new_state = DoGState(jnp.array(False), state.init_params, max_dist, squares)
        return tree.scale(updates, rate), new_state

    return GradientTransformationExtraArgs(init, update)


def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: InitStep = ("heuristic", 1e-6),
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent that sets its own learning rate, distance over gradients.

    Args:
        learning_rate: factor of the step size, in [0, inf), or a schedule of the step count.
        init_step: how to start: ``("distance", r)`` sets r_0 = r; ``("heuristic", c)`` sets r_0 = c
            (1 + |w_0|), so ``init`` needs the values of the params; ``("learning_rate", a)`` makes
            a first step at the learning rate a. The number lies in (0, inf) and should be small.
            With batch normalization the authors use ``("heuristic", 1e-4)``.
        eps: added to the sum inside the square root, in [0, inf).
        weight_decay: coupled weight decay, in [0, inf), or a schedule. None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = dog()
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dog(init_step, eps),
        scale_by_learning_rate(learning_rate),
    )


class DoWGState(NamedTuple):
    """State of the DoWG transformation.

    init_params: w_0, the first params.
    weighted_sq_norm_grads: V, float[], float32 or wider.
    estim_sq_dist: r^2, the largest squared distance from ``init_params``, float[].
    """

    init_params: Params
    weighted_sq_norm_grads: Float[Array, ""]
    estim_sq_dist: Float[Array, ""]


def scale_by_dowg(
    init_estim_sq_dist: ScalarLike | None = None, eps: ScalarLike = 1e-4
) -> GradientTransformationExtraArgs:
    """Multiply gradients by DoWG's learning rate. Arguments are those of :func:`dowg`."""
    checks.number("scale_by_dowg", "eps", eps, "[0, inf)")
    start = eps if init_estim_sq_dist is None else init_estim_sq_dist
    checks.number("scale_by_dowg", "init_estim_sq_dist", start, "(0, inf)")

    def init(params):
        dtype = tree.scalar_dtype(params)
        first = jax.tree.map(jnp.copy, params)  # a copy, because params may be donated
        return DoWGState(first, jnp.zeros((), dtype), jnp.asarray(start, dtype))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_dowg", updates, state, DoWGState, "init_params")
        checks.params("scale_by_dowg", params)
        dtype = state.estim_sq_dist.dtype
        sq_dist = tree.sum(tree.squared(tree.sub(params, state.init_params))).astype(dtype)
        largest = jnp.maximum(state.estim_sq_dist, sq_dist)
        squares = tree.sum(tree.squared(updates)).astype(dtype)
        weighted = state.weighted_sq_norm_grads + largest * squares
        rate = numerics.safe_divide(largest, numerics.safe_sqrt(weighted) + jnp.asarray(eps, dtype))
        return tree.scale(updates, rate), DoWGState(state.init_params, weighted, largest)

    return GradientTransformationExtraArgs(init, update)


def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: ScalarLike | None = None,
    eps: ScalarLike = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent that sets its own learning rate, distance over weighted gradients.

    Args:
        learning_rate: factor of the step size, in [0, inf), or a schedule of the step count.
        init_estim_sq_dist: r_0^2, in (0, inf); ``eps`` by default.
        eps: added to the square root, in [0, inf); it must not be 0 if it is also r_0^2.
        weight_decay: coupled weight decay, in [0, inf), or a schedule. None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = dowg()
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dowg(init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )
