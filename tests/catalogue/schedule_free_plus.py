"""Schedule-Free with a Polyak step."""

from jaxopt_course import optimizers
from tests.catalogue.member import Member, matrices, offers


PLUS = {
    "learning_rate": 0.9,
    "b1": 0.8,
    "b2": 0.97,
    "eps": 1e-3,
    "weight_decay": 0.3,
    "sf_b1": 0.7,
    "sf_b1_max": 0.95,
    "anneal_steps": 6.5,
    "average_after": 1.5,
    "weight_power": 1.3,
    "weight_lr_power": 1.7,
    "polyak_decay": 0.4,
    "f_min": -0.2,
    "max_learning_rate": 0.5,
}

MEMBERS = {
    "schedule_free_plus": Member(
        optimizers.schedule_free_plus, PLUS, {"mask": matrices}, offers=offers
    ),
}

PAIRS = {}
