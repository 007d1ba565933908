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


def unsorted_soap(start, gradients):
    """SOAP without its sorting of eigenvectors, which the paper's algorithm does not have."""
    import torch

    options = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 0.0, "weight_decay": 0.0}
    run = of_pytorch_optimizer("SOAP", precondition_frequency=7, **options)
    with mock.patch("torch.argsort", lambda values, **_: torch.arange(len(values))):
        return run(start, gradients)


ROWS = {
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
