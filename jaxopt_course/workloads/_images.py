"""Networks on handwritten digits: plain, normalized, convolutional, narrow, deep."""

from typing import Any

import flax.linen as nn
import numpy as np

from jaxopt_course.data import digit_images, digits
from jaxopt_course.nn import CNN, MLP, Autoencoder
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task

from ._workload import Parts, Workload, frozen_targets, parts, shuffled


TRAIN, BATCH_SIZE = 1280, 32  # rows: whole batches, and whole ones of the 256 that validate


def digits_parts(seed: int, model: nn.Module, *, images: bool = False, noise: float = 0.0) -> Parts:
    """Classes of digits.

    Args:
        seed: of the split and the noise.
        model: of ten outputs.
        images: whether the model wants rows and columns.
        noise: standard deviation of what is added to pixels, which lie in [0, 1].
    """
    inputs, targets = _pixels(seed, noise)
    shown = digit_images(inputs) if images else inputs
    return parts(linen_task(model, shown[:1], problem("multiclass")), (shown, targets), TRAIN)


def autoencoder_parts(seed: int, code: int, hidden: tuple[int, ...]) -> Parts:
    """Pixels through a middle of ``code`` numbers, and back; binary cross-entropy of a pixel."""
    inputs, _ = _pixels(seed, 0.0)
    own = problem("unit_regression_cross_entropy")
    return parts(linen_task(Autoencoder(code, hidden), inputs[:1], own), (inputs, inputs), TRAIN)


def _pixels(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    order, data = shuffled(seed, 1797)[: TRAIN + 256], digits()
    rng = np.random.default_rng(seed)
    inputs = data.inputs[order] + noise * rng.standard_normal((len(order), 64))
    return inputs.astype(np.float32), data.targets[order]


def _on_digits(name: str, summary: str, steps: int, base: Any, held_out: Any) -> Workload:
    return Workload(
        name=name,
        summary=summary,
        variants={"base": base, "held_out": held_out},
        steps=steps,
        batch_size=BATCH_SIZE,
        evaluate_every=10,
        targets=frozen_targets(name),
    )


MLP_DIGITS = _on_digits(
    "mlp",
    "A perceptron with two hidden layers on digits.",
    300,
    lambda: digits_parts(0, MLP(10, (24, 24))),
    lambda: digits_parts(1, MLP(10, (32,), activation="tanh"), noise=0.2),
)
BATCH_NORM = _on_digits(
    "batch_norm",
    "A perceptron with batch normalization on digits.",
    300,
    lambda: digits_parts(0, MLP(10, (24, 24), normalization="batch", batch_momentum=0.9)),
    lambda: digits_parts(
        1, MLP(10, (16,) * 3, normalization="batch", batch_momentum=0.9), noise=0.2
    ),
)
CNN_DIGITS = _on_digits(
    "cnn",
    "A convolution and a dense layer on digits.",
    160,
    lambda: digits_parts(0, CNN(10, (6,), (16,)), images=True),
    lambda: digits_parts(1, CNN(10, (8,), (), activation="tanh"), images=True, noise=0.2),
)
AUTOENCODER = _on_digits(
    "autoencoder",
    "Digits through a code of six numbers, and back.",
    300,
    lambda: autoencoder_parts(0, 6, (24,)),
    lambda: autoencoder_parts(1, 4, (32,)),
)
DEEP_SIGMOID = _on_digits(
    "deep_sigmoid",
    "Four hidden layers of sigmoids on digits: gradients that vanish.",
    400,
    lambda: digits_parts(0, MLP(10, (24,) * 4, activation="sigmoid")),
    lambda: digits_parts(1, MLP(10, (16,) * 5, activation="sigmoid")),
)
