"""Feature scaling by the statistics of the training rows.

    scaled = (inputs - offset) / scale

with the mean and the (biased) standard deviation of each feature, or its minimum and range. The
statistics are computed on the host in float64. A constant feature has scale 1 and becomes 0.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from jaxopt_course.core import checks, numerics

from ._dataset import check_examples, check_features


# A smaller scale is 0 in float32.
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


class Scaler(NamedTuple):
    """A linear map of each feature, as a pytree of arrays.

    offset: mean or minimum of each feature.
    scale: standard deviation or range of each feature; never 0.
    """

    offset: Float[Array | np.ndarray, "*features"]
    scale: Float[Array | np.ndarray, "*features"]


def fit_scaler(inputs: Num[np.ndarray | Array, "n *features"], kind: str = "standard") -> Scaler:
    """The scaler of ``inputs``, which should be the training rows only.

    Args:
        inputs: finite inputs with examples on the first axis.
        kind: ``"standard"`` for mean 0 and variance 1, ``"min_max"`` for the range [0, 1].

    Examples:
        >>> import numpy as np
        >>> inputs = np.array([[1.0, 5.0], [3.0, 5.0]])
        >>> scale_features(fit_scaler(inputs), inputs)
        array([[-1.,  0.], [ 1.,  0.]])
    """
    checks.choice("fit_scaler", "kind", kind, ("standard", "min_max"))
    check_examples("fit_scaler", inputs, inputs)
    check_features("fit_scaler", inputs)
    exact = np.asarray(inputs, np.float64)
    low, high = exact.min(axis=0), exact.max(axis=0)
    if kind == "standard":
        # The computed mean of a constant feature may differ from its value by rounding.
        offset = np.where(low == high, low, exact.mean(axis=0))
        scale = exact.std(axis=0)
    else:
        offset, scale = low, high - low
    varies = (low < high) & (scale >= _SMALLEST_SCALE)
    return Scaler(offset=offset, scale=np.where(varies, scale, 1.0))


def scale_features(
    scaler: Scaler, inputs: Num[np.ndarray | Array, "*n"]
) -> Float[np.ndarray | Array, "*n"]:
    """``(inputs - offset) / scale``, in the dtype of ``inputs`` or, for integers, a float dtype.

    Args:
        scaler: from :func:`fit_scaler`.
        inputs: inputs with the features on the last axes.

    Raises:
        ValueError: if a scaled value that is not traced is NaN or infinite.
    """
    offset, scale, values = _wide("scale_features", scaler, inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = ((values - offset) / scale).astype(_float_dtype(inputs))
    if not checks.is_traced(scaled):
        check_features("scale_features", scaled)
    return scaled


def unscale_features(
    scaler: Scaler, scaled: Float[np.ndarray | Array, "*n"]
) -> Float[np.ndarray | Array, "*n"]:
    """``scaled * scale + offset``: the inverse of :func:`scale_features`."""
    offset, scale, values = _wide("unscale_features", scaler, scaled)
    return (values * scale + offset).astype(_float_dtype(scaled))


def _wide(
    owner: str, scaler: Scaler, inputs: Num[np.ndarray | Array, "*n"]
) -> tuple[Shaped[np.ndarray | Array, "*n"], ...]:
    """Offset, scale and inputs in one shape and dtype.

    The dtype is float64 on the host, where a large offset costs no digits, and on the device that
    of the inputs or float32.
    """
    features = scaler.offset.shape
    if inputs.shape[max(inputs.ndim - len(features), 0) :] != features:
        raise ValueError(
            f"{owner}: `scaler` was fitted to features of shape {features}, "
            f"got inputs of shape {inputs.shape}."
        )
    on_host = all(isinstance(x, np.ndarray) for x in (inputs, *scaler))
    dtype = np.float64 if on_host else numerics.wide_dtype(_float_dtype(inputs))
    numpy = np if on_host else jnp
    return tuple(
        numpy.broadcast_to(numpy.asarray(x, dtype), inputs.shape) for x in (*scaler, inputs)
    )


def _float_dtype(inputs: Num[np.ndarray | Array, "*n"]) -> np.dtype:
    floating = jnp.issubdtype(inputs.dtype, np.floating)
    return inputs.dtype if floating else jnp.dtype(jnp.result_type(float))
