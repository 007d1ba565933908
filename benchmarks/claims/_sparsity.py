"""Claim 10: what L1 and L2 leave of the weights of a linear regression with few true ones.

Five of fifty features matter. L2 and the subgradient of L1 are added to the gradient, the soft
threshold follows the step. All make the same number of full-batch steps. Measured are the shares
of weights that are exactly zero, and of those that are small: below a hundredth.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.minimization import (
    trajectory,
)
from jaxopt_course.optimizers import ista, sgd
from jaxopt_course.regularizers import prox_l1
from jaxopt_course.transforms import add_decayed_weights, add_l1, chain

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect
from ._experiment import by_seed
from ._pictures import Groups


ROWS, FEATURES, TRUE, NOISE = 100, 50, 5, 0.5
RATE, STRENGTH, STEPS, SMALL = 0.05, 0.2, 1000, 0.01
MOST = Claimed(
    0.5,
    np.inf,
    "more than half of the weights counts as sparse; nine tenths of the true ones are zero",
)
FEW = Claimed(-np.inf, 0.1, "less than a tenth of the weights counts as few")
MORE = Claimed(0.1, np.inf, "less than a tenth of the weights counts as few")
OPTIMIZERS = {
    "L1, soft threshold": lambda: ista(functools.partial(prox_l1, strength=STRENGTH), RATE),
    "L1, subgradient": lambda: chain(add_l1(STRENGTH), sgd(RATE)),
    "L2": lambda: chain(add_decayed_weights(STRENGTH), sgd(RATE)),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    def weights(key: Any, numbers: Any, rows: Any) -> Any:
        key_x, key_noise = jax.random.split(key)
        x = jax.random.normal(key_x, (ROWS, FEATURES))
        truth = (jnp.arange(FEATURES) < TRUE).astype(x.dtype)
        y = x @ truth + NOISE * jax.random.normal(key_noise, (ROWS,))
        loss = lambda w: jnp.mean(jnp.square(x @ w - y)) / 2
        zeros = jnp.full(FEATURES, 0.1)  # a start at zero would be kept by sgn(0) = 0
        return {
            name: trajectory(loss, zeros, make(), STEPS)[-1] for name, make in OPTIMIZERS.items()
        }

    found = by_seed(weights, key, seeds, strategy="vmap")
    zero = {name: (w == 0).mean(1) for name, w in found.items()}
    small = {name: (np.abs(w) < SMALL).mean(1) for name, w in found.items()}
    names = tuple(OPTIMIZERS)
    effects = (
        *(
            mean_effect(f"{name}: share of weights that are exactly zero.", zero[name], claimed)
            for name, claimed in zip(names, (MOST, FEW, FEW), strict=True)
        ),
        mean_effect(
            f"Share of weights below {SMALL}: L1 with the subgradient, minus L2.",
            small[names[1]] - small[names[2]],
            MORE,
        ),
    )
    shown = {
        f"{name}: {what}": of[name]
        for what, of in (("zero", zero), ("small", small))
        for name in names
    }
    return Evidence(
        effects,
        f"A linear regression on {FEATURES} features, {TRUE} of which matter, with {ROWS} examples "
        f"and a strength of {STRENGTH}; with the "
        "subgradient, weights jitter by the rate times this strength.",
        Groups(shown, "share of the weights"),
    )


SPARSITY = Claim(
    "sparsity",
    "L1 makes weights sparse, L2 only small; soft thresholding gives exact zeros, the subgradient "
    "does not.",
    "T K R",
    _measure,
)
