"""Methods that the library had before it was compared with other packages."""

from unittest import mock

import jaxopt_course as jc
from tests.oracles.rows import Row, of_torch


def of_pytorch_optimizer(name, dtype="float64", **options):
    """``theirs`` of a class of pytorch-optimizer."""

    def build(leaves):
        import pytorch_optimizer

        return getattr(pytorch_optimizer, name)(leaves, **options)

    return of_torch(build, dtype)


def of_schedulefree(name, **options):
    """``theirs`` of a class of schedulefree; the parameters are the points of the gradients."""

    def build(leaves):
        import schedulefree

        optimizer = getattr(schedulefree, name)(leaves, **options)
        optimizer.train()
        return optimizer

    return of_torch(build)


def unsorted_soap(start, gradients):
    """SOAP without its sorting of eigenvectors, which the paper's algorithm does not have."""
    import torch

    options = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 0.0, "weight_decay": 0.0}
    run = of_pytorch_optimizer("SOAP", precondition_frequency=7, **options)
    with mock.patch("torch.argsort", lambda values, **_: torch.arange(len(values))):
        return run(start, gradients)


# Measured are 2e-15 to 3e-14, of rounding errors that differ between CPUs.
ROUNDING = 1e-13

ROWS = {
    "ademamix": Row(
        "pytorch-optimizer",
        lambda: jc.ademamix(0.02, 0.8, 0.99, 0.995, 4.0, 1e-3, weight_decay=0.1),
        of_pytorch_optimizer(
            "AdEMAMix",
            lr=0.02,
            betas=(0.8, 0.99, 0.995),
            alpha=4.0,
            eps=1e-3,
            weight_decay=0.1,
            weight_decouple=True,
        ),
        bound=ROUNDING,
        note="without the warmup of b3 and alpha",
    ),
    "adan": Row(
        "pytorch-optimizer",
        lambda: jc.adan(0.02, 0.9, 0.8, 0.95, 1e-3, 0.0, 0.1, as_published=True),
        of_pytorch_optimizer(
            "Adan",
            lr=0.02,
            betas=(0.9, 0.8, 0.95),
            eps=1e-3,
            weight_decay=0.1,
            weight_decouple=True,
        ),
        bound=ROUNDING,
        note="`as_published`, without `eps_root`; decoupled decay in place of the paper's division",
    ),
    "lion": Row(
        "pytorch-optimizer",
        lambda: jc.lion(0.02, 0.8, 0.95, weight_decay=0.1),
        of_pytorch_optimizer("Lion", lr=0.02, betas=(0.8, 0.95), weight_decay=0.1),
        bound=ROUNDING,
    ),
    "mars": Row(
        "pytorch-optimizer",
        lambda: jc.mars(0.02, 0.8, 0.95, 0.0, gamma=0.1, weight_decay=0.1),
        of_pytorch_optimizer(
            "MARS", lr=0.02, betas=(0.8, 0.95), eps=0.0, gamma=0.1, weight_decay=0.1
        ),
        bound=2e-10,
        note="one leaf, because the package clips each by itself, as the authors' code; `eps` 0, "
        "which the package adds before the bias correction; it adds 1e-15 to second moments",
        shapes={"tall": (8, 3)},
    ),
    "prodigy": Row(
        "pytorch-optimizer",
        lambda: jc.prodigy(0.7, (0.8, 0.95), 0.9, 1e-3, 1e-2, 1.5, 0.1),
        of_pytorch_optimizer(
            "Prodigy",
            lr=0.7,
            betas=(0.8, 0.95),
            beta3=0.9,
            eps=1e-3,
            d0=1e-2,
            d_coef=1.5,
            weight_decay=0.1,
            bias_correction=True,
        ),
        bound=ROUNDING,
        note="with the bias correction, which the package leaves out by default",
    ),
    "schedule_free_adamw": Row(
        "schedulefree",
        lambda: jc.schedule_free_adamw(0.02, None, 0.8, 0.95, 1e-3, 0.1),
        of_schedulefree(
            "AdamWScheduleFree", lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1
        ),
        bound=ROUNDING,
        note="without warmup",
    ),
    "schedule_free_sgd": Row(
        "schedulefree",
        lambda: jc.schedule_free_sgd(0.02, None, 0.8, 0.1),
        of_schedulefree("SGDScheduleFree", lr=0.02, momentum=0.8, weight_decay=0.1),
        bound=ROUNDING,
        note="without warmup",
    ),
    "soap": Row(
        "pytorch-optimizer",
        lambda: jc.soap(0.01, 0.9, 0.95, 0.0, 0.0, precondition_frequency=7),
        unsorted_soap,
        bound=3e-7,
        note="the package's bases are of float32, and its sorting of eigenvectors by eigenvalue, "
        "which algorithm 4 does not have, is left out; square matrices, whose first factors have "
        "no null space",
        shapes={"square": (6, 6), "small": (3, 3)},
    ),
}
