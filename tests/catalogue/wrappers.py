"""The wrappers of ``transforms``: they say where, when or how another transformation runs."""

import functools

import jax
import jax.numpy as jnp

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformationExtraArgs
from tests.catalogue.member import ADAM, RATE, Member, matrices


def kinds(tree):
    return jax.tree.map(lambda x: "vector" if jnp.ndim(x) == 1 else "other", tree)


def often(step):
    """A condition that holds at two steps of three."""
    return step % 3 != 1


def zero_first(t):
    """A schedule of accumulation lengths."""
    return jnp.where(t < 2, 1, 3)


def on_plain_params(factory):
    """Lookahead for a tree of fast parameters; the slow ones stand beside the state."""

    def build(**numbers):
        tx = factory(**numbers)

        def init(params):
            slow = transforms.LookaheadParams.init_synced(params).slow
            return {"lookahead": tx.init(params), "slow": slow}

        def update(updates, state, params=None, **extra_args):
            if not (isinstance(state, dict) and "slow" in state):
                return tx.update(updates, state, transforms.LookaheadParams(params, params))
            both = transforms.LookaheadParams(params, state["slow"])
            moves, own = tx.update(updates, state["lookahead"], both, **extra_args)
            slow = transforms.apply_updates(state["slow"], moves.slow)
            return moves.fast, {"lookahead": own, "slow": slow}

        return GradientTransformationExtraArgs(init, update)

    return build


INNER = optimizers.adam(0.1)
LINK = optimizers.scale_by_adam()
MOMENTUM = optimizers.sgd(0.1, 0.9)
FINITE = {"should_skip_update_fn": transforms.skip_not_finite}
LARGE = {
    "should_skip_update_fn": functools.partial(transforms.skip_large_updates, max_squared_norm=30.0)
}
LOSS_SCALE = {
    "initial_scale": 1e3,
    "growth_interval": 2.5,
    "factor": 1.7,
    "min_scale": 0.3,
    "max_scale": 1e4,
}

MEMBERS = {
    "MultiSteps": Member(transforms.MultiSteps, {"every_k_schedule": 2.5}, {"opt": INNER}),
    "MultiSteps:sum": Member(
        transforms.MultiSteps,
        fixed={"opt": MOMENTUM, "every_k_schedule": zero_first, "use_grad_mean": False} | FINITE,
    ),
    "MultiSteps:skipping": Member(
        transforms.MultiSteps, {"every_k_schedule": 2.5}, {"opt": INNER} | LARGE
    ),
    "apply_if_finite": Member(
        transforms.apply_if_finite, {"max_consecutive_errors": 2.0}, {"inner": INNER}
    ),
    "cautious": Member(transforms.cautious, {"xi": 0.7}, {"inner": MOMENTUM}),
    "chain": Member(lambda: transforms.chain(LINK, transforms.scale(0.1))),
    "conditionally_mask": Member(
        transforms.conditionally_mask, fixed={"inner": INNER, "should_transform_fn": often}
    ),
    "conditionally_transform": Member(
        transforms.conditionally_transform, fixed={"inner": INNER, "should_transform_fn": often}
    ),
    "dynamic_loss_scale": Member(transforms.dynamic_loss_scale, LOSS_SCALE, {"inner": INNER}),
    "ema_params": Member(transforms.ema_params, {"decay": 0.9}, {"inner": INNER}),
    "ema_params:biased": Member(
        transforms.ema_params, {"decay": 0.9}, {"inner": INNER, "debias": False}
    ),
    "flatten": Member(
        transforms.flatten,
        fixed={"inner": INNER},
        exempt={"sharding": "one vector is split at other places than its parts"},
    ),
    "inject_hyperparams": Member(
        transforms.inject_hyperparams(optimizers.adamw),
        RATE | ADAM | {"weight_decay": 0.1},
        {"mask": matrices},
    ),
    "kahan": Member(
        transforms.kahan,
        fixed={"optimizer": INNER},
        exempt={"wide": "what rounding took is kept in the dtype of the params, by design"},
    ),
    "lookahead": Member(
        on_plain_params(transforms.lookahead),
        {"sync_period": 2.5, "slow_step_size": 0.4},
        {"fast_optimizer": INNER},
    ),
    "lookahead:reset": Member(
        on_plain_params(transforms.lookahead),
        {"sync_period": 2.5, "slow_step_size": 0.4},
        {"fast_optimizer": MOMENTUM, "reset_state": True},
    ),
    "masked": Member(transforms.masked, fixed={"inner": LINK, "mask": matrices}),
    "master_weights": Member(transforms.master_weights, fixed={"optimizer": INNER}),
    "named_chain": Member(
        lambda: transforms.named_chain(("adam", LINK), ("scale", transforms.scale(0.1)))
    ),
    "packed": Member(
        transforms.packed,
        fixed={"optimizer": INNER},
        exempt={
            "sharding": "joined leaves are split at other places than each alone",
            "tree_map_params": "joined leaves have no place of their own in the state",
        },
    ),
    "partition": Member(
        transforms.partition,
        fixed={"transforms": {"vector": INNER, "other": MOMENTUM}, "param_labels": kinds},
    ),
    "quantized_state": Member(
        transforms.quantized_state,
        fixed={"optimizer": INNER, "min_size": 2, "block": 4, "chunk": 4},
    ),
    "selective_transform": Member(
        transforms.selective_transform, fixed={"optimizer": INNER, "freeze_mask": matrices}
    ),
    "split_real_and_imaginary": Member(transforms.split_real_and_imaginary, fixed={"inner": INNER}),
    "stochastic_rounding": Member(
        transforms.stochastic_rounding, fixed={"optimizer": INNER, "key": 0}
    ),
}

PAIRS = {
    "conditionally_transform": [(INNER, often)],
    "flatten": [(INNER,)],
    "selective_transform": [{"optimizer": INNER, "freeze_mask": {"dense": True, "gain": False}}],
    "split_real_and_imaginary": [(INNER,)],
}
