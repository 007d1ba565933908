"""Gradient descent, and the conventions for its momentum.

With gradients g_t, learning rate a_t, momentum d and v_0 = 0,

    sgd              v_t = g_t + d v_{t-1}             w <- w - a_t v_t
    sgd, nesterov    v_t = g_t + d v_{t-1}             w <- w - a_t (g_t + d v_t)
    heavy_ball       v_t = a_t g_t + d v_{t-1}         w <- w - v_t
    ema_sgd          v_t = (1 - d) g_t + d v_{t-1}     w <- w - a_t v_t
    nesterov         v_t = a_t g_t + d v_{t-1}         w <- w - v_t,  g_t taken at w - d v_{t-1}
    sgdw             v_t = a_t g_t + d v_{t-1}         w <- w - v_t - a_t weight_decay w
    noisy_sgd        w <- w - a_t (g_t + sqrt(eta / t^gamma) e_t),  e_t standard normal

With a ``weight_decay`` sgd adds - a_t weight_decay w to its step, as sgdw does.

At a constant learning rate a, ``sgd`` and ``heavy_ball`` agree, ``ema_sgd`` is ``sgd`` at the rate
a (1 - d), and ``sgd`` with ``nesterov=True`` follows the look-ahead points of ``nesterov``. When
the rate changes, ``sgd`` rescales past gradients too, and ``heavy_ball`` keeps the rate they had.
A mean of scaled gradients is ``chain(scale_by_learning_rate(rate), ema(d, debias=False))``. torch's
``dampening`` differs from ``ema_sgd``: its first velocity is the whole first gradient.

References: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k^2)",
1983; Sutton, "Two problems with backpropagation and other steepest-descent learning procedures for
networks", 1986; Sutskever et al., "On the importance of initialization and momentum in deep
learning", 2013, equations 3 and 4, https://proceedings.mlr.press/v28/sutskever13.html; Neelakantan
et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", 2015, equations 1 and 2,
https://arxiv.org/abs/1511.06807; Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
2019, algorithm 1, https://arxiv.org/abs/1711.05101 (lambda there is ``weight_decay`` times alpha).
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    add_noise,
    apply_updates,
    chain,
    ema,
    identity,
    scale,
    scale_by_learning_rate,
    trace,
)

from ._decay import decayed


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent, with or without momentum.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1). None for plain gradient descent, which stores no velocity.
        nesterov: whether to use Nesterov momentum; it needs a ``momentum``.
        accumulator_dtype: dtype of the velocity; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay. torch's is coupled: ``chain(add_decayed_weights(d), sgd(a, 0.9))``.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = sgd(0.1)
        >>> tx = sgd(0.1, momentum=0.9, nesterov=True)
    """
    checks.flag("sgd", "nesterov", nesterov)
    if momentum is None:
        if nesterov:
            raise ValueError("sgd: `nesterov` needs a `momentum` in [0, 1), got None.")
        velocity = identity()
    else:
        checks.number("sgd", "momentum", momentum, "[0, 1)")
        velocity = trace(momentum, nesterov, accumulator_dtype)
    decay = decayed("sgd", weight_decay, mask)
    return chain(velocity, *decay, scale_by_learning_rate(learning_rate))


def ema_sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent along a running mean of the gradients.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).
        accumulator_dtype: dtype of the velocity; float32 or wider by default.

    Examples:
        >>> tx = ema_sgd(0.1, momentum=0.9)
    """
    checks.number("ema_sgd", "momentum", momentum, "[0, 1)")
    return chain(
        ema(momentum, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_learning_rate(learning_rate),
    )


def heavy_ball(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's momentum, a sum of steps scaled by their learning rates.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).
        accumulator_dtype: dtype of the velocity; float32 or wider by default.

    Examples:
        >>> tx = heavy_ball(0.1, momentum=0.9)
    """
    checks.number("heavy_ball", "momentum", momentum, "[0, 1)")
    return chain(
        scale_by_learning_rate(learning_rate), trace(momentum, accumulator_dtype=accumulator_dtype)
    )


class NesterovState(NamedTuple):
    """State of the Nesterov transformation.

    momentum: weight of the velocity in the look-ahead point, float[].
    trace: decaying sum of updates, shaped like the params, float32 or wider.
    """

    momentum: Float[Array, ""]
    trace: Params

    def lookahead_params(self, params: Params) -> Params:
        """``params + momentum * trace``."""
        ahead = lambda v, p: apply_updates(p, tree.scale(v, self.momentum))
        return tree.map_unmasked(ahead, self.trace, params)


def trace_lookahead(momentum: ScalarLike) -> GradientTransformationExtraArgs:
    """Replace updates by their decaying sum. The argument is that of :func:`nesterov`."""
    checks.number("trace_lookahead", "momentum", momentum, "[0, 1)")

    def init(params):
        return NesterovState(numerics.as_float(momentum), tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.step("trace_lookahead", updates, state, NesterovState, "trace")
        total = tree.running_sum(state.trace, updates, momentum)
        return tree.cast_like(total, updates), NesterovState(state.momentum, total)

    return GradientTransformationExtraArgs(init, update)


def nesterov(
    learning_rate: ScalarOrSchedule, momentum: ScalarLike = 0.9
) -> GradientTransformationExtraArgs:
    """Nesterov's method, with gradients at the look-ahead point.

    Evaluate the gradient at ``lookahead_params(state, params)`` and add the updates to ``params``.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).

    Examples:
        >>> from jaxopt_course.transforms import lookahead_params
        >>> tx, params = nesterov(0.1), 3.0
        >>> grads = 2 * lookahead_params(tx.init(params), params)
    """
    checks.number("nesterov", "momentum", momentum, "[0, 1)")
    return chain(scale_by_learning_rate(learning_rate), trace_lookahead(momentum))


def sgdw(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with momentum and decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = sgdw(0.1, momentum=0.5, weight_decay=0.1)
    """
    checks.number("sgdw", "momentum", momentum, "[0, 1)")
    checks.learning_rate("sgdw", learning_rate)
    checks.learning_rate("sgdw", weight_decay, "weight_decay")
    return chain(
        scale_by_learning_rate(learning_rate, flip_sign=False),
        trace(momentum),
        add_decayed_weights(numerics.of_rates(product, learning_rate, weight_decay), mask),
        scale(-1.0),
    )


def product(a: ScalarLike, b: ScalarLike) -> Float[Array, ""]:
    """``a * b``, of Python numbers or arrays of any dtype."""
    return numerics.as_float(a) * numerics.as_float(b)


def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: ScalarLike = 0.01,
    gamma: ScalarLike = 0.55,
    key: jax.Array | int | None = None,
    *,
    seed: int | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with normal noise that decreases.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        eta: variance of the noise in the first step, in [0, inf).
        gamma: exponent with which the variance decreases, in [0, inf).
        key: PRNG key, or an int to make one from; it should be given.
        seed: the old name of an int ``key``.

    Examples:
        >>> tx = noisy_sgd(0.1, key=jax.random.key(0))
    """
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate))
