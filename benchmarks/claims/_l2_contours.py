"""Claim 32: where L2 moves the optimum of a loss, in closed form and as training finds it.

Of a quadratic loss with curvatures l_i along the eigenvectors q_i of its Hessian and the optimum
w*, the optimum with the penalty decay / 2 |w|^2 is

    q_i w = l_i / (l_i + decay) q_i w*

so that L2 shrinks what the loss hardly depends on. It is also the optimum within the ball
|w| <= r of its own norm r: there the contours of loss and penalty touch.

    quadratic  how far gradient descent with decay ends from the formula, over how far the formula
               moves the optimum
    ball       how far gradient descent projected onto the ball ends from it, likewise
    logistic   how far the optimum of a penalized logistic regression is from the formula with the
               Hessian at its optimum without, over how far it has moved

Reference: Goodfellow, Bengio & Courville, "Deep Learning", 2016, sections 7.1.1 and 7.2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.losses import sigmoid_binary_cross_entropy
from jaxopt_course.minimization import minimize
from jaxopt_course.optimizers import lbfgs, sgd
from jaxopt_course.regularizers import project_l2_constraint
from jaxopt_course.transforms import add_decayed_weights, apply_updates, chain, projected

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect
from ._experiment import by_seed, drawn_rows, scaled_data
from ._pictures import Planes


DECAYS = np.array([0.03, 0.1, 0.3, 1.0, 3.0], np.float32)
FLAT, STEEP, STEPS = 0.1, 2.0, 2000  # the curvatures
SHOWN = 2  # which decay has its circle in the picture
ROWS, BASE, ADDED = 300, 0.01, 0.1  # of the logistic regression, which has L2 from the start
EQUAL = Claimed(
    -np.inf, 0.01, "a hundredth of the shift counts as equal, because descents end early"
)
ALIKE = Claimed(-np.inf, 0.5, "at most half of the shift counts as alike")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = STEPS // 4 if quick else STEPS
    hessians, optima, formulas, decayed, in_ball = by_seed(_descents(steps), key, seeds)
    logistic = by_seed(_logistic(), key, seeds)
    distance = lambda x, y: np.linalg.norm(x - y, axis=-1)
    moves = distance(formulas, optima[:, None])
    effects = (
        mean_effect(
            "Quadratic: distance of descent with decay from the formula, relative to the shift.",
            (distance(decayed, formulas) / moves).mean(1),
            EQUAL,
        ),
        mean_effect(
            "Quadratic: distance of projected descent from the formula, relative to the shift.",
            (distance(in_ball, formulas) / moves).mean(1),
            EQUAL,
        ),
        mean_effect(
            "Logistic regression: distance of the optimum from the formula, relative to the shift.",
            logistic,
            ALIKE,
        ),
    )
    kept = [curvature / (curvature + 0.3) for curvature in (STEEP, FLAT)]
    return Evidence(
        effects,
        f"Quadratics in two dimensions with curvatures {STEEP:g} and {FLAT:g} and random axes, "
        f"decays of {DECAYS[0]:g} to {DECAYS[-1]:g}: a decay of 0.3 leaves {kept[0]:.2g} of the "
        f"steep component and {kept[1]:.2g} of the flat one. A logistic regression on {ROWS} "
        f"tumours whose L2 is raised from {BASE:g} to {BASE + ADDED:g}.",
        _picture(hessians[0], optima[0], decayed[0]),
    )


def _descents(steps: int) -> Any:
    """Returns Hessian, optimum, and for each decay the formula and where both descents end."""

    def train(key: Any, numbers: Any, rows: Any) -> Any:
        key_axes, key_optimum = jax.random.split(key)
        angle = jax.random.uniform(key_axes, maxval=jnp.pi)
        axes = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        hessian = axes @ jnp.diag(jnp.array([FLAT, STEEP])) @ axes.T
        optimum = jax.random.normal(key_optimum, (2,))
        gradient = lambda w: hessian @ (w - optimum)

        def one(decay: Any) -> Any:
            formula = shrunk(hessian, optimum, decay)
            limit = jnp.sum(formula**2)
            onto = projected(lambda w: project_l2_constraint(w, limit))
            with_decay = chain(add_decayed_weights(decay), sgd(1 / (STEEP + decay)))
            in_ball = chain(sgd(1 / STEEP), onto)
            return formula, *(_end(gradient, tx, steps) for tx in (with_decay, in_ball))

        return hessian, optimum, *jax.vmap(one)(jnp.asarray(DECAYS))

    return train


def shrunk(hessian: Any, optimum: Any, decay: Any) -> Any:
    """The optimum of a quadratic with decay, component by component."""
    curvatures, axes = jnp.linalg.eigh(hessian)
    return axes @ (curvatures / (curvatures + decay) * (axes.T @ optimum))


def _end(gradient: Any, optimizer: Any, steps: int) -> Any:
    """Where a descent from 0 ends."""

    def step(carry: Any, _: None) -> Any:
        w, state = carry
        updates, state = optimizer.update(gradient(w), state, w)
        return (apply_updates(w, updates), state), None

    start = jnp.zeros(2)
    (w, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, steps)
    return w


def _logistic() -> Any:
    """Returns how far the optimum is from the formula, over how far it has moved."""
    inputs, targets = map(jnp.asarray, scaled_data("breast_cancer"))

    def train(key: Any, numbers: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(inputs), ROWS, 0).train
        x, y = inputs[drawn], targets[drawn]

        def optimum_of(decay: Any) -> Any:
            loss = lambda w: (
                jnp.mean(sigmoid_binary_cross_entropy(x @ w, y)) + decay / 2 * jnp.sum(w**2)
            )
            start = jnp.zeros(x.shape[1])
            return minimize(loss, start, lbfgs(), max_steps=300, gtol=1e-6).params, loss

        before, loss = optimum_of(BASE)
        after, _ = optimum_of(BASE + ADDED)
        formula = shrunk(jax.hessian(loss)(before), before, ADDED)
        norm = lambda w: jnp.linalg.norm(w)
        return norm(formula - after) / norm(before - after)

    return train


def _picture(hessian: np.ndarray, optimum: np.ndarray, decayed: np.ndarray) -> Planes:
    """Contours of loss and penalty through an optimum with decay, and the way of the optima."""
    reach = 1.3 * max(abs(optimum).max(), 0.5)
    x = np.linspace(-reach, reach, 61)
    plane = np.stack(np.meshgrid(x, x), -1)
    loss = lambda w: 0.5 * np.einsum("...i,ij,...j", w - optimum, hessian, w - optimum)
    way = np.stack([np.asarray(shrunk(hessian, optimum, d)) for d in np.geomspace(1e-3, 1e3, 80)])
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.linalg.norm(decayed[SHOWN]) * np.stack([np.cos(turn), np.sin(turn)], 1)
    at = float(loss(decayed[SHOWN]))
    return Planes(
        x,
        x,
        {"loss": loss(plane)},
        at * np.array([0.1, 0.4, 1.0, 2.0, 4.0, 8.0]),
        {"loss": {f"penalty at decay {DECAYS[SHOWN]:g}": circle, "optima by the formula": way}},
        {
            "loss": {
                f"found with decays {DECAYS[0]:g} to {DECAYS[-1]:g}": decayed,
                "without decay": optimum[None],
            }
        },
        "first weight",
        "second weight",
    )


L2_CONTOURS = Claim(
    "l2_contours",
    "L2 shrinks the optimum along the directions in which the loss is flat, and leaves it along "
    "steep ones: by the curvature over the curvature + decay.",
    "R",
    _measure,
)
