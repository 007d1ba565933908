"""Shampoo as it is used today, grafting, and other methods that whiten gradients by matrices."""

from jaxopt_course import optimizers, transforms
from tests.catalogue.matrix import FACTORS, SHAMPOO, TURNS
from tests.catalogue.member import RATE, Member


AVERAGED = SHAMPOO | {"b2": 0.9, "exponent": 0.4}
LATE = {"start_preconditioning_step": 2.5, "momentum": 0.8, "weight_decay": 0.1}
SPLUS = {
    "b1": 0.87,
    "b2": 0.9,
    "inverse_every": 3.0,
}  # generic values, for signs flip at round ones
MEAN = {"ema_rate": 0.8, "nonstandard_constant": 0.3, "weight_decay": 0.1}
KRON = {
    "preconditioner_update_probability": 0.7,
    "preconditioner_lr": 0.2,
    "preconditioner_init_scale": 0.7,
}
LINK = optimizers.scale_by_adam(eps=1e-3)

MEMBERS = {
    "grafted": Member(
        transforms.grafted,
        {"start": 2.5},
        {"direction": optimizers.scale_by_rms(eps=1e-3), "magnitude": LINK},
    ),
    "scale_by_shampoo:modern": Member(
        optimizers.scale_by_shampoo,
        AVERAGED,
        {"block_size": 2},
        exempt=FACTORS | {"explicit mesh": "hundreds of blocks, of which shampoo:modern has a few"},
    ),
    "psgd_kron": Member(
        optimizers.psgd_kron,
        RATE | KRON | {"b1": 0.8, "weight_decay": 0.1, "max_rms": 0.9},
        {"key": 0},
        exempt=FACTORS,
    ),
    "scale_by_psgd_kron": Member(optimizers.scale_by_psgd_kron, KRON, {"key": 0}, exempt=FACTORS),
    "scale_by_splus": Member(optimizers.scale_by_splus, SPLUS, exempt=FACTORS | TURNS),
    "shampoo:modern": Member(
        optimizers.shampoo,
        RATE | AVERAGED | LATE,
        {"block_size": 12, "grafting": LINK, "nesterov": True},
        exempt=FACTORS,
    ),
    "splus": Member(optimizers.splus, RATE | SPLUS | MEAN, exempt=FACTORS | TURNS),
}

PAIRS = {}
