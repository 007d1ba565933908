"""Claim 11: four regularizers where data are scarce, alone and together.

A perceptron on a hundred digits, trained long. A number is the loss on rows that nothing was
chosen by, with the regularizer over that without any. Early stopping keeps the parameters of the
evaluation with the lowest loss on rows of its own. Of the others that strength counts which is best
for the other seeds. Augmentation turns and shifts images, which on 8 x 8 pixels blurs them, or adds
noise.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import compose, digit_images, gaussian_noise, random_affine
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.regularizers import weights_only
from jaxopt_course.tasks import augmented, linen_task
from jaxopt_course.training import make_train
from jaxopt_course.transforms import add_decayed_weights, chain

from ._claim import Claim, Evidence
from ._claimed import BETTER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed, drawn_rows, mean_loss, scaled_data
from ._pictures import Groups
from ._selection import pick_by_others, picked


TRAIN, CHOOSE, TEST, BATCH = 100, 100, 1000, 25
STEPS, QUICK_STEPS = 1200, 200
STRENGTHS = {  # dropout rate; L2; rotation in degrees, a fifteenth of it the shift in pixels; noise
    "none": [(0.0, 0.0, 0.0, 0.0)],
    "dropout": [(0.2, 0.0, 0.0, 0.0), (0.5, 0.0, 0.0, 0.0)],
    "L2": [(0.0, 0.003, 0.0, 0.0), (0.0, 0.01, 0.0, 0.0)],
    "augmentation": [(0.0, 0.0, 4.0, 0.0), (0.0, 0.0, 12.0, 0.0), (0.0, 0.0, 0.0, 0.2)],
    "all": [(0.2, 0.003, 4.0, 0.0), (0.2, 0.003, 0.0, 0.2), (0.2, 0.003, 4.0, 0.2)],
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    inputs, targets = scaled_data("digits")
    data = (digit_images(inputs), targets)

    def build(strength: Any) -> Any:
        rate, decay, rotation, noise = strength
        model = MLP(10, (64, 64), dropout=rate)
        task = linen_task(model, data[0][:1], problem("multiclass"))
        turn = random_affine(rotation=rotation, shift=rotation / 15)
        penalty = add_decayed_weights(decay, weights_only)
        return augmented(task, compose(turn, gaussian_noise(noise))), chain(penalty, adam(2e-3))

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps // 40)

    def losses(key: Any, strength: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(inputs), TRAIN, CHOOSE + TEST)
        others = jnp.asarray(drawn.validation)
        choose, test = others[:CHOOSE], others[CHOOSE:]
        run = train(key, strength, drawn._replace(validation=choose))
        task, _ = build(strength)
        last = mean_loss(task, run.state.params, run.state.model_state, data, test)
        best = mean_loss(task, run.best_params, run.best_model_state, data, test)
        return jnp.stack([last, best])

    strengths = np.array([s for some in STRENGTHS.values() for s in some], np.float32)
    last, best = np.moveaxis(by_seed(losses, key, seeds, strengths), -1, 0)
    tried, first = {}, 0
    for name, some in STRENGTHS.items():  # all includes early stopping
        tried[name] = (best if name == "all" else last)[first : first + len(some)]
        first += len(some)
        if name == "none":
            tried["early stopping"] = best[:1]
    chosen = {name: picked(own, pick_by_others(own)) for name, own in tried.items()}
    alone = [name for name in tried if name not in ("none", "all")]
    effects = [
        ratio_effect(
            f"Loss with {name}, divided by the loss without any.",
            chosen[name],
            chosen["none"],
            BETTER_LOSS,
        )
        for name in ("all", *alone)
    ]
    single = np.concatenate([tried[name] for name in alone])
    together = ratio_effect(
        "Loss with all, divided by the loss with the best one alone.",
        chosen["all"],
        picked(single, pick_by_others(single)),
        BETTER_LOSS,
    )
    shown = {name: own[0] for name, own in chosen.items()}
    return Evidence(
        (*effects, together),
        f"{TRAIN} digits, a perceptron with two hidden layers of 64, {steps} steps of Adam, tested "
        f"on {TEST} others; early stopping chooses by {CHOOSE} more.",
        Groups(shown, "test loss", log_y=True),
    )


SCARCE_DATA = Claim(
    "scarce_data",
    "Dropout, L2, early stopping and augmentation each lower the validation loss when data are "
    "scarce, and together most.",
    "T N A K R",
    _measure,
)
