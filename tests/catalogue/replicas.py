"""Optimizers of replicas that share parameters now and then; in the contracts there is one."""

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import Member


def one_replica(every, learning_rate, momentum):
    """The inner optimizer has a momentum, and the outer one looks ahead."""
    outside = optimizers.sgd(learning_rate, momentum, nesterov=True)
    return transforms.outer(optimizers.sgd(0.1, 0.9), None, every, outside)


MEMBERS = {"outer": Member(one_replica, {"every": 2.5, "learning_rate": 0.7, "momentum": 0.8})}

PAIRS: dict[str, list] = {}
