"""What layers and models share: input checks, dtype promotion, and learned scales and biases."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes
from jax.nn.initializers import Initializer
from jaxtyping import Array


def check_rank(owner: str, x: Any, *shapes: str) -> None:
    """Raise unless the rank of ``x`` fits one of ``shapes``, such as ``"batch, height, ..."``."""
    rank = jnp.ndim(x)
    for shape in shapes:
        names = shape.split(", ")
        if rank == len(names) or (names[-1] == "..." and rank >= len(names) - 1):
            return
    allowed = " or ".join(f"[{shape}]" for shape in shapes)
    raise ValueError(f"{owner}: the input must have the shape {allowed}, got {jnp.shape(x)}.")


def check_by_feature(owner: str, features: int, **values: Array | None) -> None:
    """Raise unless each of ``values`` has one entry for each of the ``features``, or is None."""
    for name, value in values.items():
        if value is not None and jnp.shape(value) != (features,):
            raise ValueError(
                f"{owner}: `{name}` must have one entry for each of the {features} features, "
                f"got shape {jnp.shape(value)}."
            )


def as_tokens(owner: str, tokens: Any, vocabulary: int) -> Array:
    """``tokens`` as indices of an embedding, which returns NaN for one outside [0, vocabulary)."""
    tokens = jnp.asarray(tokens)
    check_rank(owner, tokens, "batch, length")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{owner}: tokens must be integers, got {tokens.dtype}.")
    # A negative index would count from the end.
    return jnp.where(tokens < 0, vocabulary, tokens.astype(int))


def promote_dtype(*arrays: Any, dtype: Any = None, inexact: bool = True) -> list[Any]:
    """Flax's function of this name, which also works while jax's own promotion is strict."""
    with jax.numpy_dtype_promotion("standard"):
        return dtypes.promote_dtype(*arrays, dtype=dtype, inexact=inexact)


def learned(
    module: Any,
    name: Literal["scale", "bias"],
    shape: tuple[int, ...],
    init: Initializer | None = None,
) -> Array | None:
    """The parameter ``name`` of a normalization layer, or None if the layer does not use it."""
    if not getattr(module, f"use_{name}"):
        return None
    start = init or {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}[name]
    return module.param(name, start, shape, module.param_dtype)
