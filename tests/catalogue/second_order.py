"""Newton's method and its approximations."""

from jaxopt_course import optimizers
from tests.catalogue.member import RATE, Member, offers


OPEN_LOOP = {"meta_gradient": "a loop of open length cannot be differentiated backwards"}

PAIRS_KEPT = {
    "tree_map_params": "one weight for each pair in memory: no part of the params is shaped so",
    "sharding": "pairs are stacked on a first axis, which is not split; the others are",
}
SEARCHED = {
    "empty": "optax's line searches start at an infinite value; here no leaf ends that",
    "wide": "optax's line searches keep the rate in the dtype of the params",
}

MEMBERS = {
    "lbfgs": Member(
        optimizers.lbfgs, RATE, {"linesearch": None, "memory_size": 3}, exempt=PAIRS_KEPT
    ),
    "lbfgs:line search": Member(
        optimizers.lbfgs, RATE, exempt=OPEN_LOOP | PAIRS_KEPT | SEARCHED, offers=offers
    ),
    "newton_cg": Member(
        optimizers.newton_cg,
        RATE | {"max_iterations": 3.0},
        exempt=OPEN_LOOP | SEARCHED,
        offers=offers,
    ),
    "scale_by_lbfgs": Member(optimizers.scale_by_lbfgs, exempt=PAIRS_KEPT),
    "scale_by_lbfgs:unscaled": Member(
        optimizers.scale_by_lbfgs, fixed={"scale_init_precond": False}, exempt=PAIRS_KEPT
    ),
    "scale_by_newton_cg": Member(
        optimizers.scale_by_newton_cg, {"max_iterations": 3.0}, exempt=OPEN_LOOP, offers=offers
    ),
}

PAIRS = {}  # optax stores pairs of negative curvature, which random gradients are full of
