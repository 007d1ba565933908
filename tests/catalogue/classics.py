"""The course's own optimizers, and their near relatives."""

import jax.numpy as jnp

from jaxopt_course import optimizers
from tests.catalogue.member import (
    ADAM,
    DELTA,
    LION,
    RATE,
    RMS,
    RPROP,
    RSS,
    SIGNS,
    Member,
    decay,
    matrices,
)


DECAY = {"weight_decay": 0.1}

MEMBERS = {
    "adagrad": Member(optimizers.adagrad, RATE | RSS),
    "adagrad:eps outside": Member(optimizers.adagrad, RATE | RSS | DECAY, {"eps_in_sqrt": False}),
    "adam": Member(optimizers.adam, RATE | ADAM),
    "adam:nesterov": Member(optimizers.adam, RATE | ADAM, {"nesterov": True}),
    "adam:biased": Member(optimizers.adam, RATE | ADAM, {"bias_correction": False}),
    "adam:bfloat16 mean": Member(
        optimizers.adam,
        RATE | ADAM,
        {"mu_dtype": jnp.bfloat16},
        exempt={
            "wide": "asked for",
            "meta_gradient": "a mean rounded to bfloat16 is a staircase",
            "complex": "bfloat16 is real",
        },
        rtol=1e-5,  # a last bit decides to which bfloat16 the mean is rounded
    ),
    "adamw": Member(optimizers.adamw, RATE | ADAM | {"weight_decay": 0.1}),
    "adamw:masked": Member(
        optimizers.adamw, RATE | ADAM | {"weight_decay": 0.1}, {"mask": matrices}
    ),
    "amsgrad": Member(optimizers.amsgrad, RATE | ADAM | DECAY),
    "delta_bar_delta": Member(optimizers.delta_bar_delta, RATE | DELTA, exempt=SIGNS),
    "ema_sgd": Member(optimizers.ema_sgd, RATE | {"momentum": 0.9}),
    "heavy_ball": Member(optimizers.heavy_ball, RATE | {"momentum": 0.9}),
    "lion": Member(optimizers.lion, RATE | LION | {"weight_decay": 0.1}),
    "nesterov": Member(optimizers.nesterov, RATE | {"momentum": 0.9}),
    "rmsprop": Member(optimizers.rmsprop, RATE | RMS | {"momentum": 0.9}),
    "rmsprop:plain": Member(optimizers.rmsprop, RATE | RMS | DECAY, {"eps_in_sqrt": False}),
    "rmsprop:first gradient": Member(optimizers.rmsprop, RATE | RMS, {"from_first_gradient": True}),
    "rmsprop:centered": Member(
        optimizers.rmsprop,
        RATE | RMS | DECAY | {"momentum": 0.9},
        {"centered": True, "nesterov": True, "bias_correction": True},
    ),
    "rprop": Member(optimizers.rprop, RPROP, exempt=SIGNS),
    "scale_by_adam": Member(optimizers.scale_by_adam, ADAM),
    "scale_by_amsgrad": Member(optimizers.scale_by_amsgrad, ADAM),
    "scale_by_delta_bar_delta": Member(optimizers.scale_by_delta_bar_delta, DELTA, exempt=SIGNS),
    "scale_by_lion": Member(optimizers.scale_by_lion, LION),
    "scale_by_rms": Member(optimizers.scale_by_rms, RMS),
    "scale_by_rprop": Member(optimizers.scale_by_rprop, RPROP, exempt=SIGNS),
    "scale_by_rss": Member(optimizers.scale_by_rss, RSS),
    "scale_by_sign": Member(optimizers.scale_by_sign),
    "scale_by_stddev": Member(optimizers.scale_by_stddev, RMS),
    "sgd": Member(optimizers.sgd, RATE | {"momentum": 0.9}),
    "sgd:plain": Member(optimizers.sgd, RATE),
    "sgd:nesterov": Member(optimizers.sgd, RATE | DECAY | {"momentum": 0.9}, {"nesterov": True}),
    "sign_sgd": Member(optimizers.sign_sgd, RATE),
    "signum": Member(optimizers.signum, RATE | {"beta": 0.9}),
    "trace_lookahead": Member(optimizers.trace_lookahead, {"momentum": 0.9}),
}

PAIRS = {
    "sgd": [(0.1,), (0.1, 0.9), (0.1, 0.9, True), (decay, 0.9)],
    "adagrad": [(0.1,), (0.1, 0.0, 1e-8)],
    "rmsprop": [
        (0.1,),
        (0.1, 0.99, 1e-6, 0.5, False),
        (0.1, 0.9, 1e-8, 0.0, True, True),
        (0.1, 0.9, 1e-6, 1.0, False, True, 0.9, True, True),
        (decay, 0.9, 1e-8, 0.0, True, False, 0.9, False, True),
    ],
    "adam": [(0.1,), (decay, 0.8, 0.95, 1e-3, 1e-4)],
    "adamw": [(0.1,), (decay, 0.9, 0.999, 1e-8, 0.0, None, 0.1)],
    "amsgrad": [(0.1,), (0.1, 0.8, 0.95, 1e-3, 1e-4, None, False, False)],
    "lion": [(0.1,), (decay, 0.8, 0.95, None, 0.1)],
    "sign_sgd": [(0.1,)],
    "signum": [(0.1, 0.8)],
    "scale_by_adam": [()],
    "scale_by_rms": [()],
    "scale_by_rss": [()],
    "scale_by_stddev": [()],
}
