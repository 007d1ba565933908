"""Claim 21: what optimizers learn of features that are rarely there.

A logistic regression, one example a step. Feature j is 1 with a probability that falls from a half
to a two-hundredth, else 0; the true weights are normal with deviation 2. Each optimizer has the
rate with which the other seeds predict best over all; judged is the excess of its log loss over
that of the true weights on fresh examples which have a feature of the rarest third.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.losses import sigmoid_binary_cross_entropy
from jaxopt_course.optimizers import adagrad, adam, rmsprop, sgd
from jaxopt_course.transforms import apply_updates

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed
from ._pictures import Groups
from ._selection import pick_by_others, picked


FEATURES, STEPS, TEST, DEVIATION = 50, 2000, 4000, 2.0
PROBABILITIES = np.geomspace(0.5, 0.005, FEATURES).astype(np.float32)
RARE = FEATURES // 3
OPTIMIZERS = {
    "one rate for all": (sgd, np.geomspace(0.01, 3.0, 9)),
    "Adagrad": (lambda rate: adagrad(rate, 0.0, 1e-8), np.geomspace(0.03, 10.0, 9)),
    "RMSProp": (rmsprop, np.geomspace(0.001, 0.3, 9)),
    "Adam": (adam, np.geomspace(0.001, 0.3, 9)),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    ends = {}
    for name, (make, rates) in OPTIMIZERS.items():
        chosen = (rates[::2] if quick else rates).astype(np.float32)
        everywhere, rare = by_seed(_excesses(make), key, seeds, chosen, strategy="vmap")
        ends[name] = picked(rare, pick_by_others(everywhere))
    plain, *others = OPTIMIZERS
    effects = tuple(
        ratio_effect(
            f"Excess loss on rare features with one rate for all, divided by that with {name}.",
            ends[plain],
            ends[name],
            LARGER_LOSS,
        )
        for name in others
    )
    shown = {name: losses[0] for name, losses in ends.items()}
    return Evidence(
        effects,
        f"A logistic regression on {FEATURES} features that are 0 or 1, {STEPS} steps of one "
        f"example at constant rates; the rarest feature is seen {STEPS * 0.005:g} times.",
        Groups(shown, "excess log loss where a rare feature is there", log_y=True),
    )


def _excesses(make: Any) -> Any:
    """A training that returns the excess of its log loss: over all, and on rare features."""

    def train(key: Any, rate: Any, rows: Any) -> Any:
        key_truth, key_train, key_test = jax.random.split(key, 3)
        truth = DEVIATION * jax.random.normal(key_truth, (FEATURES,))

        def examples(key: Any, n: int) -> Any:
            key_x, key_y = jax.random.split(key)
            x = (jax.random.uniform(key_x, (n, FEATURES)) < PROBABILITIES).astype(truth.dtype)
            return x, jax.random.bernoulli(key_y, jax.nn.sigmoid(x @ truth)).astype(x.dtype)

        optimizer = make(rate)

        def step(carry: Any, example: Any) -> Any:
            w, state = carry
            loss = lambda w: sigmoid_binary_cross_entropy(example[0] @ w, example[1])
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
            return (apply_updates(w, updates), state), None

        start = jnp.zeros(FEATURES)
        (w, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), examples(key_train, STEPS))
        x, _ = examples(key_test, TEST)
        best = jax.nn.sigmoid(x @ truth)  # instead of labels: their mean
        cross = lambda w: sigmoid_binary_cross_entropy(x @ w, best)
        excess = cross(w) - cross(truth)
        rare = x[:, -RARE:].any(1).astype(x.dtype)
        return jnp.mean(excess), jnp.sum(excess * rare) / jnp.sum(rare)

    return train


RARE_FEATURES = Claim(
    "rare_features",
    "Adaptive rules handle rare features better than one rate for all.",
    "N K",
    _measure,
)
