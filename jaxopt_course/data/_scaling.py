"""Feature scaling by the statistics of the training rows, and of no others.

    scaled = (inputs - offset) / scale

with the mean and the (biased) standard deviation of each feature, or its minimum and range.
Statistics are taken once, on the host, in float64; applying them is a pure function for host
and device. A feature that never varies has scale 1 and comes out as 0.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from jaxopt_course.core import checks, numerics

from ._dataset import check_examples, check_features


# A smaller spread would be 0 in float32, and a division by it infinite.
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


class Scaler(NamedTuple):
    """What one linear map a feature needs; a pytree of arrays, to be saved with the model.

    offset: subtracted from the inputs: their mean, or their minimum.
    scale: divides what is left: the standard deviation, or the range; never 0.
    """

    offset: Float[Array | np.ndarray, "*features"]
    scale: Float[Array | np.ndarray, "*features"]


def fit_scaler(inputs: Num[np.ndarray | Array, "n *features"], kind: str = "standard") -> Scaler:
    """The scaler of ``inputs``, which are the training rows alone.

    Args:
        inputs: examples on the first axis.
        kind: ``"standard"`` for mean 0 and variance 1, ``"min_max"`` for the range [0, 1].

    Raises:
        ValueError: if ``kind`` is another, or the inputs are empty or not finite.

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
        # Rounding may give a constant feature another mean, and a deviation from it.
        offset = np.where(low == high, low, exact.mean(axis=0))
        scale = exact.std(axis=0)
    else:
        offset, scale = low, high - low
    varies = (low < high) & (scale >= _SMALLEST_SCALE)
    return Scaler(offset=offset, scale=np.where(varies, scale, 1.0))


def scale_features(
    scaler: Scaler, inputs: Num[np.ndarray | Array, "*n"]
) -> Float[np.ndarray | Array, "*n"]:
    """``(inputs - offset) / scale``, in the dtype of ``inputs``, or a float where it is integer.

    Args:
        scaler: from :func:`fit_scaler`.
        inputs: the features on the last axes, as many of them as the scaler has.

    Raises:
        ValueError: if a scaled number is NaN or infinite, where it is not traced: inputs far
            beyond those that the scaler was fitted to can leave the range of the dtype.
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
    """Offset, scale and inputs in one shape and dtype: float64 on the host.

    There a large offset costs no digits; on the device the dtype is the inputs' own or float32.
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
