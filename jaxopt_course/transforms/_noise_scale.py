"""The gradient noise scale during a training, from the gradients of successive steps.

The gradients g_1, ..., g_K of K successive batches of b examples are those of K small batches, and
their mean g is that of one large batch. If the parameters hardly move meanwhile, then without bias

    tr(S)  is estimated by  b / (K - 1) sum_k |g_k - g|^2
    |G|^2  is estimated by  |g|^2 - tr(S) / (K b)

for the mean G and the covariance matrix S of the gradients of single examples. The noise scale is
the quotient of moving averages of the two.

Reference: McCandlish, Kaplan, Amodei & OpenAI Dota Team, "An Empirical Model of Large-Batch
Training", 2018, appendix A.1, https://arxiv.org/abs/1812.06162. The sums of squares are those of
Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", 1962.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, checks, numerics, tree


class NoiseScaleState(NamedTuple):
    """State of :func:`measure_noise_scale`.

    count: number of updates in the current group, int32[].
    mean: mean of the gradients of the group, shaped like the params, float32 or wider.
    away: the sum of their squared distances from the mean, float[].
    groups: number of complete groups, int32[].
    trace: moving average of the estimates of tr(S), float[], not bias-corrected.
    squared_norm: moving average of the estimates of |G|^2, likewise.
    """

    count: Int[Array, ""]
    mean: Params
    away: Float[Array, ""]
    groups: Int[Array, ""]
    trace: Float[Array, ""]
    squared_norm: Float[Array, ""]


def measure_noise_scale(
    batch_size: ScalarLike, k: ScalarLike = 2, decay: ScalarLike = 0.99
) -> GradientTransformationExtraArgs:
    """Estimate the gradient noise scale B = tr(S) / |G|^2, for :func:`monitor`.

    The measurement is a dictionary: ``"trace"`` of tr(S), ``"squared_norm"`` of |G|^2, both moving
    averages, and their quotient ``"noise_scale"``, in examples. They are 0 until the first group of
    ``k`` steps is complete. If |G|^2 is not much above its standard error, its estimates and the
    quotient may be negative. In front of :class:`MultiSteps` with the same ``k`` the parameters are
    the same for all gradients of a group, and the estimates are unbiased.
    :func:`~jaxopt_course.diagnostics.noise_scale` measures one batch, with standard errors.

    Args:
        batch_size: number of examples in the batch of each update, in (0, inf).
        k: number of successive updates that are compared, rounded to an integer, in [2, inf).
        decay: the weight of the past in the moving averages over groups, in [0, 1).

    Examples:
        >>> from jaxopt_course.transforms import monitor
        >>> tx = monitor({"noise": measure_noise_scale(batch_size=8)})
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> _, state = tx.update(jnp.array(3.0), state)
        >>> {name: round(float(x), 3) for name, x in state.measurements["noise"].items()}
        {'noise_scale': 5.333, 'squared_norm': 3.0, 'trace': 16.0}
    """
    owner = "measure_noise_scale"
    checks.number(owner, "batch_size", batch_size, "(0, inf)")
    checks.number(owner, "k", k, "[2, inf)")
    checks.number(owner, "decay", decay, "[0, 1)")

    def init(params):
        number = lambda: jnp.zeros((), tree.scalar_dtype(params))
        count = lambda: jnp.zeros((), jnp.int32)
        mean = tree.accumulator_like(params)
        return NoiseScaleState(count(), mean, number(), count(), number(), number())

    def update(updates, state, params=None, **extra_args):
        checks.step(owner, updates, state, NoiseScaleState, "mean")
        count, dtype = numerics.safe_increment(state.count), state.away.dtype
        n, size = count.astype(dtype), jnp.asarray(batch_size, dtype)
        steps = tree.sub(tree.cast_like(updates, state.mean), state.mean)
        mean = jax.tree.map(lambda m, d: m + d / count.astype(m.dtype), state.mean, steps)
        away = state.away + (1 - 1 / n) * tree.vdot(steps, steps).astype(dtype)

        is_full = numerics.is_due(count, k)
        trace = size * away / jnp.maximum(n - 1, 1)
        squared_norm = tree.vdot(mean, mean).astype(dtype) - trace / (n * size)
        averages = {
            "trace": _averaged(state.trace, trace, is_full, decay),
            "squared_norm": _averaged(state.squared_norm, squared_norm, is_full, decay),
        }
        groups = jnp.where(is_full, numerics.safe_increment(state.groups), state.groups)
        group = count, mean, away
        fresh = functools.partial(jnp.where, is_full)
        count, mean, away = jax.tree.map(fresh, tree.zeros_like(group), group)
        correction = numerics.one_minus_power(decay, groups, dtype)
        found = {name: numerics.safe_divide(x, correction) for name, x in averages.items()}
        found["noise_scale"] = numerics.safe_divide(found["trace"], found["squared_norm"])
        return found, NoiseScaleState(count, mean, away, groups, **averages)

    return GradientTransformationExtraArgs(init, update)


def _averaged(
    old: Float[Array, ""], new: Float[Array, ""], is_full: Array, decay: ScalarLike
) -> Float[Array, ""]:
    """The moving average, of which ``new`` becomes part where the group is complete."""
    dtype = old.dtype
    mixed = jnp.asarray(decay, dtype) * old + numerics.complement(decay, dtype) * new
    return jnp.where(is_full, mixed, old)
