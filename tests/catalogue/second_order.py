"""Newton's method and its approximations."""

import jax
import jax.numpy as jnp

from jaxopt_course import optimizers
from jaxopt_course.core import abs_sq
from tests.catalogue.member import RATE, Member


OPEN_LOOP = {"meta_gradient": "a loop of open length cannot be differentiated backwards"}


def bowl(params):
    """``sum (|x|^2 + |x|^4) / 2`` over everything: curvature that depends on the place."""
    squares = [abs_sq(x).astype(jnp.float32) for x in jax.tree.leaves(params)]
    return sum((jnp.sum(s + s**2) / 2 for s in squares), start=jnp.zeros((), jnp.float32))


def offers(updates, params):
    """The function that a training offers; the contracts' gradients need not be its own."""
    return {"value": bowl(params), "grad": updates, "value_fn": bowl}


PAIRS_KEPT = {
    "tree_map_params": "one weight for each pair in memory: no part of the params is shaped so",
    "sharding": "pairs are stacked on a first axis, which is not split; the others are",
}
NO_LEAF = {"empty": "optax's line searches start at an infinite value; here no leaf ends that"}

MEMBERS = {
    "lbfgs": Member(
        optimizers.lbfgs, RATE, {"linesearch": None, "memory_size": 3}, exempt=PAIRS_KEPT
    ),
    "lbfgs:line search": Member(
        optimizers.lbfgs, RATE, exempt=OPEN_LOOP | PAIRS_KEPT | NO_LEAF, offers=offers
    ),
    "newton_cg": Member(
        optimizers.newton_cg,
        RATE | {"max_iterations": 3.0},
        exempt=OPEN_LOOP | NO_LEAF,
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
