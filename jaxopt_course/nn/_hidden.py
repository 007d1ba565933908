"""The hidden layer of the models, and the checks of their fields.

    affine map -> [normalization] -> activation -> [normalization] -> [dropout]

with at most one normalization. The affine map has no bias directly before a batch normalization,
because the batch mean would subtract it: its gradient would be pure rounding noise, which Adam
amplifies.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.activations import activation
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._batch_norm import BatchNorm
from ._dropout import Dropout
from ._layer_norm import LayerNorm
from ._shared import promote_dtype


SATURATING = ("sigmoid", "tanh")  # activations with slope 0 at both ends


def hidden_layer(
    model: Any,
    affine: Callable[[Any, int, bool], nn.Module],
    width: int,
    rate: ScalarLike | None,
    x: Array,
    train: bool,
    mask: Array | None,
) -> Array:
    """A hidden layer of ``model``, whose submodules get their names there."""
    position = model.normalization and model.normalization_position
    x = affine(model, width, (model.normalization, position) != ("batch", "before"))(x)
    if position == "before":
        x = normalized(model, x, train, mask)
    x = activated(model, x)
    if position == "after":
        x = normalized(model, x, train, mask)
    model.sow("intermediates", "hidden", x)
    return x if rate is None else Dropout(rate)(x, train)


def dense(model: Any, width: int, use_bias: bool = True) -> nn.Dense:
    """An affine map with the initializer and the dtypes of ``model``."""
    return nn.Dense(width, use_bias, **_fields(model))


def convolution(model: Any, width: int, use_bias: bool) -> nn.Conv:
    """A convolution of 3 x 3 with the initializer and the dtypes of ``model``."""
    return nn.Conv(width, kernel_size=(3, 3), use_bias=use_bias, **_fields(model))


def _fields(model: Any) -> dict[str, Any]:
    dtypes = {"dtype": model.dtype, "param_dtype": model.param_dtype}
    return dtypes | {"kernel_init": initializer(model.kernel_init), "promote_dtype": promote_dtype}


def activated(model: Any, x: Array) -> Array:
    """Apply the activation of ``model``, and sow its slope if it is one that saturates.

    The slope a'(x) is given relative to the largest slope of the activation.
    """
    act = activation(model.activation)
    if model.activation in SATURATING and model.is_mutable_collection("intermediates"):
        slope = lambda x: jax.jvp(act, (x,), (jnp.ones_like(x),))[1]
        model.sow("intermediates", "slope", slope(x) / slope(jnp.zeros((), x.dtype)))
    return act(x)


def normalized(model: Any, x: Array, train: bool, mask: Array | None) -> Array:
    """Apply the normalization of ``model``, if it has one."""
    if model.normalization == "batch":
        norm = BatchNorm(model.batch_momentum, param_dtype=model.param_dtype)
        return norm(x, train, mask)
    return LayerNorm(param_dtype=model.param_dtype)(x) if model.normalization else x


def check_model(model: Any, **widths: Sequence[int]) -> None:
    """Raise unless the fields that the models have in common are valid."""
    owner = type(model).__name__
    checks.integer(owner, "outputs", model.outputs, "[1, inf)")
    for name, values in widths.items():
        if not isinstance(values, Iterable):
            rule = "must be a sequence of ints in [1, inf), one for each layer"
            raise TypeError(f"{owner}: `{name}` {rule}, got {checks.shown(values)}.")
        for value in values:
            checks.integer(owner, name, value, "[1, inf)")
    activation(model.activation)
    initializer(model.kernel_init)
    if model.normalization is not None:
        checks.choice(owner, "normalization", model.normalization, ("batch", "layer"))
    position = getattr(model, "normalization_position", "before")
    checks.choice(owner, "normalization_position", position, ("before", "after"))
    checks.number(owner, "batch_momentum", model.batch_momentum, "[0, 1]")


def dropout_rates(model: Any, layers: int) -> list[ScalarLike | None]:
    """The checked dropout rate of each hidden layer; None for layers without dropout."""
    owner, dropout = type(model).__name__, model.dropout
    if dropout is None:
        return [None] * layers
    rates = list(dropout) if isinstance(dropout, Sequence) else [dropout] * layers
    if len(rates) != layers:
        raise ValueError(
            f"{owner}: `dropout` must be one number, or one for each of the {layers} hidden "
            f"layers, got {len(rates)}."
        )
    for rate in rates:
        checks.number(owner, "dropout", rate, "[0, 1)")
    return rates
