"""The variance of activations and gradients, layer by layer, in a deep network.

    h_{l+1} = a(h_l W_l),    W_l of n_in x n_out independent entries of variance gamma

If a is nearly the identity, each layer multiplies the forward variance by n_in gamma and the
backward variance by n_out gamma; it is preserved if the product is 1.

Reference: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
networks", AISTATS 2010, equations 5 and 6.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxopt_course.activations import activation as activation_named
from jaxopt_course.core import checks, compiled_for
from jaxopt_course.initializers import initializer as initializer_named


# What happens to a variance whose total factor is below the bound; above all bounds it explodes.
# The random draws of 12 layers of 128 units alone change it by a factor of about 2.
TRENDS = ((1e-2, "vanishing"), (1 / 3, "shrinking"), (3.0, "kept"), (1e2, "growing"))


class VarianceReport(NamedTuple):
    """Variances layer by layer; ``print`` it.

    widths: widths of the input and of each layer, i32[depth + 1].
    forward: the variance of the activations of the input and of each layer, f[depth + 1].
    backward: the variance of the derivatives of the loss by these activations, f[depth + 1].
    """

    widths: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    @property
    def forward_gain(self) -> float:
        """The mean factor by which a layer multiplies the variance of the activations."""
        return _mean_gain(self.forward)

    @property
    def backward_gain(self) -> float:
        """The mean factor by which a layer multiplies the variance of the derivatives."""
        return _mean_gain(self.backward[::-1])

    def __str__(self) -> str:
        depth = len(self.widths) - 1
        gains = (("activations", self.forward_gain), ("slopes", self.backward_gain))
        parts = [
            f"{name} {gain:.3g} a layer, {gain**depth:.2g} in all ({_trend(gain**depth)})"
            for name, gain in gains
        ]
        return f"Variance through {checks.counted(depth, 'layer')}: {', '.join(parts)}."


def variance_through_depth(
    initializer: str | Callable[..., Array],
    activation: str | Callable[[Array], Array],
    depth: int,
    *,
    key: Key[Array, ""],
    widths: tuple[int, int] = (256, 256),
    rows: int = 256,
) -> VarianceReport:
    """Propagate noise through a deep network and back, and measure its variance in each layer.

    Args:
        initializer: name of an initializer, or a function ``(key, shape, dtype) -> array``.
        activation: name of an activation, or a function. Both functions must be hashable: a layer
            is compiled once for them and its widths.
        depth: number of layers, in [1, inf).
        key: PRNG key of weights, inputs and derivatives.
        widths: widths of the input and of the last layer; those between form a geometric sequence.
        rows: number of inputs and of derivatives by the outputs, all standard normal.

    Examples:
        >>> report = variance_through_depth("glorot_normal", "identity", 8, key=jax.random.key(0))
        >>> print(report)  # doctest: +ELLIPSIS
        Variance through 8 layers: activations ... (kept), slopes ... (kept).
    """
    owner = "variance_through_depth"
    checks.integer(owner, "depth", depth, "[1, inf)")
    checks.integer(owner, "rows", rows, "[2, inf)")
    for width in widths:
        checks.integer(owner, "widths", width, "[1, inf)")
    draw = initializer_named(initializer) if isinstance(initializer, str) else initializer
    act = activation_named(activation) if isinstance(activation, str) else activation
    sizes = np.rint(np.geomspace(*widths, depth + 1)).astype(int).tolist()
    first, *keys, last = jax.random.split(key, depth + 2)
    h = jax.random.normal(first, (rows, sizes[0]))
    forward, backs = [_variance(h)], []
    for of_layer, n_out in zip(keys, sizes[1:], strict=True):
        layer = functools.partial(_layer, of_layer, draw=draw, act=act, n_out=n_out)
        h, back = jax.vjp(layer, h)
        forward.append(_variance(h))
        backs.append(back)
    slope = jax.random.normal(last, h.shape)
    backward = [_variance(slope)]
    for back in reversed(backs):
        (slope,) = back(slope)
        backward.append(_variance(slope))
    return VarianceReport(np.array(sizes), np.stack(forward), np.stack(backward[::-1]))


@compiled_for("draw", "act", static_argnames="n_out")
def _layer(
    key: Key[Array, ""],
    h: Float[Array, "rows n_in"],
    *,
    draw: Callable[..., Array],
    act: Callable[[Array], Array],
    n_out: int,
) -> Float[Array, "rows n_out"]:
    """Compiled on its own, so that layers of equal widths are compiled once."""
    return act(h @ draw(key, (h.shape[1], n_out), h.dtype))


@jax.jit
def _variance(x: Float[Array, "rows n"]) -> Float[Array, ""]:
    return jnp.var(x)


def _mean_gain(variances: Any) -> float:
    first, last = float(variances[0]), float(variances[-1])
    return (last / first) ** (1 / (len(variances) - 1)) if first > 0 else float("nan")


def _trend(total: float) -> str:
    """The word for the product of all gains; NaN is an overflow."""
    return next((trend for bound, trend in TRENDS if total < bound), "exploding")
