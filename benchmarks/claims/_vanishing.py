"""Claim 9: the gradient of the bottom layer over that of the top one, before any training.

Eight hidden layers on digits: sigmoids alone, ReLUs instead, and sigmoids with batch normalization
or with residual sums. Of a layer's weights the root of the mean square gradient counts. Two orders
of magnitude below the top are lost, less than one is cured.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.nn import MLP, ResidualMLP
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task, losses_of

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect
from ._experiment import by_seed, drawn_rows, scaled_data
from ._pictures import Groups


LAYERS, WIDTH, ROWS = 8, 32, 128
LOST = Claimed(-np.inf, -2.0, "two orders of magnitude below the top layer count as lost")
CURED = Claimed(-1.0, np.inf, "less than one order of magnitude below the top layer is cured")
MODELS = {
    "sigmoid": MLP(10, (WIDTH,) * LAYERS, activation="sigmoid"),
    "ReLU": MLP(10, (WIDTH,) * LAYERS),
    "sigmoid, batch normalization": MLP(
        10, (WIDTH,) * LAYERS, activation="sigmoid", normalization="batch"
    ),
    "sigmoid, residual sums": ResidualMLP(10, WIDTH, LAYERS // 2, activation="sigmoid"),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    inputs, targets = map(jnp.asarray, scaled_data("digits"))

    def ratios(key: Any, numbers: Any, rows: Any) -> Any:
        batch = drawn_rows(key, len(inputs), ROWS, 0).train
        some = Batch(inputs[batch], targets[batch])
        return {name: _bottom_over_top(model, key, some) for name, model in MODELS.items()}

    found = {name: np.log10(ratio) for name, ratio in by_seed(ratios, key, seeds).items()}
    effects = tuple(
        mean_effect(
            f"{name}: log10 of the gradient in the bottom layer divided by that in the top layer.",
            found[name],
            LOST if name == "sigmoid" else CURED,
        )
        for name in MODELS
    )
    return Evidence(
        effects,
        f"Digits, {LAYERS} hidden layers of {WIDTH}, Xavier weights, {ROWS} examples, before the "
        "first step.",
        Groups(found, "log10(bottom gradient / top gradient)"),
    )


def _bottom_over_top(model: Any, key: Any, batch: Batch) -> Any:
    task = linen_task(model, batch.inputs[:1], problem("multiclass"))
    params, state = task.init(key)
    mean = lambda params: jnp.mean(losses_of(task, params, state, batch, key=key, train=True)[0])
    grads = jax.grad(mean)(params)
    names = sorted((n for n in grads if n.startswith("Dense_")), key=lambda n: int(n[6:]))
    size = lambda name: jnp.sqrt(jnp.mean(jnp.square(grads[name]["kernel"])))
    return size(names[0]) / size(names[-1])


VANISHING = Claim(
    "vanishing",
    "Sigmoid stacks lose their gradient in the bottom layers; ReLU, batch normalization and "
    "residual sums cure it.",
    "K R",
    _measure,
)
