"""Claim 30: how the distributions inside a network move in training, with batch normalization.

Three hidden layers of tanh on digits, at the rate with the lowest training loss for the other
seeds. What goes into an activation is z; over fixed rows unit j has the mean m_j and the deviation
s_j of z_j, with batch normalization by the statistics of these rows, as in training.

    shift     sum over the training of the mean over units of
              sqrt(((m_j' - m_j) / s_j)^2 + log(s_j' / s_j)^2), from one evaluation to the next
    gradient  mean over the training, and over all layers but the first, of |G - G'| / |G|: the
              gradient of a layer before the layers below it take a step, and after

The first is the sense of Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training
by Reducing Internal Covariate Shift", ICML 2015, https://arxiv.org/abs/1502.03167, the second that
of Santurkar et al., "How Does Batch Normalization Help Optimization?", NeurIPS 2018, section 2.2,
https://arxiv.org/abs/1805.11604, relative to |G|.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import global_norm, tree
from jaxopt_course.nn import MLP, BatchNorm
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task, losses_of
from jaxopt_course.training import init_state, make_step

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import ratio_effect
from ._experiment import by_seed, scaled_data
from ._pictures import Curves
from ._selection import pick_by_others, picked


LAYERS, WIDTH, BATCH, PROBES = 3, 32, 64, 256
STEPS, QUICK_STEPS, EVERY = 400, 100, 10
RATES = 10 ** np.arange(-1.5, 0.75, 0.5)
LESS_SHIFT = Claimed(1.2, np.inf, "a shift that differs by less than a fifth counts as the same")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps, rates = (QUICK_STEPS, RATES[1::2]) if quick else (STEPS, RATES)
    shifts, moved, lines = {}, {}, {}
    for name, norm in (("plain", None), ("normalized", "batch")):
        train = _training(norm, steps)
        losses, shift, gradient = by_seed(train, key, seeds, rates.astype(np.float32))
        best = pick_by_others(losses)
        shifts[name] = picked(shift.sum(-1), best)
        moved[name] = picked(gradient.mean(-1), best)
        lines[name] = picked(np.cumsum(shift, -1), best[0])
    effects = tuple(
        ratio_effect(what, found["plain"], found["normalized"], LESS_SHIFT)
        for what, found in (
            (
                "Shift of means and deviations without batch normalization, divided by that with.",
                shifts,
            ),
            ("The same ratio for the shift of the gradients.", moved),
        )
    )
    return Evidence(
        effects,
        f"Digits, {LAYERS} hidden layers of {WIDTH} with tanh, {steps} steps of {BATCH} examples "
        f"by plain gradient descent. The shift of gradients is "
        f"{moved['plain'][0].mean():.2g} of a gradient without and "
        f"{moved['normalized'][0].mean():.2g} with batch normalization.",
        Curves(
            EVERY * np.arange(1.0, steps // EVERY + 1),
            lines,
            "step",
            "shift of means and deviations so far",
            log_y=True,
        ),
    )


def _training(norm: str | None, steps: int) -> Callable[..., Any]:
    """Returns the final training loss, and both shifts at each evaluation."""
    inputs, targets = map(jnp.asarray, scaled_data("digits"))
    model = MLP(10, (WIDTH,) * LAYERS, activation="tanh", normalization=norm)
    task = linen_task(model, inputs[:1], problem("multiclass"))
    probes = inputs[:PROBES]

    def train(key: Any, rate: Any, rows: Any) -> Any:
        optimizer = sgd(rate)
        take = make_step(task, optimizer)
        key_init, key_rows = jax.random.split(key)
        state = init_state(task, optimizer, key_init)

        def step(state: Any, key: Any) -> Any:
            drawn = jax.random.randint(key, (BATCH,), 0, len(inputs))
            new, metrics = take(state, Batch(inputs[drawn], targets[drawn]))
            return new, metrics["loss"]

        def stretch(state: Any, key: Any) -> Any:
            before = _inside(model, state, probes)
            drawn = jax.random.randint(key, (BATCH,), 0, len(inputs))
            batch = Batch(inputs[drawn], targets[drawn])
            stepped, _ = take(state, batch)
            gradient = _gradient_shift(task, state, stepped.params, batch)
            new, losses = jax.lax.scan(step, state, jax.random.split(key, EVERY))
            return new, (losses.mean(), _shift(before, _inside(model, new, probes)), gradient)

        keys = jax.random.split(key_rows, steps // EVERY)
        losses, shift, gradient = jax.lax.scan(stretch, state, keys)[1]
        return losses[-2:].mean(), shift, gradient

    return train


def _inside(model: nn.Module, state: Any, probes: Any) -> tuple[Any, Any]:
    """Means and deviations of what goes into the activations, f[layers, units] each."""
    kind = BatchNorm if model.normalization else nn.Dense
    _, caught = model.apply(
        {"params": state.params, **state.model_state},
        probes,
        train=True,
        mutable=["batch_stats", "intermediates"],
        capture_intermediates=lambda module, method: isinstance(module, kind),
    )
    of = caught["intermediates"]
    z = jnp.stack([of[f"{kind.__name__}_{i}"]["__call__"][0] for i in range(len(model.hidden))])
    return z.mean(1), z.std(1)


def _shift(before: tuple[Any, Any], after: tuple[Any, Any]) -> Any:
    """From means and deviations to others, averaged over units."""
    (m, s), (new_m, new_s) = before, after
    return jnp.mean(jnp.sqrt(((new_m - m) / s) ** 2 + jnp.log(new_s / s) ** 2))


def _gradient_shift(task: Any, state: Any, stepped: Any, batch: Batch) -> Any:
    """|G - G'| / |G| of each layer but the first, averaged."""

    def grads(params: Any) -> Any:
        mean = lambda params: jnp.mean(
            losses_of(task, params, state.model_state, batch, key=state.key, train=True)[0]
        )
        return jax.grad(mean)(params)

    old = grads(state.params)
    layer = lambda name: int(name.rsplit("_", 1)[1])
    found = []
    for i in range(1, LAYERS + 1):
        lower = {n: (stepped if layer(n) < i else state.params)[n] for n in state.params}
        own = [n for n in state.params if layer(n) == i]
        new = grads(lower)
        of = lambda grads, own=own: {n: grads[n] for n in own}
        found.append(global_norm(tree.sub(of(new), of(old))) / global_norm(of(old)))
    return jnp.mean(jnp.stack(found))


COVARIATE_SHIFT = Claim(
    "covariate_shift", "Batch normalization reduces internal covariate shift.", "A K", _measure
)
