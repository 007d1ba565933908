"""Claim 1: momentum in ravines, from random starts, against plain descent with the same rate.

A ravine is (x^2 + k y^2) / 2; a seed draws k, and the start. Two numbers of a path:

    zig-zag   the way along the steep y over the distance to the minimum; 1 for a straight descent
    steps     until |x| stays below a hundredth of where it began

Both at the rate 2 / (1 + k), the best there is for plain descent, at which it is fastest and zigs
and zags; the zig-zag at nine tenths of it too. The picture has other rates.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.minimization import (
    trajectory,
)
from jaxopt_course.optimizers import sgd
from jaxopt_course.surfaces import ravine

from ._claim import Claim, Evidence
from ._claimed import LARGER_COST
from ._effects import ratio_effect
from ._experiment import by_seed, combinations
from ._pictures import Curves


LOW, HIGH = 30.0, 300.0  # of k, spread evenly in the logarithm
MOMENTA = (0.0, 0.9)
STEPS, NEAR = 800, 0.01
SHARES = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 0.9, 1.0])  # of the best rate


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    def train(key: Any, numbers: Any, rows: Any) -> Any:
        key_k, key_start = jax.random.split(key)
        k = jnp.exp(jax.random.uniform(key_k, (), float, np.log(LOW), np.log(HIGH)))
        start = jax.random.normal(key_start, (2,)) * jnp.array([10.0, 1.0])
        optimizer = sgd(numbers["share"] * 2 / (1 + k), numbers["momentum"])
        path = trajectory(lambda point: ravine(point, k), start, optimizer, STEPS)
        far = jnp.abs(path[:, 0]) > NEAR * jnp.abs(start[0])
        last = jnp.max(jnp.where(far, jnp.arange(STEPS + 1), 0))
        return jnp.sum(jnp.abs(jnp.diff(path[:, 1]))) / jnp.abs(start[1]), last + 1

    found = by_seed(
        train, key, seeds, combinations(momentum=MOMENTA, share=SHARES), strategy="vmap"
    )
    zigzag, steps = (x.reshape(len(MOMENTA), len(SHARES), seeds) for x in found)
    effects = (
        ratio_effect(
            "Zig-zag of plain descent at its best rate, divided by that of momentum.",
            zigzag[0, -1],
            zigzag[1, -1],
            LARGER_COST,
        ),
        ratio_effect(
            f"The same ratio at {SHARES[-2]:g} of that rate.",
            zigzag[0, -2],
            zigzag[1, -2],
            LARGER_COST,
        ),
        ratio_effect(
            "Steps in the low-curvature direction: plain descent divided by momentum.",
            steps[0, -1],
            steps[1, -1],
            LARGER_COST,
        ),
    )
    low, high = zigzag[:, 1].mean(-1)
    return Evidence(
        effects,
        f"Ravines of conditions {LOW:g} to {HIGH:g} and the momentum 0.9, at the rate that is best "
        "for plain descent, close to where it diverges; at a tenth of that rate plain descent does "
        f"not zig-zag ({low:.1f}), and momentum does ({high:.1f}).",
        Curves(
            SHARES,
            {
                name: values.T
                for name, values in zip(("plain", "momentum 0.9"), zigzag, strict=True)
            },
            "learning rate / best rate of plain descent",
            "zig-zag: path along y / distance",
            log_x=True,
            log_y=True,
        ),
    )


MOMENTUM = Claim(
    "momentum",
    "Momentum damps the zig-zag in a ravine and speeds up the low-curvature direction.",
    "T A",
    _measure,
)
