"""Two spirals, which no line and no small bend can tell apart."""

import jax

from jaxopt_course.data import spirals
from jaxopt_course.nn import MLP
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task

from ._workload import Parts, Workload, frozen_targets, numbers_of, parts


def spirals_parts(seed: int, hidden: tuple[int, ...], turns: float, noise: float) -> Parts:
    """Which of two arms a point of the plane lies on."""
    draw = lambda key: spirals(key, 768, turns, noise)
    inputs, targets = numbers_of(draw, jax.random.key(seed))
    task = linen_task(MLP(1, hidden, activation="tanh"), inputs[:1], problem("binary"))
    return parts(task, (2 * inputs, targets), 512)


SPIRALS = Workload(
    name="spirals",
    summary="Two spirals of one turn in the plane, by a perceptron.",
    variants={
        "base": lambda: spirals_parts(0, (24, 24), 1.0, 0.02),
        "held_out": lambda: spirals_parts(1, (16, 16, 16), -1.1, 0.03),
    },
    steps=480,
    batch_size=32,
    evaluate_every=16,
    targets=frozen_targets("spirals"),
)
