"""Links that add the slope of a penalty, and proximal methods."""

import functools

import jax
import jax.numpy as jnp

from jaxopt_course import optimizers, regularizers, transforms
from jaxopt_course.core import tree
from tests.catalogue.member import ADAM, ORDER, RATE, Member, decay, matrices


def soft(strength):
    return functools.partial(regularizers.prox_l1, strength=strength)


def with_l1(factory):
    """``factory`` with the strength of an L1 penalty in place of its operator."""
    return lambda strength, **others: factory(operator=soft(strength), **others)


def behind_descent(learning_rate, l1, l2):
    """A proximal step behind gradient descent, on all leaves."""
    operator = functools.partial(regularizers.prox_elastic_net, l1=l1, l2=l2)
    return transforms.chain(
        transforms.scale_by_learning_rate(learning_rate),
        transforms.proximal(operator, learning_rate, mask=None),
    )


def in_the_metric_of_rms(operator, learning_rate):
    def metric(state):
        return tree.divide_by_root(jax.tree.map(jnp.ones_like, state.nu), state.nu, None, 1e-3)

    rms = optimizers.scale_by_rms(0.9, 1e-3)
    return transforms.scaled_proximal(rms, metric, operator, learning_rate)


def within_a_ball(limit):
    project = functools.partial(regularizers.project_l2_constraint, limit=limit)
    return transforms.projected(project)


def squares(strength):
    return transforms.add_penalty(functools.partial(regularizers.l2_penalty, strength=strength))


GROUPS = {"operator": functools.partial(regularizers.prox_group_lasso, strength=0.2)}
BOX = {"operator": functools.partial(regularizers.prox_box, lower=-0.5, upper=0.5)}

WHEN_CALLED = {"nan": "a penalty or an operator checks its numbers when it is called"}

MEMBERS = {
    "accelerated": Member(lambda **rate: optimizers.accelerated(optimizers.sgd(**rate)), RATE),
    "add_l1": Member(transforms.add_l1, {"strength": 0.2}),
    "add_l1:scheduled": Member(transforms.add_l1, fixed={"strength": decay, "mask": matrices}),
    "add_penalty": Member(squares, {"strength": 0.2}, exempt=WHEN_CALLED),
    "add_penalty:groups": Member(
        transforms.add_penalty, fixed={"fn": regularizers.group_lasso_penalty}
    ),
    "fista": Member(with_l1(optimizers.fista), RATE | {"strength": 0.2}, exempt=WHEN_CALLED),
    "ista": Member(with_l1(optimizers.ista), RATE | {"strength": 0.2}, exempt=WHEN_CALLED),
    "ista:groups": Member(optimizers.ista, RATE, GROUPS),
    "projected": Member(within_a_ball, {"limit": 0.3}, exempt=WHEN_CALLED),
    "proximal": Member(behind_descent, RATE | {"l1": 0.2, "l2": 0.3}, exempt=WHEN_CALLED),
    "proximal:box": Member(optimizers.ista, RATE, BOX | {"mask": matrices}, exempt=ORDER),
    "proximal_adam": Member(optimizers.proximal_adam, RATE | ADAM, {"operator": soft(0.2)}),
    "proximal_adam:strength": Member(
        with_l1(optimizers.proximal_adam),
        RATE | ADAM | {"strength": 0.2},
        {"mask": None},
        WHEN_CALLED,
    ),
    "scaled_proximal": Member(
        with_l1(in_the_metric_of_rms), RATE | {"strength": 0.2}, exempt=WHEN_CALLED
    ),
}

PAIRS: dict = {}  # optax has none of these
