"""Optimizers that average iterates, or find their own learning rate."""

import jax.numpy as jnp
import optax

from jaxopt_course import optimizers
from tests.catalogue.member import ADAM, ORDER, RATE, Member, decay, matrices


FREE = {"b1": 0.85, "weight_lr_power": 1.7}
DECAYS = {"b1": 0.9, "b2": 0.97}
DISTANCE = {"eps": 1e-3, "estim_lr0": 0.02, "weight_decay": 0.1}
PRODIGY = DISTANCE | {"beta3": 0.98, "estim_lr_coef": 0.9}
MIX = ADAM | {"b3": 0.97, "alpha": 3.0}
SIMPLE_MIX = ADAM | {"alpha": 3.0}
ADOPT = {"b1": 0.9, "b2": 0.97, "eps": 1e-3}
MADGRAD = RATE | {"momentum": 0.8, "eps": 1e-3}
MARS = ADAM | {"gamma": 0.3}
HEURISTIC = {"init_step": ("heuristic", 0.05)}


def with_betas(factory):
    """``factory`` with its pair of decays as two numbers."""
    return lambda b1, b2, **others: factory(betas=(b1, b2), **others)


def with_first_step(factory, kind):
    """``factory`` with the number of its first step as an argument."""
    return lambda size, **others: factory(init_step=(kind, size), **others)


MEMBERS = {
    "ademamix": Member(optimizers.ademamix, RATE | MIX | {"weight_decay": 0.1}),
    "ademamix:scheduled": Member(
        optimizers.ademamix,
        RATE | ADAM | {"weight_decay": 0.1},
        {"b3": lambda t: 1 - 1 / (2 * t + 2), "alpha": decay, "mask": matrices},
    ),
    "adopt": Member(optimizers.adopt, RATE | ADOPT, exempt=ORDER),
    "adopt:nesterov": Member(
        optimizers.adopt,
        RATE | ADOPT | {"weight_decay": 0.1},
        {"nesterov": True, "use_clipping": False},
    ),
    "dadapt_adamw": Member(optimizers.dadapt_adamw, {"learning_rate": 0.9} | DISTANCE),
    "dadapt_adamw:betas": Member(
        with_betas(optimizers.dadapt_adamw), {"learning_rate": 0.9} | DECAYS | DISTANCE
    ),
    "dog": Member(
        optimizers.dog, {"learning_rate": 0.9, "eps": 1e-3, "weight_decay": 0.1}, HEURISTIC
    ),
    "dog:masked": Member(
        optimizers.dog, {"learning_rate": 0.9, "weight_decay": 0.1}, HEURISTIC | {"mask": matrices}
    ),
    "dowg": Member(
        optimizers.dowg,
        {"learning_rate": 0.9, "init_estim_sq_dist": 0.01, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "madgrad": Member(optimizers.madgrad, MADGRAD | {"weight_decay": 0.1}),
    "mars": Member(optimizers.mars, RATE | MARS | {"weight_decay": 0.1}),
    "mars:masked": Member(optimizers.mars, RATE | MARS | {"weight_decay": 0.1}, {"mask": matrices}),
    "prodigy": Member(optimizers.prodigy, {"learning_rate": 0.9} | PRODIGY),
    "prodigy:betas": Member(
        with_betas(optimizers.prodigy),
        {"learning_rate": 0.9} | DECAYS | DISTANCE,
        {"safeguard_warmup": True},
    ),
    "scale_by_ademamix": Member(optimizers.scale_by_ademamix, MIX),
    "scale_by_adopt": Member(optimizers.scale_by_adopt, ADOPT, exempt=ORDER),
    "scale_by_dog": Member(
        with_first_step(optimizers.scale_by_dog, "distance"), {"size": 0.1, "eps": 1e-3}
    ),
    "scale_by_dog:learning rate": Member(
        with_first_step(optimizers.scale_by_dog, "learning_rate"), {"size": 0.1, "eps": 1e-3}
    ),
    "scale_by_dog:heuristic": Member(
        with_first_step(optimizers.scale_by_dog, "heuristic"), {"size": 0.1, "eps": 1e-3}
    ),
    "scale_by_dowg": Member(optimizers.scale_by_dowg, {"init_estim_sq_dist": 0.01, "eps": 1e-3}),
    "scale_by_dowg:from eps": Member(optimizers.scale_by_dowg, {"eps": 1e-3}),
    "scale_by_madgrad": Member(optimizers.scale_by_madgrad, MADGRAD),
    "scale_by_mars": Member(optimizers.scale_by_mars, MARS),
    "scale_by_simplified_ademamix": Member(optimizers.scale_by_simplified_ademamix, SIMPLE_MIX),
    "schedule_free": Member(
        optimizers.schedule_free, RATE | FREE, {"base_optimizer": optimizers.sgd(decay)}
    ),
    "schedule_free_adamw": Member(
        optimizers.schedule_free_adamw,
        RATE | FREE | {"warmup_steps": 5.5, "b2": 0.97, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "schedule_free_sgd": Member(
        optimizers.schedule_free_sgd, RATE | FREE | {"warmup_steps": 5.5, "weight_decay": 0.1}
    ),
    "schedule_free_sgd:bfloat16 iterates": Member(
        optimizers.schedule_free_sgd,
        RATE | FREE,
        {"state_dtype": jnp.bfloat16},
        exempt={
            "meta_gradient": "iterates rounded to bfloat16 are a staircase",
            "wide": "asked for",
            "complex": "bfloat16 is real",
        },
        rtol=1e-5,  # a last bit decides to which bfloat16 an iterate is rounded
    ),
    "simplified_ademamix": Member(
        optimizers.simplified_ademamix, RATE | SIMPLE_MIX | {"weight_decay": 0.1}
    ),
    "simplified_ademamix:masked": Member(
        optimizers.simplified_ademamix,
        RATE | SIMPLE_MIX | {"weight_decay": 0.1},
        {"mask": matrices},
    ),
}

# Not MADGRAD: optax takes the root of its step count in float32.
PAIRS = {
    "ademamix": [
        (0.1,),
        (decay, 0.8, 0.95, 0.99, 2.0, 1e-3, 1e-4, None, 0.1),
        {"learning_rate": 0.1, "b3": lambda t: 0.9 + 0.001 * t / 3, "alpha": decay},
    ],
    "adopt": [
        (0.1,),
        (decay, 0.8, 0.95, 1e-3),
        {"learning_rate": 0.1, "nesterov": True, "use_clipping": False},
        {"learning_rate": 0.1, "clip_value_fn": lambda x: 0.3 * x**0.1},
    ],
    "dadapt_adamw": [(), (decay, (0.8, 0.95), 1e-3, 1e-3, 0.1), {"estim_lr0": 10.0}],
    "dog": [
        (),
        (decay, ("distance", 0.1), 1e-3, 0.1, matrices),
        (0.5, ("learning_rate", 0.01)),
        (1.0, ("heuristic", 0.1)),
    ],
    "dowg": [(), (decay, 0.1, 1e-3, 0.1, matrices), {"eps": 1e-2}],
    "prodigy": [
        (),
        (decay, (0.8, 0.95), 0.9, 1e-3, 1e-3, 0.8, 0.1),
        {"estim_lr0": 1.0, "safeguard_warmup": True},
    ],
    "scale_by_ademamix": [()],
    "scale_by_adopt": [()],
    "scale_by_simplified_ademamix": [()],
    "schedule_free": [
        (optax.sgd(0.1), 0.1),
        (optax.adamw(0.1, b1=0.0, weight_decay=0.1), 0.1, 0.5, 1.0),
    ],
    "schedule_free_adamw": [(0.1,), (0.1, None, 0.8, 0.95, 1e-3, 0.1, 1.0)],
    "schedule_free_sgd": [(), (0.1, None, 0.8, 0.1, 0.0)],
    "simplified_ademamix": [
        (decay, 0.8, 0.9, 2.0, 1e-3, 1e-4, 0.1),
        (0.1,),
        {"learning_rate": 0.1, "alpha": decay},
    ],
}
