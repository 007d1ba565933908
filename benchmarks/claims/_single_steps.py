"""Claim 23: on what the stability of steps of one example depends.

A perceptron on digits at several stages of a training. With the gradients g_i of the examples and
their mean g,

    spread          r = mean_i |g_i - g|^2 / |g|^2
    critical rate   eta_1, up to which a step -eta g_i lowers the loss on average over i,
                    and eta_n, up to which the step -eta g of the full batch lowers it

For a loss of curvature h in all directions eta_n = 2 / h and eta_1 = eta_n / (1 + r). Measured are
the slope of log(eta_n / eta_1) over log(1 + r) along the training, which is then 1, and by how much
more often steps of one example raise the loss at the critical rate than at a tenth of it.

Reference: Bottou, Curtis & Nocedal, "Optimization Methods for Large-Scale Machine Learning", SIAM
Review 2018, section 4 (the bound on the second moment of the gradients).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task, losses_of
from jaxopt_course.training import init_state, make_step

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect
from ._experiment import by_seed, drawn_rows, scaled_data
from ._pictures import Curves


ROWS, STEPPED, RATE = 256, 64, 0.03  # the critical rate of one example is averaged over 64 of them
STAGES, QUICK_STAGES = (0, 30, 100, 300, 1000, 3000), (0, 100)
GRID = np.geomspace(1e-4, 1e3, 43)
SLOPE = Claimed(0.5, 1.5, "equal curvatures give the slope 1; half of it counts as the dependence")
OFTENER = Claimed(0.1, np.inf, "less than a tenth of the steps counts as no difference")


class Stability(NamedTuple):
    """What steps from one point do.

    spread: r.
    one: the critical rate of steps of one example.
    full: that of steps of the full batch.
    raised: the share of steps of one example that raise the loss at ``one``.
    raised_low: that share at a tenth of it.
    """

    spread: Any
    one: Any
    full: Any
    raised: Any
    raised_low: Any


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    stages = QUICK_STAGES if quick else STAGES
    found = Stability(*by_seed(_along_training(stages), key, seeds))
    x, y = np.log1p(found.spread), np.log(found.full / found.one)
    centred = x - x.mean(1, keepdims=True)
    slopes = (centred * y).sum(1) / (centred**2).sum(1)
    effects = (
        mean_effect(
            "Slope of log(critical rate of the full batch / critical rate of one example) against "
            "log(1 + spread).",
            slopes,
            SLOPE,
        ),
        mean_effect(
            "Share of steps of one example that raise the loss: at the critical rate, minus at a "
            "tenth of it.",
            (found.raised - found.raised_low).mean(1),
            OFTENER,
        ),
    )
    spreads = np.median(found.spread, 0)
    return Evidence(
        effects,
        f"{ROWS} digits, a perceptron with a hidden layer of 24, after {stages[0]} to {stages[-1]} "
        f"steps of one example at the rate {RATE:g}; the spread grows from {spreads[0]:.2g} to "
        f"{spreads[-1]:.2g}, because the mean gradient falls faster than its scatter.",
        Curves(
            np.array(stages, float) + 1,
            {
                "full batch": found.full,
                "one example": found.one,
                "full batch / (1 + spread)": found.full / (1 + found.spread),
            },
            "step + 1",
            "highest rate that lowers the loss",
            log_x=True,
            log_y=True,
        ),
    )


def _along_training(stages: tuple[int, ...]) -> Callable[..., Stability]:
    """A training that returns the stability at each of these steps, f[stages]."""
    inputs, targets = map(jnp.asarray, scaled_data("digits"))
    task = linen_task(MLP(10, (24,), activation="tanh"), inputs[:1], problem("multiclass"))
    optimizer = sgd(RATE)
    take = make_step(task, optimizer)

    def train(key: Any, numbers: Any, rows: Any) -> Stability:
        key_rows, key_init, key_order = jax.random.split(key, 3)
        drawn = drawn_rows(key_rows, len(inputs), ROWS, 0).train
        x, y = inputs[drawn], targets[drawn]
        state = init_state(task, optimizer, key_init)
        model_state = state.model_state
        unravel = ravel_pytree(state.params)[1]

        def losses(flat: Any) -> Any:
            batch = Batch(x, y)
            own = losses_of(task, unravel(flat), model_state, batch, key=None, train=False)
            return own[0]

        def step(state: Any, i: Any) -> Any:
            return take(state, Batch(x[i][None], y[i][None]))[0], None

        order = jax.random.randint(key_order, (stages[-1],), 0, ROWS)
        found, done = [], 0
        for stage in stages:
            state, _ = jax.lax.scan(step, state, order[done:stage])
            found.append(_stability(losses, ravel_pytree(state.params)[0], STEPPED))
            done = stage
        return jax.tree.map(lambda *x: jnp.stack(x), *found)

    return train


def _stability(losses: Callable[[Any], Any], point: Any, stepped: int) -> Stability:
    """At ``point``, of ``losses(point)`` f[examples]; the first ``stepped`` of them take steps."""
    grads = jax.jacrev(losses)(point)
    mean = grads.mean(0)
    spread = jnp.mean(jnp.sum((grads - mean[None]) ** 2, 1)) / jnp.sum(mean**2)
    loss = lambda point: jnp.mean(losses(point))
    now = loss(point)
    after = lambda rate, grads: jax.vmap(lambda g: loss(point - rate * g))(grads) - now
    rates = jnp.asarray(GRID, point.dtype)
    own = grads[:stepped]
    critical = lambda grads: _crossing(
        rates, jax.lax.map(lambda rate: jnp.mean(after(rate, grads)), rates)
    )
    one, full = critical(own), critical(mean[None])
    raised, raised_low = (jnp.mean(after(rate, own) > 0) for rate in (one, one / 10))
    return Stability(spread, one, full, raised, raised_low)


def _crossing(rates: Any, changes: Any) -> Any:
    """The rate at which ``changes`` of the loss, f[rates], first are not below 0.

    Between two rates change / rate is taken as linear, which is exact for a quadratic loss.
    """
    at = jnp.clip(jnp.argmax(~(changes < 0)), 1)
    low, high = changes[at - 1] / rates[at - 1], changes[at] / rates[at]
    part = jnp.where(jnp.isfinite(high), -low / (high - low), 0.5)
    return rates[at - 1] + part * (rates[at] - rates[at - 1])


SINGLE_STEPS = Claim(
    "single_steps",
    "How stable steps of one example are depends on the rate and on how widely the gradients of "
    "the examples spread around their mean.",
    "T",
    _measure,
)
