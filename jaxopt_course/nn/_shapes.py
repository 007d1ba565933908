"""Checks of what a model or a layer is given: the number of axes, and one entry a feature."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def check_rank(owner: str, x: Any, *shapes: str) -> None:
    """Raise unless ``x`` has as many axes as one of ``shapes`` has names.

    Args:
        owner: the model or the layer, for the message.
        x: its input.
        shapes: such as ``"batch, height, width"``; an ending ``...`` stands for any axes.
    """
    rank = jnp.ndim(x)
    for shape in shapes:
        names = shape.split(", ")
        if rank == len(names) or (names[-1] == "..." and rank >= len(names) - 1):
            return
    allowed = " or ".join(f"[{shape}]" for shape in shapes)
    raise ValueError(f"{owner}: the input must have the shape {allowed}, got {jnp.shape(x)}.")


def check_by_feature(owner: str, x: Array, **values: Array | None) -> None:
    """Raise unless each of ``values`` has one entry for each feature of ``x``, or is None."""
    for name, value in values.items():
        if value is not None and jnp.shape(value) != x.shape[-1:]:
            raise ValueError(
                f"{owner}: `{name}` must have one entry for each of the {x.shape[-1]} features, "
                f"got shape {jnp.shape(value)}."
            )


def as_tokens(owner: str, tokens: Any, vocabulary: int) -> Array:
    """``tokens`` for an embedding, where one outside [0, vocabulary) is looked up as NaN.

    Raises:
        TypeError: if they are not integers.
        ValueError: if they do not have the shape [batch, length].
    """
    tokens = jnp.asarray(tokens)
    check_rank(owner, tokens, "batch, length")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{owner}: tokens must be integers, got {tokens.dtype}.")
    # A negative index would count from the end.
    return jnp.where(tokens < 0, vocabulary, tokens.astype(int))
