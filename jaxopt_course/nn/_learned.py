"""The factor and the addend by feature that a normalization learns, where it does."""

from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array


def learned(module: Any, name: Literal["scale", "bias"], x: Array) -> Array | None:
    """The parameter ``name`` of ``module``, one entry a feature of ``x``; None if it has none."""
    if not getattr(module, f"use_{name}"):
        return None
    start = {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}[name]
    return module.param(name, start, x.shape[-1:], module.param_dtype)
