"""Shampoo, in its forms of 2018 and of today, and SPlus."""

import jaxopt_course as jc
from jaxopt_course.optimizers import scale_by_rms
from jaxopt_course.transforms import identity
from tests.oracles.rows import Row, of_torch


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
# builds of LAPACK. Those of SPlus are the rounding of its decompositions in float32, 4.3e-7.
ROWS = {
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
