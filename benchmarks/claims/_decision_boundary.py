"""Claim 31: the boundary that ten hidden units draw between two classes, with and without decay.

Ten centres of each class are normal around (1, 0) and (0, 1) with deviation 1, and each example
is normal around one of them with deviation sqrt(1/5). A network is fitted to 100 examples of each
class by L-BFGS, with the mean cross-entropy and a decay of the weights, biases left out:

    no decay          mean loss
    decay 0.02        mean loss + 0.02 / n |w|^2, which is the sum of losses + 0.02 |w|^2
    0.02 of the mean  mean loss + 0.02 / 2 |w|^2, which is what SGD(weight_decay=0.02) descends

Compared are the cross-entropy on fresh examples and the length of the boundary within the picture.

Reference: Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd edition, 2009,
sections 2.3.3 (the data) and 11.5.2 with figure 11.4 (the network, which the second row follows).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.losses import sigmoid_binary_cross_entropy
from jaxopt_course.minimization import minimize
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import lbfgs
from jaxopt_course.regularizers import l2_penalty, penalty

from ._claim import Claim, Evidence
from ._claimed import BETTER_LOSS, Claimed
from ._effects import ratio_effect
from ._experiment import by_seed
from ._pictures import Planes


UNITS, CENTRES, EXAMPLES, TEST, DECAY = 10, 10, 100, 5000, 0.02  # examples are of each class
STEPS, QUICK_STEPS = 500, 50
WAYS = {"no decay": 0.0, "decay 0.02": DECAY / EXAMPLES, "0.02 of the mean": DECAY}
X, Y = np.linspace(-3.0, 4.0, 57), np.linspace(-3.0, 4.0, 57)
SHORTER = Claimed(-np.inf, 1 / 1.2, "a length that differs by less than a fifth counts as the same")


class Fit(NamedTuple):
    """A fitted network.

    loss: on fresh examples.
    error: the share of these that it gets wrong.
    least_error: the share that the true densities get wrong.
    logits: f[57, 57] on the grid of the picture.
    true_logits: likewise, by the true densities.
    inputs: f[200, 2], of the first class first.
    """

    loss: Any
    error: Any
    least_error: Any
    logits: Any
    true_logits: Any
    inputs: Any


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    decays = np.array(list(WAYS.values()), np.float32)
    train = _training(QUICK_STEPS if quick else STEPS)
    found = Fit(*by_seed(train, key, seeds, decays))
    lengths = np.array([[curve_length(boundary(x)) for x in own] for own in found.logits])
    effects = (
        ratio_effect(
            "Loss on new examples with a decay of 0.02, divided by the loss without decay.",
            found.loss[1],
            found.loss[0],
            BETTER_LOSS,
        ),
        ratio_effect(
            "Length of the boundary with a decay of 0.02, divided by the length without decay.",
            lengths[1],
            lengths[0],
            SHORTER,
        ),
        ratio_effect(
            "The same ratio of losses if the decay of 0.02 belongs to the mean loss.",
            found.loss[2],
            found.loss[0],
            BETTER_LOSS,
        ),
    )
    errors = ", ".join(
        f"{error:.3f} with {name}" for name, error in zip(WAYS, found.error.mean(1), strict=True)
    )
    first = found.inputs[0, 0]
    classes = {"class 0": first[:EXAMPLES], "class 1": first[EXAMPLES:]}
    lines = {"by the true densities": boundary(found.true_logits[0, 0])}
    return Evidence(
        effects,
        f"{UNITS} sigmoid units, {EXAMPLES} examples of each class. The share of errors on fresh "
        f"examples is {errors}, and {found.least_error[0].mean():.3f} by the true densities.",
        Planes(
            X,
            Y,
            {name: own[0] for name, own in zip(WAYS, _probability(found.logits), strict=True)},
            np.array([0.5]),
            dict.fromkeys(WAYS, lines),
            dict.fromkeys(WAYS, classes),
            "x",
            "y",
        ),
    )


def _probability(logits: np.ndarray) -> np.ndarray:
    """In three decimals, which is enough for a picture."""
    return np.round(1 / (1 + np.exp(-np.clip(logits, -30, 30))), 3)


def _training(steps: int) -> Any:
    model = MLP(1, (UNITS,), activation="sigmoid")
    grid = jnp.stack(jnp.meshgrid(X, Y), -1).reshape(-1, 2)

    def train(key: Any, decay: Any, rows: Any) -> Fit:
        key_centres, key_train, key_test, key_init = jax.random.split(key, 4)
        centres = _centres(key_centres)
        inputs, labels = _examples(key_train, centres, EXAMPLES)
        params = model.init(key_init, inputs, train=False)
        apply: Any = model.apply
        logits = lambda params, x: apply(params, x, train=False)[:, 0]

        def loss(params: Any) -> Any:
            fitted = sigmoid_binary_cross_entropy(logits(params, inputs), labels)
            return jnp.mean(fitted) + decay * penalty(params, l2_penalty)

        found = minimize(loss, params, lbfgs(), max_steps=steps, gtol=0.0, patience=steps)
        x, y = _examples(key_test, centres, TEST // 2)
        predicted = logits(found.params, x)
        return Fit(
            jnp.mean(sigmoid_binary_cross_entropy(predicted, y)),
            jnp.mean((predicted > 0) != (y > 0)),
            jnp.mean((_true_logit(centres, x) > 0) != (y > 0)),
            logits(found.params, grid).reshape(len(Y), len(X)),
            _true_logit(centres, grid).reshape(len(Y), len(X)),
            inputs,
        )

    return train


def _centres(key: Any) -> Any:
    """f[2, 10, 2]."""
    return jnp.eye(2)[:, None] + jax.random.normal(key, (2, CENTRES, 2))


def _examples(key: Any, centres: Any, count: int) -> tuple[Any, Any]:
    """``count`` of each class: inputs f[2 count, 2] and labels 0 or 1."""
    key_which, key_noise = jax.random.split(key)
    which = jax.random.randint(key_which, (2, count), 0, CENTRES)
    noise = jax.random.normal(key_noise, (2, count, 2)) * jnp.sqrt(0.2)
    inputs = jnp.take_along_axis(centres, which[..., None], 1) + noise
    return inputs.reshape(-1, 2), jnp.repeat(jnp.arange(2.0), count)


def _true_logit(centres: Any, x: Any) -> Any:
    """The logarithm of the density of class 1 over that of class 0."""
    distances = jnp.sum((x[:, None, None] - centres[None]) ** 2, -1)  # of points, classes, centres
    logs = jax.nn.logsumexp(-distances / 0.4, -1)
    return logs[:, 1] - logs[:, 0]


def boundary(logits: np.ndarray) -> np.ndarray:
    """The level curve 0 of f[57, 57] on the grid, f[points, 2], with NaN after each piece."""
    from contourpy import contour_generator

    pieces = contour_generator(X, Y, logits).lines(0.0)
    gap = np.full((1, 2), np.nan)
    return np.concatenate([gap, *(part for piece in pieces for part in (piece, gap))])


def curve_length(curve: np.ndarray) -> float:
    """Of f[points, 2] with NaN between pieces; at least the width of a cell of the grid.

    A network that gives the whole picture to one class has no boundary there.
    """
    return max(float(np.nansum(np.hypot(*np.diff(curve, axis=0).T))), float(X[1] - X[0]))


DECISION_BOUNDARY = Claim(
    "decision_boundary",
    "Ten hidden units draw a smoother boundary between classes, and a better one, with a weight "
    "decay of 0.02 than without.",
    "R",
    _measure,
)
