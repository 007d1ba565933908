"""Claim 16: trainings that diverge, with their gradients clipped, in plain and in half precision.

A deep regression at a rate that is too high for it: its gradients explode now and then. Rescued is
a training that comes to an end with a loss below that of the best constant, which is 1, where the
same training without clipping did not. Half precision computes the model in float16 with a scaled
loss. Clipping is by the global norm.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task, mixed_precision
from jaxopt_course.training import OutcomeCode, make_train
from jaxopt_course.transforms import chain, clip_by_global_norm, dynamic_loss_scale

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import Effect, share_effect
from ._experiment import by_seed, drawn_rows, scaled_data
from ._pictures import Curves


STEPS, POINTS, BATCH, TRAIN, VALIDATION = 400, 20, 32, 320, 122
RATE, NORMS = 0.3, (1.0, np.inf)
MOST = Claimed(0.5, np.inf, "most means more than half of the trainings")
DTYPES = {"float32": None, "float16": jnp.float16}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    effects: list[Effect] = []
    lines: dict[str, np.ndarray] = {}
    for name, dtype in DTYPES.items():
        failed, losses = by_seed(_train(dtype), key, seeds, np.array(NORMS, np.float32))
        good = ~failed & (losses[..., -1] < 1)
        effects.append(
            share_effect(
                f"{name}: share of trainings that converge only with clipping.",
                good[0] & ~good[1],
                MOST,
            )
        )
        lines |= {f"{name}, clipped": losses[0], f"{name}, not clipped": losses[1]}
    return Evidence(
        tuple(effects),
        f"Diabetes, six hidden layers of 64 ReLUs, rate {RATE}, norms clipped to {NORMS[0]:g}; "
        "where a rate is low enough for all trainings there is nothing to rescue.",
        Curves(
            STEPS / POINTS * np.arange(1.0, POINTS + 1),
            {name: np.minimum(np.where(np.isfinite(x), x, 1e3), 1e3) for name, x in lines.items()},
            "step",
            "training loss (1000: above, or not finite)",
            log_y=True,
        ),
    )


def _train(dtype: Any) -> Any:
    """A training that returns whether it diverged, and its losses."""
    data = scaled_data("diabetes")
    task = linen_task(
        MLP(1, (64,) * 6, kernel_init="he_normal"), data[0][:1], problem("regression")
    )

    def build(norm: Any) -> Any:
        optimizer = chain(clip_by_global_norm(norm), sgd(RATE))
        if dtype is None:
            return task, optimizer
        return mixed_precision(task, dtype), dynamic_loss_scale(optimizer)

    train = make_train(build, data, steps=STEPS, batch_size=BATCH, evaluate_every=STEPS // POINTS)

    def run(key: Any, norm: Any, rows: Any) -> Any:
        found = train(key, norm, drawn_rows(key, len(data[0]), TRAIN, VALIDATION))
        return found.outcome.code == int(OutcomeCode.DIVERGED), found.history["loss"]

    return run


CLIPPING = Claim(
    "clipping",
    "Clipping rescues trainings that diverge without it, in plain and in half precision.",
    "R",
    _measure,
)
