"""Muon."""

import jaxopt_course as jc
from tests.oracles.rows import Row, of_torch


def torch_muon(leaves):
    import torch

    return torch.optim.Muon(leaves, lr=0.02, momentum=0.9, weight_decay=0.1, nesterov=True)


ROWS = {
    "muon": Row(
        "torch",
        lambda: jc.muon(0.02, beta=0.9, weight_decay=0.1),
        of_torch(torch_muon, "float32"),
        bound=1.0,
        dtype="float32",
    ),
}
