"""Optimizers that treat a weight as a matrix, and estimates of curvature."""

import jax
import jax.numpy as jnp
import optax

from jaxopt_course import optimizers
from jaxopt_course.transforms import chain, masked, normalize
from tests.catalogue.member import ADAM, ORDER, RATE, Member, decay, offers


MUON = {"beta": 0.9, "eps": 1e-3}
MUON_ADAM = {
    "adam_b1": 0.8,
    "adam_b2": 0.95,
    "adam_eps_root": 1e-3,
    "adam_weight_decay": 0.05,
    "adam_learning_rate": 0.05,
}
SHAMPOO = {"eps": 1e-2, "preconditioning_period": 2.0}
SOAP = {"b1": 0.9, "b2": 0.9, "eps": 1e-3, "precondition_frequency": 3.0}
SOPHIA = {
    "b1": 0.9,
    "b2": 0.9,
    "eps": 0.1,
    "gamma": 0.5,
    "clip_threshold": 0.7,
    "update_interval": 3.0,
    "print_win_rate_every_n_steps": 5.0,
}
FACTORS = {"sharding": "a factor has an axis of the params twice, or is summed over the others"}
TURNS = {"meta_gradient": "derivatives take the eigenbasis as constant, as the algorithm does"}
A_KEY = {"tree_map_params": "a raw key is an array that is no copy of params", "sharding": "a key"}


def on_matrices(factory):
    """For links that know matrices only."""

    def build(**numbers):
        return masked(factory(**numbers), lambda tree: jax.tree.map(lambda x: x.ndim == 2, tree))

    return build


def sharpness_aware(learning_rate, rho, momentum, **options):
    climb = chain(normalize(), optimizers.sgd(rho))
    return optimizers.sam(optimizers.sgd(learning_rate, momentum), climb, **options)


SHARP = RATE | {"rho": 0.05, "momentum": 0.9}

MEMBERS = {
    "adam_mini": Member(
        optimizers.adam_mini,
        RATE | ADAM | {"weight_decay": 0.1},
        exempt={"sharding": "one number for a block of several rows"},
    ),
    "hutchinson_estimator_diag_hessian": Member(
        optimizers.hutchinson_estimator_diag_hessian, exempt=A_KEY, offers=offers
    ),
    "muon": Member(optimizers.muon, RATE | MUON | MUON_ADAM | {"weight_decay": 0.1}),
    "muon:adaptive, consistent": Member(
        optimizers.muon,
        RATE | MUON | {"consistent_rms": 0.2},
        {"adaptive": True, "nesterov": False, "ns_coeffs": "dion", "preconditioning": "schatten"},
    ),
    "muon:aol": Member(optimizers.muon, RATE | MUON, {"preconditioning": "aol"}),
    "muon:spectral": Member(optimizers.muon, RATE | MUON, {"preconditioning": "spectral"}),
    "sam": Member(sharpness_aware, SHARP),
    "sam:opaque": Member(sharpness_aware, SHARP, {"opaque_mode": True}, offers=offers),
    "scale_by_adam_mini": Member(
        optimizers.scale_by_adam_mini,
        ADAM,
        exempt={"sharding": "one number for a block of several rows"},
    ),
    "scale_by_muon": Member(on_matrices(optimizers.scale_by_muon), MUON),
    "scale_by_shampoo": Member(optimizers.scale_by_shampoo, SHAMPOO, exempt=FACTORS),
    "scale_by_shape": Member(on_matrices(optimizers.scale_by_shape), {"consistent_rms": 0.2}),
    "scale_by_soap": Member(optimizers.scale_by_soap, SOAP, exempt=FACTORS | TURNS),
    "scale_by_sophia": Member(
        optimizers.scale_by_sophia, SOPHIA, exempt=A_KEY | ORDER, offers=offers
    ),
    "shampoo": Member(optimizers.shampoo, RATE | SHAMPOO, exempt=FACTORS),
    "shampoo:diagonal": Member(
        optimizers.shampoo, RATE | SHAMPOO, {"max_precond_dim": 0}, exempt=FACTORS
    ),
    "soap": Member(optimizers.soap, RATE | SOAP | {"weight_decay": 0.1}, exempt=FACTORS | TURNS),
    "soap:unturned": Member(optimizers.soap, RATE | SOAP, {"max_precond_dim": 0}),
    "sophia": Member(
        optimizers.sophia,
        RATE | SOPHIA | {"weight_decay": 0.1},
        exempt=A_KEY | ORDER,
        offers=offers,
    ),
}

gradient_squared = optax.stateless(lambda updates, params: jax.tree.map(jnp.square, updates))

PAIRS = {
    "muon": [
        (0.1,),
        (decay, "dion", 5, 0.8, 1e-3, 0.1),
        {"learning_rate": 0.1, "nesterov": False, "adaptive": True, "ns_steps": 3},
        {"learning_rate": 0.1, "preconditioning": "aol", "consistent_rms": 0.2},
        {"learning_rate": 0.1, "preconditioning": "schatten", "adam_learning_rate": decay},
        {"learning_rate": 0.1, "preconditioning": "spectral", "adam_b1": 0.8, "adam_b2": 0.95},
        {"learning_rate": 0.1, "adam_eps_root": 1e-3, "adam_weight_decay": 0.1},
    ],
    "sophia": [
        {"learning_rate": 0.1, "hessian_diagonal_fn": gradient_squared},
        {
            "learning_rate": decay,
            "b1": 0.9,
            "b2": 0.8,
            "eps": 1e-3,
            "weight_decay": 0.1,
            "gamma": 0.5,
            "clip_threshold": None,
            "update_interval": 3,
            "hessian_diagonal_fn": gradient_squared,
        },
    ],
}
