"""Optimizers that look at the norms of parameters and updates, or at the loss."""

import jax.numpy as jnp

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import ADAM, RATE, Member, decay, matrices, offers


def slow_power(step, exponent):
    """A decay of squares in float64, for optax computes its own in float32."""
    return 1.0 - (step + 2.0) ** (-exponent)


def precise(t):
    """``decay`` in float64, for optax takes 1 - 1 / sqrt(1 + rate^2) in the rate's precision."""
    return 0.1 * 0.9 ** (jnp.asarray(t, float) / 10)


TRUST = {"min_norm": 1e-3, "trust_coefficient": 0.3, "eps": 1e-3}
FACTORED = {"decay_rate": 0.8, "step_offset": -3.0, "epsilon": 1e-3}
ADAFACTOR = RATE | {
    "decay_rate": 0.8,
    "decay_offset": -3.0,
    "clipping_threshold": 0.7,
    "momentum": 0.9,
    "weight_decay_rate": 0.01,
    "eps": 1e-3,
}
POLYAK = {"f_min": -0.3, "max_learning_rate": 0.25, "eps": 1e-2}
NOISE = {"eta": 0.01, "gamma": 0.55}
NO_AXES = {"sharding": "sums over rows and columns have another shape than the params"}

MEMBERS = {
    "adafactor": Member(optimizers.adafactor, ADAFACTOR),
    "adafactor:factored": Member(
        optimizers.adafactor, ADAFACTOR, {"min_dim_size_to_factor": 1}, exempt=NO_AXES
    ),
    "adafactor:plain": Member(
        optimizers.adafactor,
        {"eps": 1e-3},
        {"clipping_threshold": None, "factored": False, "multiply_by_parameter_scale": False},
    ),
    "adagrad_norm": Member(optimizers.adagrad_norm, RATE | {"initial_accumulator_value": 0.1}),
    "adam_l2": Member(optimizers.adam_l2, RATE | ADAM | {"weight_decay": 0.1}),
    "fromage": Member(optimizers.fromage, RATE | {"min_norm": 0.01}),
    "ftrl": Member(optimizers.ftrl, RATE | {"beta": 1.0, "l1": 0.3, "l2": 0.2}),
    "lamb": Member(optimizers.lamb, RATE | ADAM | {"weight_decay": 0.1}),
    "lamb:masked": Member(optimizers.lamb, RATE | ADAM | {"weight_decay": 0.1}, {"mask": matrices}),
    "lars": Member(
        optimizers.lars,
        RATE | {"weight_decay": 0.1, "trust_coefficient": 0.2, "eps": 1e-3, "momentum": 0.9},
    ),
    "lars:masked": Member(
        optimizers.lars,
        RATE | {"weight_decay": 0.1, "trust_coefficient": 0.2, "eps": 1e-3, "momentum": 0.9},
        {"weight_decay_mask": matrices, "trust_ratio_mask": matrices, "nesterov": True},
    ),
    "noisy_sgd": Member(optimizers.noisy_sgd, RATE | NOISE, {"key": 0}),
    "normalize_by_update_norm": Member(
        transforms.normalize_by_update_norm, {"scale_factor": 0.7, "eps": 1e-3}
    ),
    "polyak_sgd": Member(optimizers.polyak_sgd, POLYAK | {"scaling": 0.7}, offers=offers),
    "polyak_sgd:sps+": Member(
        optimizers.polyak_sgd, POLYAK | {"scaling": 0.7}, {"variant": "sps+"}, offers=offers
    ),
    "scale_by_adagrad_norm": Member(
        optimizers.scale_by_adagrad_norm, {"initial_accumulator_value": 0.1}
    ),
    "scale_by_distance_over_gradients": Member(
        transforms.scale_by_distance_over_gradients,
        {"reps_rel": 0.1, "eps": 1e-3, "global_scale": 0.9},
    ),
    "scale_by_factored_rms": Member(optimizers.scale_by_factored_rms, FACTORED),
    "scale_by_factored_rms:factored": Member(
        optimizers.scale_by_factored_rms,
        FACTORED,
        {"min_dim_size_to_factor": 1},
        exempt=NO_AXES,
    ),
    "scale_by_param_block_norm": Member(transforms.scale_by_param_block_norm, {"min_scale": 0.2}),
    "scale_by_param_block_rms": Member(transforms.scale_by_param_block_rms, {"min_scale": 0.2}),
    "scale_by_polyak": Member(optimizers.scale_by_polyak, POLYAK, offers=offers),
    "scale_by_sm3": Member(
        optimizers.scale_by_sm3, {"b1": 0.9, "b2": 0.95, "eps": 1e-3}, exempt=NO_AXES
    ),
    "scale_by_trust_ratio": Member(transforms.scale_by_trust_ratio, TRUST),
    "sgdw": Member(optimizers.sgdw, RATE | {"momentum": 0.9, "weight_decay": 0.1}),
    "sgdw:masked": Member(
        optimizers.sgdw, RATE | {"momentum": 0.9, "weight_decay": 0.1}, {"mask": matrices}
    ),
    "sm3": Member(optimizers.sm3, RATE | {"momentum": 0.9, "weight_decay": 0.1}, exempt=NO_AXES),
}

PAIRS = {
    "fromage": [(0.1,), (0.1, 0.5), (precise,)],
    "lamb": [
        (0.1,),
        (decay, 0.8, 0.95, 1e-3, 1e-4, 0.1, matrices),
        (0.1, 0.9, 0.99, 1e-6, 0.0, decay),
    ],
    "lars": [(0.1,), (decay, 0.1, matrices, 0.2, 1e-3, matrices, 0.8, True)],
    "noisy_sgd": [{"learning_rate": 0.1, "key": 0}, (decay, 0.1, 0.3, 7)],
    "normalize_by_update_norm": [(), (-0.7, 1e-3)],
    "scale_by_factored_rms": [
        {"decay_rate_fn": slow_power},
        {"decay_rate_fn": slow_power, "min_dim_size_to_factor": 2, "step_offset": -3},
        {"decay_rate_fn": slow_power, "factored": False, "epsilon": 1e-3, "decay_rate": 0.5},
    ],
    "scale_by_trust_ratio": [(), (0.1, 0.3, 1e-3)],
}
