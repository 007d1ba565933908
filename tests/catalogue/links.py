"""The links and wrappers of ``transforms``."""

import jax
import jax.numpy as jnp

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import ADAM, ORDER, RATE, Member, decay, matrices


def kinds(tree):
    return jax.tree.map(lambda x: "vector" if jnp.ndim(x) == 1 else "other", tree)


def double(updates, params):
    return jax.tree.map(lambda u: 2 * u, updates)


MEMBERS = {
    "add_decayed_weights": Member(transforms.add_decayed_weights, {"weight_decay": 0.1}),
    "apply_if_finite": Member(
        transforms.apply_if_finite,
        {"max_consecutive_errors": 2.0},
        {"inner": optimizers.adam(0.1)},
    ),
    "chain": Member(lambda: transforms.chain(optimizers.scale_by_adam(), transforms.scale(0.1))),
    "clip": Member(transforms.clip, {"max_delta": 0.3}, exempt=ORDER),
    "clip_by_block_rms": Member(transforms.clip_by_block_rms, {"threshold": 0.3}),
    "clip_by_global_norm": Member(transforms.clip_by_global_norm, {"max_norm": 0.3}),
    "dynamic_loss_scale": Member(
        transforms.dynamic_loss_scale,
        {
            "initial_scale": 1e3,
            "growth_interval": 2.5,
            "factor": 1.7,
            "min_scale": 0.3,
            "max_scale": 1e4,
        },
        {"inner": optimizers.adam(0.1)},
    ),
    "ema": Member(transforms.ema, {"decay": 0.9}),
    "ema:biased": Member(transforms.ema, {"decay": 0.9}, {"debias": False}),
    "identity": Member(transforms.identity),
    "inject_hyperparams": Member(
        transforms.inject_hyperparams(optimizers.adamw),
        RATE | ADAM | {"weight_decay": 0.1},
        {"mask": matrices},
    ),
    "masked": Member(
        transforms.masked, fixed={"inner": optimizers.scale_by_adam(), "mask": matrices}
    ),
    "named_chain": Member(
        lambda: transforms.named_chain(
            ("adam", optimizers.scale_by_adam()), ("scale", transforms.scale(0.1))
        )
    ),
    "partition": Member(
        transforms.partition,
        fixed={
            "transforms": {"vector": optimizers.adam(0.1), "other": optimizers.sgd(0.1, 0.9)},
            "param_labels": kinds,
        },
    ),
    "scale": Member(transforms.scale, {"step_size": -0.5}),
    "scale_by_learning_rate": Member(transforms.scale_by_learning_rate, RATE),
    "scale_by_schedule": Member(
        transforms.scale_by_schedule, fixed={"step_size_fn": lambda t: jnp.sqrt(t + 1)}
    ),
    "set_to_zero": Member(transforms.set_to_zero),
    "stateless": Member(transforms.stateless, fixed={"f": double}),
    "trace": Member(transforms.trace, {"decay": 0.9}),
    "trace:nesterov": Member(transforms.trace, {"decay": 0.9}, {"nesterov": True}),
}

PAIRS = {
    "trace": [(0.9,), (0.9, True)],
    "ema": [(0.9,), (0.9, False)],
    "add_decayed_weights": [(0.1,)],
    "clip": [(0.3,)],
    "clip_by_global_norm": [(0.3,)],
    "clip_by_block_rms": [(0.3,)],
    "scale": [(-0.3,)],
    "scale_by_schedule": [(decay,)],
    "scale_by_learning_rate": [(0.1,), (decay,)],
}
