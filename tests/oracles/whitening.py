"""Shampoo, in its forms of 2018 and of today, SPlus and PSGD Kron."""

import numpy as np

import jaxopt_course as jc
from jaxopt_course.optimizers import scale_by_rms
from jaxopt_course.transforms import identity
from tests.oracles.rows import SHAPES, STEPS, Row, of_torch


def shampoo(leaves):
    from pytorch_optimizer import Shampoo

    return Shampoo(leaves, lr=0.1, weight_decay=0.1, weight_decouple=True, matrix_eps=1e-3)


def modern(leaves):
    from pytorch_optimizer import ScalableShampoo

    return ScalableShampoo(
        leaves,
        betas=(0.9, 0.95),
        matrix_eps=1e-6,
        graft_type=3,
        start_preconditioning_step=1,
        **MODERN,
    )


def late(leaves):
    from pytorch_optimizer import ScalableShampoo

    return ScalableShampoo(
        leaves,
        betas=(0.0, 0.95),
        matrix_eps=1e-3,
        graft_type=1,
        inverse_exponent_override=2,
        **MODERN,
        start_preconditioning_step=6,
    )


def splus(leaves):
    from pytorch_optimizer import SPlus

    return SPlus(leaves, lr=0.1, betas=(0.9, 0.95), weight_decay=0.0, inverse_steps=5)


def psgd(start, gradients):
    """With the normal numbers that are drawn here, and without its random rescalings."""
    from unittest import mock

    import jax
    import jax.numpy as jnp
    import optax._src

    optax._src.clipping = optax  # which it imports, does not use, and newer versions lack
    from psgd_jax.kron import kron

    jax.config.update("jax_enable_x64", True)
    tx = kron(0.1, 0.8, 0.1, None, 0.4, 6, preconditioner_lr=0.2, preconditioner_init_scale=0.7)

    @jax.jit
    def step(params, state, grads, key):
        key, now = jax.random.split(key)
        leaves = jax.tree.leaves(params)
        pairs = zip(jax.random.split(now, len(leaves)), leaves, strict=True)
        drawn = {x.shape: jax.random.normal(own, x.shape, x.dtype) for own, x in pairs}
        with (
            mock.patch.object(jax.random, "normal", lambda key, shape, dtype: drawn[shape]),
            mock.patch.object(jax.random, "uniform", return_value=jnp.ones(())),
        ):
            updates, state = tx.update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state, key

    params, key, found = jax.tree.map(jnp.asarray, start), jax.random.key(0), []
    state = tx.init(params)
    for t in range(STEPS):
        params, state, key = step(params, state, {n: g[t] for n, g in gradients.items()}, key)
        found.append(jax.tree.map(np.asarray, params))
    return found


MODERN = {
    "lr": 0.01,
    "weight_decay": 0.1,
    "decoupled_weight_decay": True,
    "preconditioning_compute_steps": 1,
    "block_size": 4,
    "shape_interpretation": False,
    "use_svd": True,
}
OURS = {"b2": 0.95, "block_size": 4, "weight_decay": 0.1}

# Above the largest distances that were seen, 1.4e-14, 1e-12 and 1.3e-14, by the rounding of other
# builds of LAPACK. Those of SPlus are the rounding of its decompositions in float32, 4.3e-7;
# that of PSGD is its damping, a root in float32, 6.3e-12.
ROWS = {
    "psgd_kron": Row(
        "psgd-jax",
        lambda: jc.psgd_kron(0.1, 0.8, 0.1, None, 0.4, 0.2, 0.7, 6, key=0),
        psgd,
        bound=1e-11,
        note="with the random numbers drawn here, without its random rescalings of the factors, "
        "which leave their product as it is",
        shapes={**SHAPES, "cube": (3, 2, 4), "scalar": (), "vector": (5,)},
    ),
    "shampoo": Row(
        "pytorch-optimizer",
        lambda: jc.shampoo(0.1, 1e-3, weight_decay=0.1),
        of_torch(shampoo),
        bound=1e-13,
    ),
    "shampoo_modern": Row(
        "pytorch-optimizer",
        lambda: jc.shampoo(
            0.01,
            1e-6,
            grafting=scale_by_rms(0.95, 1e-10, eps_in_sqrt=False),
            momentum=0.9,
            nesterov=True,
            **OURS,
        ),
        of_torch(modern),
        bound=1e-11,
        note="its ScalableShampoo with roots by SVD, in blocks, grafted on RMSProp",
    ),
    "shampoo_late": Row(
        "pytorch-optimizer",
        lambda: jc.shampoo(
            0.01, 1e-3, exponent=0.5, grafting=identity(), start_preconditioning_step=5, **OURS
        ),
        of_torch(late),
        bound=1e-13,
        note="its ScalableShampoo with exponent 1/2 from step 6; with momentum it keeps a sum for "
        "each of the two phases, and we keep one for both",
    ),
    "splus": Row(
        "pytorch-optimizer",
        lambda: jc.splus(0.1, b2=0.95, inverse_every=5, weight_decay=0.0),
        of_torch(splus),
        bound=5e-7,
        note="its bases are in float32; it decays the parameters after the step, we before",
        shapes={"square": (6, 6), "tall": (4, 3), "wide": (3, 4)},
    ),
}
