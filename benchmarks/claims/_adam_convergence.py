"""Claim 28: the examples on which Adam ends at the worst point, and AMSGrad at the best one.

Linear losses on [-1, 1] with rates alpha / sqrt(t), after each step projected onto the interval.

    in turn    f_t(x) = C x if t mod 3 = 1, otherwise -x, with C = 3, b1 = 0, b2 = 1 / (1 + C^2)
    at random  f_t(x) = 1010 x with probability 0.01, otherwise -10 x, with b1 = 0.9, b2 = 0.99

The mean of both losses grows with x, so that -1 is the best point. The large gradient is rare, and
Adam divides it by its own size: it forgets it before the next one. Judged is the mean point of the
last tenth of the steps, from starts that are uniform: in turn, whether it lies within 0.1 of the
worst or the best point; at random, on which side of 0 it lies.

Reference: Reddi, Kale & Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, theorems 1 and 2
and section 5, https://arxiv.org/abs/1904.09237.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.optimizers import adam, amsgrad
from jaxopt_course.schedules import inverse_sqrt_decay
from jaxopt_course.transforms import apply_updates, chain, projected

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import share_effect
from ._experiment import by_seed
from ._pictures import Curves


LARGE, NEAR = 3.0, 0.1
MOST = Claimed(0.5, np.inf, "most means more than half of the starts")
OPTIMIZERS: dict[str, Callable[..., Any]] = {"Adam": adam, "AMSGrad": amsgrad}
POINTS = 100
IN_TURN = {"alpha": 0.5, "b1": 0.0, "b2": 1 / (1 + LARGE**2)}
AT_RANDOM = {"alpha": 1.0, "b1": 0.9, "b2": 0.99}
STEPS, QUICK_STEPS = {"in turn": 9000, "at random": 2_000_000}, {"in turn": 3000, "at random": 3000}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    lengths = QUICK_STEPS if quick else STEPS
    paths = {
        (name, kind): by_seed(_path(make, grads, numbers, lengths[kind]), key, seeds)
        for kind, grads, numbers in (
            ("in turn", _in_turn, IN_TURN),
            ("at random", _at_random, AT_RANDOM),
        )
        for name, make in OPTIMIZERS.items()
    }
    end = {place: path[:, -POINTS // 10 :].mean(1) for place, path in paths.items()}
    effects = (
        share_effect(
            "In turn: share of starts from which Adam ends at the worst point.",
            end["Adam", "in turn"] > 1 - NEAR,
            MOST,
        ),
        share_effect(
            "In turn: share of starts from which AMSGrad ends at the best point.",
            end["AMSGrad", "in turn"] < -1 + NEAR,
            MOST,
        ),
        share_effect(
            "At random: share of starts from which Adam ends on the worse side.",
            end["Adam", "at random"] > 0,
            MOST,
        ),
        share_effect(
            "At random: share of starts from which AMSGrad ends on the better side.",
            end["AMSGrad", "at random"] < 0,
            MOST,
        ),
    )
    means = {name: end[name, "at random"].mean() for name in OPTIMIZERS}
    return Evidence(
        effects,
        f"{lengths['in turn']} and {lengths['at random']} steps; at random Adam ends at "
        f"{means['Adam']:.2g} and AMSGrad at {means['AMSGrad']:.2g} on average. "
        "It depends on the memory: with b2 = 0.999 Adam reaches the best "
        "point in turn, as a test shows.",
        Curves(
            np.arange(1, POINTS + 1) / POINTS,
            {f"{name}, {kind}": path for (name, kind), path in paths.items()},
            "share of the steps",
            "x (the best is -1)",
        ),
    )


def _in_turn(key: Any, start: Any, count: int) -> Any:
    """The gradients of ``count`` steps from ``start``, f[count]."""
    return jnp.where((start + jnp.arange(count)) % 3 == 0, LARGE, -1.0)


def _at_random(key: Any, start: Any, count: int) -> Any:
    drawn = jax.random.bernoulli(jax.random.fold_in(key, start), 0.01, (count,))
    return jnp.where(drawn, 1010.0, -10.0)


def _path(
    make: Callable[..., Any], grads: Callable[..., Any], numbers: dict[str, float], steps: int
) -> Callable[..., Any]:
    """A descent that returns the mean point of each hundredth of its steps, f[points]."""
    rate = inverse_sqrt_decay(numbers["alpha"])
    optimizer = chain(
        make(rate, numbers["b1"], numbers["b2"]), projected(lambda x: jnp.clip(x, -1.0, 1.0))
    )
    count = steps // POINTS

    def step(carry: Any, grad: Any) -> Any:
        x, state = carry
        updates, state = optimizer.update(grad, state, x)
        new = apply_updates(x, updates)
        return (new, state), new

    def stretch(carry: Any, key_and_start: Any) -> Any:
        carry, points = jax.lax.scan(step, carry, grads(*key_and_start, count))
        return carry, points.mean()

    def descend(key: Any, nothing: Any, rows: Any) -> Any:
        key_start, key_draws = jax.random.split(key)
        x = jax.random.uniform(key_start, minval=-1.0, maxval=1.0)
        keys = jnp.broadcast_to(key_draws, (POINTS,))
        starts = count * jnp.arange(POINTS)
        return jax.lax.scan(stretch, (x, optimizer.init(x)), (keys, starts))[1]

    return descend


ADAM_CONVERGENCE = Claim("adam_convergence", "Adam may not converge.", "K", _measure)
