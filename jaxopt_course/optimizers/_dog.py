"""DoG: a step as long as the way come so far, over the root of all gradients' squares.

With gradients g_t and the first params w_0, norms taken over all leaves together,

    r_t = max(r_{t-1}, |w_t - w_0|)
    G_t = G_{t-1} + |g_t|^2
    w  <- w - a_t r_t / sqrt(G_t + eps) g_t

The factor a_t is 1 in the paper. Its authors advise to average the iterates.

Reference: Ivgi, Hinder & Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size
Schedule", 2023, equation (DoG), https://arxiv.org/abs/2302.12022.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    global_norm,
    numerics,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    identity,
    scale_by_learning_rate,
)


InitStep = tuple[Literal["distance", "learning_rate", "heuristic"], ScalarLike]


class DoGState(NamedTuple):
    """What the next step needs from the past.

    is_init_step: whether no update has been made yet, bool[].
    init_params: w_0, the first params.
    max_dist: r, the longest distance from them, float[], float32 or wider.
    sum_sq_norm_grads: G, float[].
    """

    is_init_step: Bool[Array, ""]
    init_params: Params
    max_dist: Float[Array, ""]
    sum_sq_norm_grads: Float[Array, ""]


def scale_by_dog(init_step: InitStep, eps: ScalarLike = 1e-8) -> GradientTransformationExtraArgs:
    """Multiply gradients by distance over gradients.

    Args:
        init_step: how to begin: ``("distance", r)`` with r_0 = r, ``("heuristic", c)`` with
            r_0 = c (1 + |w_0|), ``("learning_rate", a)`` with a first step of rate a. The
            number lies in (0, inf) and should be small.
        eps: added to the sum inside the root, in [0, inf).

    Returns:
        A transformation whose updates point uphill; ``update`` needs the params, and with
        ``"heuristic"`` ``init`` needs their values.

    Raises:
        ValueError: if the way to begin is unknown, or a number lies outside its range.
    """
    if not isinstance(init_step, tuple | list) or len(init_step) != 2:
        raise TypeError(
            "scale_by_dog: `init_step` must be a pair of a name and a number, "
            f"got {checks.shown(init_step)}."
        )
    kind, size = init_step
    checks.choice("scale_by_dog", "init_step[0]", kind, ["distance", "learning_rate", "heuristic"])
    checks.number("scale_by_dog", "init_step[1]", size, "(0, inf)")
    checks.number("scale_by_dog", "eps", eps, "[0, inf)")

    def init(params):
        dtype = tree.scalar_dtype(params)
        distance = jnp.asarray(size, dtype)
        if kind == "heuristic":
            distance *= 1 + global_norm(params)
        if kind == "learning_rate":
            distance = jnp.zeros((), dtype)
        first = jax.tree.map(jnp.copy, params)  # so that the params may be donated
        return DoGState(jnp.array(True), first, distance, jnp.zeros((), dtype))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_dog", state, DoGState)
        checks.params("scale_by_dog", params)
        checks.like("scale_by_dog", "gradient", updates, state.init_params)
        dtype = state.max_dist.dtype
        way = global_norm(tree.sub(params, state.init_params)).astype(dtype)
        max_dist = jnp.maximum(state.max_dist, way)
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
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent that finds its own learning rate: distance over gradients.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: a factor.
        init_step: how to begin, as for :func:`scale_by_dog`. With batch normalization the
            authors take ``("heuristic", 1e-4)``.
        eps: added to the sum inside the root, in [0, inf).
        weight_decay: coupled decay, in [0, inf), or a schedule. None for none.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if the way to begin is unknown, or a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), dog()
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dog(init_step, eps),
        scale_by_learning_rate(learning_rate),
    )
