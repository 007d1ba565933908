"""Muon.

torch and pytorch-optimizer iterate in bfloat16 whatever the parameters are. Here they are made to
iterate in the dtype of the parameters, so that more than two digits can be compared. In these
packages the first axis of a weight is its output.
"""

from contextlib import ExitStack
from functools import partial
from unittest import mock

import jaxopt_course as jc
from jaxopt_course.optimizers import MuonDimensionNumbers
from tests.oracles.rows import Row, of_torch


OUTPUTS_FIRST = MuonDimensionNumbers(1, 0)
QUINTICS = [  # of the paper's listing
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
]
POLAR_EXPRESS = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in QUINTICS]
TRANSPOSED = "; the first axis is the output there"
NESTEROV = "not bias-corrected there, which changes the weights of the mean and the gradient"


def ours(**options):
    options = {"beta": 0.9, "eps": 0.0, "weight_decay": 0.1, "nesterov": False} | options
    return jc.muon(0.02, **options, muon_weight_dimension_numbers=OUTPUTS_FIRST)


def torch_muon(leaves, **options):
    import torch

    given = {"momentum": 0.9, "weight_decay": 0.1, "nesterov": False, "eps": 0.0} | options
    return torch.optim.Muon(leaves, lr=0.02, **given)


def pytorch_optimizer_muon(leaves, **options):
    import pytorch_optimizer

    group = {"params": leaves, "use_muon": True}
    given = {"momentum": 0.9, "weight_decay": 0.1, "nesterov": False} | options
    return pytorch_optimizer.Muon([group], lr=0.02, foreach=False, **given)


def emerging_muon(leaves, **options):
    from emerging_optimizers.orthogonalized_optimizers import Muon

    given = {"momentum": 0.9, "weight_decay": 0.1, "coefficient_type": "simple"} | options
    exact = {"fp32_matmul_prec": "highest", "scale_mode": "shape_scaling"}
    return Muon(leaves, lr=0.02, **given, **exact)


def wide(build):
    """``of_torch`` in float64, where the package has bfloat16."""

    def points(start, gradients):
        import torch
        from pytorch_optimizer.optimizer.muon import base

        name = "zero_power_via_newton_schulz_5"
        iteration = partial(getattr(base, name), dtype=torch.float64, eps=0.0)
        with ExitStack() as patches:
            patches.enter_context(mock.patch.object(torch, "bfloat16", torch.float64))
            patches.enter_context(mock.patch.object(base, name, iteration))
            return of_torch(build)(start, gradients)

    return points


ROWS = {
    "muon": Row(
        "torch",
        ours,
        wide(torch_muon),
        bound=2e-14,
        note="iterated in float64, not bfloat16" + TRANSPOSED,
    ),
    "muon_dion": Row(
        "emerging-optimizers",
        partial(ours, ns_coeffs="dion"),
        of_torch(partial(emerging_muon, coefficient_type="quintic"), "float32"),
        bound=5e-6,
        dtype="float32",
        note="five steps amplify float32's rounding" + TRANSPOSED,
    ),
    "muon_nesterov": Row(
        "torch",
        partial(ours, nesterov=True),
        wide(partial(torch_muon, nesterov=True)),
        bound=0.3,
        note="the mean under Nesterov is " + NESTEROV,
    ),
    "muon_polar_express": Row(
        "pytorch_optimizer",
        partial(ours, ns_coeffs="polar_express", ns_steps=6),
        wide(partial(pytorch_optimizer_muon, ns_coeffs=POLAR_EXPRESS, ns_steps=6)),
        bound=2e-14,
        note="given these coefficients, as its own are for another cushion; iterated in float64",
    ),
    "muon_polar_express_rounded": Row(
        "emerging-optimizers",
        partial(ours, ns_coeffs="polar_express", ns_steps=6),
        of_torch(
            partial(emerging_muon, coefficient_type="polar_express", num_ns_steps=6), "float32"
        ),
        bound=5e-5,
        dtype="float32",
        note="its coefficients are rounded to 4 decimals" + TRANSPOSED,
    ),
    "muon_standard": Row(
        "pytorch_optimizer",
        ours,
        wide(pytorch_optimizer_muon),
        bound=2e-14,
        note="iterated in float64, not bfloat16" + TRANSPOSED,
    ),
}
