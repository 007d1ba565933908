"""The links of ``transforms``: they change updates, or look at them."""

import jax
import jax.numpy as jnp

from jaxopt_course import transforms
from jaxopt_course.core import global_norm
from tests.catalogue.member import ORDER, RATE, Member, decay, matrices


def double(updates, params):
    return jax.tree.map(lambda u: 2 * u, updates)


def worth(updates, params):
    """A loss for links that ask for one, of either sign."""
    return {"value": jnp.sin(3 * global_norm(params))}


def monitored(decay):
    """The average of a measurement, where it belongs."""
    return transforms.monitor({"norm": transforms.measure_with_ema(global_norm, decay)})


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
    "adaptive_grad_clip": Member(transforms.adaptive_grad_clip, {"clipping": 0.3, "eps": 1e-2}),
    "add_decayed_weights": Member(transforms.add_decayed_weights, {"weight_decay": 0.1}),
    "add_noise": Member(transforms.add_noise, NOISE, {"key": 0}),
    "apply_every": Member(transforms.apply_every, {"k": 2.5}),
    "centralize": Member(transforms.centralize),
    "clip": Member(transforms.clip, {"max_delta": 0.3}, exempt=ORDER),
    "clip_by_block_rms": Member(transforms.clip_by_block_rms, {"threshold": 0.3}),
    "clip_by_global_norm": Member(transforms.clip_by_global_norm, {"max_norm": 0.3}),
    "ema": Member(transforms.ema, {"decay": 0.9}),
    "ema:biased": Member(transforms.ema, {"decay": 0.9}, {"debias": False}),
    "freeze": Member(transforms.freeze, fixed={"mask": matrices}),
    "identity": Member(transforms.identity),
    "keep_params_nonnegative": Member(transforms.keep_params_nonnegative, exempt=ORDER),
    "measure_with_ema": Member(monitored, {"decay": 0.9}),
    "monitor": Member(
        transforms.monitor,
        fixed={"measures": {"norm": global_norm, "all": lambda u: u, "sum": transforms.ema(0.9)}},
    ),
    "normalize": Member(transforms.normalize),
    "reduce_on_plateau": Member(transforms.reduce_on_plateau, PLATEAU, offers=worth),
    "reduce_on_plateau:means": Member(
        transforms.reduce_on_plateau,
        PLATEAU | {"accumulation_size": 1.5},
        exempt={"zero_gradient": "the best mean is infinite until there is one"},
        offers=worth,
    ),
    "scale": Member(transforms.scale, {"step_size": -0.5}),
    "scale_by_learning_rate": Member(transforms.scale_by_learning_rate, RATE),
    "scale_by_schedule": Member(
        transforms.scale_by_schedule, fixed={"step_size_fn": lambda t: jnp.sqrt(t + 1)}
    ),
    "set_to_zero": Member(transforms.set_to_zero),
    "snapshot": Member(transforms.snapshot, fixed={"measure_name": "norm", "measure": global_norm}),
    "stateless": Member(transforms.stateless, fixed={"f": double}),
    "stateless_with_tree_map": Member(
        transforms.stateless_with_tree_map, fixed={"f": lambda u, p: 2 * u}
    ),
    "trace": Member(transforms.trace, {"decay": 0.9}),
    "trace:nesterov": Member(transforms.trace, {"decay": 0.9}, {"nesterov": True}),
    "zero_nans": Member(transforms.zero_nans),
}

PAIRS = {
    "adaptive_grad_clip": [(0.1,), (0.3, 1e-1)],
    "add_decayed_weights": [(0.1,)],
    "add_noise": [(0.1, 0.55, 3), {"eta": 0.3, "gamma": 0.0, "key": 1}],
    "centralize": [()],
    "clip": [(0.3,)],
    "clip_by_block_rms": [(0.3,)],
    "clip_by_global_norm": [(0.3,)],
    "ema": [(0.9,), (0.9, False)],
    "freeze": [({"dense": {"kernel": True, "bias": False}, "gain": False},)],
    "keep_params_nonnegative": [()],
    "normalize": [()],
    "scale": [(-0.3,)],
    "scale_by_learning_rate": [(0.1,), (decay,)],
    "scale_by_schedule": [(decay,)],
    "snapshot": [("norm", global_norm)],
    "stateless_with_tree_map": [(lambda u, p: u + 0.1 * p,)],
    "trace": [(0.9,), (0.9, True)],
    "zero_nans": [()],
}
