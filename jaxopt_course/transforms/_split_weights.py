"""Master weights of 24 bits: a bfloat16 parameter and 8 more bits of it.

Beside each narrow parameter w lies a correction c, an integer of 8 bits in units of 1/256 of the
distance ulp(w) from w to the next larger number of its dtype. With the update u of an optimizer
that runs on the weights m,

    m = w + c ulp(w) / 256
    m' = m + u,    w' = round(m'),    c' = round(256 (m' - w') / ulp(w')),    -127 <= c' <= 127

The weight m has 8 significant bits more than w, and w is m rounded to the nearest.

References: Gonzalez Ortiz et al., "FlashOptim: Optimizers for Memory Efficient Training", 2026,
https://arxiv.org/abs/2602.23349, section 3, whose unit is ulp(w) / 254 and so no power of two;
Micikevicius et al., "Mixed Precision Training", 2018,
https://arxiv.org/abs/1710.03740, section 3.1, for master weights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    MaskedNode,
    Params,
    State,
    checks,
    tree,
)

from ._narrow import is_narrow, landing, two_trees


LARGEST = 127  # so that a correction has the same range on both sides


class SplitWeightsState(NamedTuple):
    """State of :func:`split_weights`.

    correction: c, int8, shaped like the params; ``MaskedNode`` for parameters of float32 or wider.
    inner_state: the state of the optimizer.
    """

    correction: Params
    inner_state: State

    def weights(self, params: Params) -> Params:
        """The weights m, in float32 or wider, that belong to ``params``."""
        return jax.tree.map(_joined, params, self.correction)


def split_weights(optimizer: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``optimizer`` on weights of 24 bits, of which narrow parameters are the upper 16.

    The state keeps the other 8 bits: 1 byte per parameter, where :func:`master_weights` keeps 4. It
    must be the outermost wrapper. The optimizer gets gradients and weights in float32. A correction
    is at most half a unit in the last place of its parameter, so parameters that are changed from
    outside, by a projection for instance, are changed by it no further. An update of less than
    2^-17 times its weight is lost. ``update`` needs the parameters.

    Args:
        optimizer: the optimizer.

    Examples:
        >>> tx, params = split_weights(optax.sgd(1.0)), jnp.ones((), jnp.bfloat16)
        >>> _, state = tx.update(jnp.float32(-0.001), tx.init(params), params)
        >>> round(float(state.weights(params)), 4)
        1.001
    """
    inner = checks.transformation("split_weights", "optimizer", optimizer)

    def init(params):
        exact = lambda p: tree.accumulator_like(p, jnp.int8) if is_narrow(p) else MaskedNode()
        return SplitWeightsState(jax.tree.map(exact, params), inner.init(tree.widened(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("split_weights", state, SplitWeightsState)
        checks.params("split_weights", params, updates)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, state.weights(params), **extra_args
        )

        def followed(param: Any, grad: Any, move: Any, correction: Any) -> tuple[Array, Any]:
            if not is_narrow(param):
                return move.astype(grad.dtype), MaskedNode()
            weight = _joined(param, correction) + move.astype(jnp.float32)
            rounded = weight.astype(param.dtype).astype(jnp.float32)
            own = (rounded - param.astype(jnp.float32)).astype(grad.dtype)
            reached = landing(param, own)
            missing = jnp.rint((weight - reached) / _unit(reached, param.dtype))
            return own, jnp.clip(missing, -LARGEST, LARGEST).astype(jnp.int8)

        new, correction = two_trees(followed, params, updates, moves, state.correction)
        return new, SplitWeightsState(correction, inner_state)

    return GradientTransformationExtraArgs(init, update)


def _joined(param: Any, correction: Any) -> Any:
    """The weight of a parameter, which is the parameter itself if it is not narrow."""
    if not is_narrow(param):
        return param
    wide = param.astype(jnp.float32)
    return wide + correction.astype(jnp.float32) * _unit(wide, param.dtype)


def _unit(x: Float[Array, "*shape"], dtype: Any) -> Float[Array, "*shape"]:
    """1/256 of the distance from ``|x|`` to the next number of ``dtype``, or tiny if it is less."""
    limits, tiny = jnp.finfo(dtype), float(jnp.finfo(jnp.float32).tiny)
    bits: Int[Array, "*shape"] = jax.lax.bitcast_convert_type(x, jnp.int32)
    power = jax.lax.bitcast_convert_type(bits & 0x7F800000, jnp.float32)  # 2^floor(log2 |x|)
    return jnp.maximum(jnp.maximum(power, float(limits.tiny)) * 2.0 ** -(limits.nmant + 8), tiny)
