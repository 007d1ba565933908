"""Claim 6: gradient descent on features as they come, and scaled to mean 0 and deviation 1.

Wines of three growers by 13 measurements, whose sizes differ 10,000-fold, by a linear softmax from
zero weights. Counted are full-batch steps to a training loss, each at the rate that is best for
the other seeds. A seed draws the rows. A descent that does not arrive counts with all of its steps,
and the ratio as a bound.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import wine
from jaxopt_course.losses import softmax_cross_entropy_with_integer_labels
from jaxopt_course.minimization import (
    minimize,
)
from jaxopt_course.optimizers import sgd

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import ratio_effect
from ._experiment import Cost, by_seed, combinations, drawn_rows, first_at_most
from ._pictures import Curves
from ._selection import pick_by_others, picked


TRAIN, TARGET = 120, 0.1  # the loss before the first step is log 3 = 1.10
STEPS, QUICK_STEPS = 3000, 1000
RATES = np.geomspace(1e-7, 10.0, 9)
MUCH = Claimed(10.0, np.inf, "much faster means at least ten times as fast")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps, rates = (QUICK_STEPS, RATES[1::2]) if quick else (STEPS, RATES)
    data = wine()
    inputs, targets = jnp.asarray(data.inputs), jnp.asarray(data.targets)

    def losses(key: Any, numbers: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(inputs), TRAIN, 0).train
        x, y = inputs[drawn], targets[drawn]
        x = jnp.where(numbers["scaled"] > 0, (x - x.mean(0)) / x.std(0), x)

        def loss(params: Any) -> Any:
            logits = x @ params["kernel"] + params["bias"]
            return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, y))

        zeros = {"kernel": jnp.zeros((13, 3)), "bias": jnp.zeros(3)}
        limits: dict[str, Any] = {"max_steps": steps, "gtol": 0.0, "ftol": 0.0, "patience": steps}
        found = minimize(loss, zeros, sgd(numbers["rate"]), history_size=steps + 1, **limits)
        return found.history

    found = by_seed(losses, key, seeds, combinations(scaled=(0, 1), rate=rates), strategy="vmap")
    cost = first_at_most(found, TARGET, np.arange(steps + 1))
    taken, capped = (x.reshape(2, len(rates), seeds) for x in cost)
    picks = [pick_by_others(each) for each in taken]
    raw, scaled = (Cost(*map(picked, (taken[i], capped[i]), (picks[i],) * 2)) for i in range(2))
    effect = ratio_effect(
        "Steps on raw features, divided by the steps on scaled features.",
        raw.values,
        scaled.values,
        MUCH,
        above_capped=raw.capped,
        below_capped=scaled.capped,
    )
    return Evidence(
        (effect,),
        f"A linear softmax on wines, full batches, to a training loss of {TARGET}, in at most "
        f"{steps} steps.",
        Curves(
            rates,
            {name: each.T for name, each in zip(("raw", "scaled"), taken, strict=True)},
            "learning rate",
            "steps to the target",
            log_x=True,
            log_y=True,
        ),
    )


SCALING = Claim(
    "scaling",
    "Feature scaling makes gradient descent converge much faster.",
    "A",
    _measure,
)
