"""Wrappers, and links beyond the everyday ones."""

import functools

import jax.numpy as jnp

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformation, global_norm
from tests.catalogue.member import ORDER, Member, matrices


def often(step):
    """A condition that holds at two steps of three."""
    return step % 3 != 1


def zero_first(t):
    """A schedule of accumulation lengths."""
    return jnp.where(t < 2, 1, 3)


def worth(updates, params):
    """A loss for links that ask for one, of either sign."""
    return {"value": jnp.sin(3 * global_norm(params))}


def on_plain_params(factory):
    """Lookahead for a tree of fast parameters; the slow ones stand beside the state."""

    def build(**numbers):
        tx = factory(**numbers)

        def init(params):
            slow = transforms.LookaheadParams.init_synced(params).slow
            return {"lookahead": tx.init(params), "slow": slow}

        def update(updates, state, params=None, **extra_args):
            both = transforms.LookaheadParams(params, state["slow"])
            moves, own = tx.update(updates, state["lookahead"], both, **extra_args)
            slow = transforms.apply_updates(state["slow"], moves.slow)
            return moves.fast, {"lookahead": own, "slow": slow}

        return GradientTransformation(init, update)

    return build


def monitored(decay):
    """The average of a measurement, where it belongs."""
    return transforms.monitor({"norm": transforms.measure_with_ema(global_norm, decay)})


ADAM = optimizers.adam(0.1)
MOMENTUM = optimizers.sgd(0.1, 0.9)
FINITE = {"should_skip_update_fn": transforms.skip_not_finite}
LARGE = {
    "should_skip_update_fn": functools.partial(transforms.skip_large_updates, max_squared_norm=30.0)
}
NOISE = {"eta": 0.1, "gamma": 0.55}
PLATEAU = {
    "factor": 0.7,
    "patience": 2.5,
    "rtol": 0.3,
    "atol": 1e-3,
    "cooldown": 1.5,
    "min_scale": 0.05,
}

MEMBERS = {
    "MultiSteps": Member(transforms.MultiSteps, {"every_k_schedule": 2.5}, {"opt": ADAM}),
    "MultiSteps:sum": Member(
        transforms.MultiSteps,
        fixed={"opt": MOMENTUM, "every_k_schedule": zero_first, "use_grad_mean": False} | FINITE,
    ),
    "MultiSteps:skipping": Member(
        transforms.MultiSteps, {"every_k_schedule": 2.5}, {"opt": ADAM} | LARGE
    ),
    "adaptive_grad_clip": Member(transforms.adaptive_grad_clip, {"clipping": 0.3, "eps": 1e-2}),
    "add_noise": Member(transforms.add_noise, NOISE, {"key": 0}),
    "apply_every": Member(transforms.apply_every, {"k": 2.5}),
    "cautious": Member(transforms.cautious, {"xi": 0.7}, {"inner": MOMENTUM}),
    "centralize": Member(transforms.centralize),
    "conditionally_mask": Member(
        transforms.conditionally_mask, fixed={"inner": ADAM, "should_transform_fn": often}
    ),
    "conditionally_transform": Member(
        transforms.conditionally_transform, fixed={"inner": ADAM, "should_transform_fn": often}
    ),
    "ema_params": Member(transforms.ema_params, {"decay": 0.9}, {"inner": ADAM}),
    "ema_params:biased": Member(
        transforms.ema_params, {"decay": 0.9}, {"inner": ADAM, "debias": False}
    ),
    "flatten": Member(
        transforms.flatten,
        fixed={"inner": ADAM},
        exempt={"sharding": "one vector is split at other places than its parts"},
    ),
    "freeze": Member(transforms.freeze, fixed={"mask": matrices}),
    "kahan": Member(transforms.kahan, fixed={"optimizer": ADAM}),
    "keep_params_nonnegative": Member(transforms.keep_params_nonnegative, exempt=ORDER),
    "lookahead": Member(
        on_plain_params(transforms.lookahead),
        {"sync_period": 2.5, "slow_step_size": 0.4},
        {"fast_optimizer": ADAM},
    ),
    "lookahead:reset": Member(
        on_plain_params(transforms.lookahead),
        {"sync_period": 2.5, "slow_step_size": 0.4},
        {"fast_optimizer": MOMENTUM, "reset_state": True},
    ),
    "master_weights": Member(transforms.master_weights, fixed={"optimizer": ADAM}),
    "measure_with_ema": Member(monitored, {"decay": 0.9}),
    "monitor": Member(
        transforms.monitor,
        fixed={"measures": {"norm": global_norm, "all": lambda u: u, "sum": transforms.ema(0.9)}},
    ),
    "normalize": Member(transforms.normalize),
    "packed": Member(
        transforms.packed,
        fixed={"optimizer": ADAM},
        exempt={
            "sharding": "joined leaves are split at other places than each alone",
            "tree_map_params": "joined leaves have no place of their own in the state",
        },
    ),
    "quantized_state": Member(
        transforms.quantized_state, fixed={"optimizer": ADAM, "min_size": 2, "block": 4, "chunk": 4}
    ),
    "reduce_on_plateau": Member(transforms.reduce_on_plateau, PLATEAU, offers=worth),
    "reduce_on_plateau:means": Member(
        transforms.reduce_on_plateau,
        PLATEAU | {"accumulation_size": 1.5},
        exempt={"zero_gradient": "the best mean is infinite until there is one"},
        offers=worth,
    ),
    "selective_transform": Member(
        transforms.selective_transform, fixed={"optimizer": ADAM, "freeze_mask": matrices}
    ),
    "snapshot": Member(transforms.snapshot, fixed={"measure_name": "norm", "measure": global_norm}),
    "split_real_and_imaginary": Member(transforms.split_real_and_imaginary, fixed={"inner": ADAM}),
    "stateless_with_tree_map": Member(
        transforms.stateless_with_tree_map, fixed={"f": lambda u, p: 2 * u}
    ),
    "stochastic_rounding": Member(
        transforms.stochastic_rounding, fixed={"optimizer": ADAM, "key": 0}
    ),
    "zero_nans": Member(transforms.zero_nans),
}

PAIRS = {
    "adaptive_grad_clip": [(0.1,), (0.3, 1e-1)],
    "add_noise": [(0.1, 0.55, 3), {"eta": 0.3, "gamma": 0.0, "key": 1}],
    "centralize": [()],
    "conditionally_transform": [(ADAM, often)],
    "flatten": [(ADAM,)],
    "freeze": [({"dense": {"kernel": True, "bias": False}, "gain": False},)],
    "keep_params_nonnegative": [()],
    "normalize": [()],
    "selective_transform": [{"optimizer": ADAM, "freeze_mask": {"dense": True, "gain": False}}],
    "snapshot": [("norm", global_norm)],
    "split_real_and_imaginary": [(ADAM,)],
    "stateless_with_tree_map": [(lambda u, p: u + 0.1 * p,)],
    "zero_nans": [()],
}
