"""Methods of matrices that followed Muon: norms that are kept, neurons, logits, low rank."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course import optimizers, transforms
from tests.catalogue.matrix import on_matrices
from tests.catalogue.member import RATE, Member


MUON = {"beta": 0.9, "eps": 1e-3}
NEURONS = {"beta2": 0.8}
OTHERS = {
    "weight_decay": 0.1,
    "adam_b1": 0.8,
    "adam_b2": 0.95,
    "adam_weight_decay": 0.05,
    "adam_learning_rate": 0.05,
}
SCION = RATE | {"radius": 0.7, "beta": 0.87, "weight_decay": 0.3}
FACTORS = {"sharding": "a factor has an axis of the params, and one of its own"}
BY_NEURON = {"sharding": "one number for each neuron"}


def one_head(path, leaf):
    """Every matrix is a query and every vector a key, of one layer with one head."""
    return ("", "query" if jnp.ndim(leaf) == 2 else "key", -1) if jnp.ndim(leaf) else None


def large_logits(updates, params):
    has_heads = any(map(jnp.ndim, jax.tree.leaves(updates)))
    return {"max_logits": {"": np.array([230.0], np.float32)} if has_heads else {}}


MEMBERS = {
    "dion": Member(
        optimizers.dion,
        RATE | OTHERS | {"beta": 0.9, "adam_eps": 1e-3},
        {"rank": 2},
        exempt=FACTORS,
    ),
    "hyperball": Member(transforms.hyperball, RATE, {"inner": optimizers.sgd(0.1, 0.9)}),
    "normuon": Member(
        optimizers.normuon,
        RATE | MUON | NEURONS | OTHERS | {"consistent_rms": 0.2},
        exempt=BY_NEURON,
    ),
    "qk_clip": Member(
        transforms.qk_clip,
        {"threshold": 200.0, "alpha": 0.3},
        {"heads_of": one_head},
        offers=large_logits,
    ),
    "scale_by_dion": Member(
        on_matrices(optimizers.scale_by_dion), {"beta": 0.9}, {"rank": 2}, exempt=FACTORS
    ),
    "scale_by_normuon": Member(
        on_matrices(optimizers.scale_by_normuon),
        MUON | NEURONS,
        exempt=BY_NEURON,
    ),
    "scion": Member(optimizers.scion, SCION),
    "scion:embedding": Member(optimizers.scion, SCION, {"norm": "embedding"}),
    "scion:sign": Member(optimizers.scion, SCION, {"norm": "sign"}),
}

PAIRS = {}
