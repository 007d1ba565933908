"""Claim 29: the memory of a step by the size of its batch.

Bytes that the compiled training step needs at once, by XLA's analysis: the parameters, the batch,
and the activations and gradients in between. Exact, the same for each seed. The data set itself
counts only as far as it is in the batch.
"""

from typing import Any

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state, make_step

from ._claim import Claim, Evidence
from ._claimed import LARGER_COST
from ._effects import exact_effect
from ._experiment import bytes_at_once, scaled_data
from ._pictures import Curves


SIZES = (1, 8, 32, 128, 512)
MODELS = {"hidden layers of 32": (32, 32), "hidden layers of 256": (256, 256)}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    inputs, targets = scaled_data("digits")
    sizes = (*SIZES, len(inputs))
    found = {}
    for name, widths in MODELS.items():
        task = linen_task(MLP(10, widths), inputs[:1], problem("multiclass"))
        optimizer = sgd(0.1)
        state = init_state(task, optimizer, key)
        step = make_step(task, optimizer)
        found[name] = np.array(
            [bytes_at_once(step, state, Batch(inputs[:n], targets[:n])) for n in sizes]
        )
    large = found["hidden layers of 256"]
    effects = tuple(
        exact_effect(
            f"Bytes of a step of all {sizes[-1]} examples, divided by those of {sizes[at]}.",
            large[-1] / large[at],
            LARGER_COST,
        )
        for at in (0, 2)
    )
    return Evidence(
        effects,
        f"Digits, two hidden layers of 256, on {jax.devices()[0].device_kind}: a "
        f"step of one example needs {large[0] / 2**20:.3g} MiB and one of all "
        f"{large[-1] / 2**20:.3g} MiB; exact and independent of the seed.",
        Curves(
            np.array(sizes, float),
            {name: own[None] / 2**20 for name, own in found.items()},
            "batch size",
            "peak MiB",
            log_x=True,
            log_y=True,
        ),
    )


BATCH_MEMORY = Claim(
    "batch_memory", "SGD needs less memory than batch gradient descent.", "K", _measure
)
