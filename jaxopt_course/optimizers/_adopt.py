"""ADOPT: Adam in another order of operations, which converges for every b2.

The second moment that divides a gradient does not contain that gradient, and the momentum averages
the quotients. With gradients g_t, t from 0, learning rate a_t and v_0 = g_0^2,

    u_t = clip(g_t / max(sqrt(v_{t-1}), eps), -c_t, c_t)          t >= 1; c_t = t^(1/4)
    m_t = b1 m_{t-1} + (1 - b1) u_t                               m_0 = 0
    w  <- w - a_t m_t
    v_t = b2 v_{t-1} + (1 - b2) g_t^2

so the first step leaves the parameters unchanged.

Reference: Taniguchi et al., "ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal
Rate", 2024, algorithms 1 and 2 (with clipping), https://arxiv.org/abs/2411.02853.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments, zero_moments
from ._decay import decayed


def scale_by_adopt(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.9999,
    eps: ScalarLike = 1e-6,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Array] = lambda x: x**0.25,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by the second moment before them. Arguments are those of :func:`adopt`."""
    checks.flags("scale_by_adopt", nesterov=nesterov, use_clipping=use_clipping)
    check_moments("scale_by_adopt", b1, b2, eps, mu_dtype=mu_dtype)

    def init(params):
        return zero_moments(params, mu_dtype)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adopt", updates, state, ScaleByAdamState, "nu")
        smallest, first = numerics.in_dtype(eps), state.count == 0

        def divided(g: Array, nu: Array) -> Array:
            root = jnp.maximum(numerics.safe_sqrt(nu), smallest(nu.dtype))
            return numerics.safe_divide(g, root.astype(g.dtype))

        scaled = jax.tree.map(divided, tree.widened(updates), state.nu)
        if use_clipping:
            bound = numerics.in_dtype(clip_value_fn(numerics.as_float(state.count)))
            clipped = lambda u: jnp.clip(u, -bound(u.dtype), bound(u.dtype))
            scaled = jax.tree.map(clipped, scaled)
        mu = _mean_from_second(state.mu, scaled, b1, first, 1.0)
        ahead = _mean_from_second(mu, scaled, b1, first, 1.0) if nesterov else mu
        nu = _mean_from_second(state.nu, tree.squared(updates), b2, first, 0.0)
        mu, nu = tree.cast_like(mu, state.mu), tree.cast_like(nu, state.nu)
        count = numerics.safe_increment(state.count)
        return tree.cast_like(ahead, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def _mean_from_second(
    old: PyTree, new: PyTree, decay: ScalarLike, first: Bool[Array, ""], decay_at_first: float
) -> PyTree:
    """A running mean with a decay rate of its own in the first step."""

    @functools.cache
    def weights(dtype: Any) -> tuple[Array, Array]:
        keep = jnp.where(first, decay_at_first, jnp.asarray(decay, dtype))
        return keep, jnp.where(first, 1 - decay_at_first, numerics.complement(decay, dtype))

    def mixed(o: Array, n: Any) -> Array:
        keep, add = weights(o.dtype)
        return keep * o + add * jnp.asarray(n, o.dtype)

    return jax.tree.map(mixed, tree.widened(old), new)


def adopt(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.9999,
    eps: ScalarLike = 1e-6,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Array] = lambda x: x**0.25,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """ADOPT, Adam that converges for every decay rate of its second moment.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: smallest square root to divide by, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        nesterov: whether to use Nesterov momentum: u_t enters the mean twice.
        use_clipping: whether to clip u_t.
        clip_value_fn: maps the step count, float[], to the bound c_t.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adopt(1e-3)
    """
    clipping: Any = {"use_clipping": use_clipping, "clip_value_fn": clip_value_fn}
    return chain(
        scale_by_adopt(b1, b2, eps, mu_dtype, nesterov=nesterov, **clipping),
        *decayed("adopt", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
