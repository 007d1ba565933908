"""Parameters narrower than float32, such as bfloat16, that keep what rounding would lose.

Rounded to the nearest, 1 + 0.001 is 1 in bfloat16, however often it is added. With a parameter w
and an update u of float32, three wrappers prevent this:

    stochastic_rounding   w <- high with probability (w + u - low) / (high - low), else low,
                          where low and high are the two representable neighbours of w + u
    kahan                 y = u + c,  w' = round(w + y),  c' = round(y - (w' - w)),
                          with a remainder c beside each parameter
    master_weights        m' = m + u,  w' = round(m'),  with a float32 copy m of the parameters

References: Gupta et al., "Deep Learning with Limited Numerical Precision", 2015,
https://arxiv.org/abs/1502.02551, section 3; Kahan, "Further remarks on reducing truncation
errors", 1965; Zamirai et al., "Revisiting BFloat16 Training", 2020,
https://arxiv.org/abs/2010.06192, algorithm 3; Micikevicius et al., "Mixed Precision Training",
2018, https://arxiv.org/abs/1710.03740, section 3.1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    MaskedNode,
    Params,
    State,
    checks,
    own_key,
    states,
    tree,
)

from ._take_step import apply_updates


def is_narrow(x: Any) -> bool:
    """Whether ``x`` is a real array whose dtype float32 contains strictly."""
    dtype = jnp.result_type(x)
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32


def landing(params: Any, update: Any) -> Float[Array, "*shape"]:
    """``params + update`` as :func:`apply_updates` computes it, in float32."""
    return apply_updates(params, update).astype(jnp.float32)


def reaching(
    params: Any, target: Float[Array, "*shape"], dtype: Any, upwards: bool
) -> Float[Array, "*shape"]:
    """The update, in ``dtype``, that leads to a representable neighbour of ``target``.

    The result is not below ``target`` if ``upwards``, and else not above it. Where the update to
    the nearest neighbour is not representable, the next larger one is taken.
    """
    end = jnp.inf if upwards else -jnp.inf
    short = lambda x: (x < target) if upwards else (x > target)
    beside = target.astype(params.dtype)
    beyond = jnp.nextafter(beside, jnp.asarray(end, beside.dtype))
    beside = jnp.where(short(beside.astype(jnp.float32)), beyond, beside)
    update = (beside.astype(jnp.float32) - params.astype(jnp.float32)).astype(dtype)
    further = jnp.nextafter(update, jnp.asarray(end, update.dtype))
    return jnp.where(short(landing(params, update)), further, update)


def two_trees(
    f: Callable[..., tuple[Any, Any]], params: PyTree, *others: PyTree
) -> tuple[PyTree, PyTree]:
    """``jax.tree.map`` of a function that returns pairs, as two trees."""
    structure: Any = jax.tree.structure(params)
    pairs = structure.flatten_up_to(jax.tree.map(f, params, *others))
    first, second = (structure.unflatten([pair[n] for pair in pairs]) for n in range(2))
    return first, second


class StochasticRoundingState(NamedTuple):
    """State of :func:`stochastic_rounding`.

    count: number of updates, int32[].
    rng_key: the key from which, with the count, random numbers are drawn.
    inner_state: the state of the optimizer.
    """

    count: Int[Array, ""]
    rng_key: Key[Array, ""]
    inner_state: State


def stochastic_rounding(
    optimizer: optax.GradientTransformation, *, key: jax.Array | int
) -> GradientTransformationExtraArgs:
    """Round narrow parameters up or down at random, so that their mean is exact.

    It must be the outermost wrapper: its updates are such that :func:`apply_updates` reaches the
    number that was drawn. The optimizer gets the gradients in float32. Parameters of float32 or
    wider are updated as usual. ``update`` needs the parameters.

    Args:
        optimizer: the optimizer.
        key: a typed key, or an int as its seed.

    Examples:
        >>> params = jnp.ones(1000, jnp.bfloat16)  # the next larger number is 1.0078125
        >>> tx = stochastic_rounding(optax.sgd(1.0), key=0)
        >>> updates, _ = tx.update(jnp.full(1000, -0.001, jnp.bfloat16), tx.init(params), params)
        >>> bool(0.0007 < jnp.mean((params + updates).astype(jnp.float32)) - 1 < 0.0013)
        True
    """
    inner = checks.transformation("stochastic_rounding", "optimizer", optimizer)

    def init(params):
        return StochasticRoundingState(jnp.zeros((), jnp.int32), own_key(key), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("stochastic_rounding", state, StochasticRoundingState)
        checks.params("stochastic_rounding", params, updates)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, params, **extra_args
        )
        now = jax.random.fold_in(state.rng_key, state.count)

        def drawn(number: int, param: Any, grad: Any, move: Any) -> Array:
            if not is_narrow(param):
                return move.astype(grad.dtype)
            target = param.astype(jnp.float32) + move.astype(jnp.float32)
            down, up = (reaching(param, target, grad.dtype, way) for way in (False, True))
            low, high = landing(param, down), landing(param, up)
            chance = jax.random.uniform(jax.random.fold_in(now, number), target.shape, jnp.float32)
            return jnp.where(chance * (high - low) < target - low, up, down)

        leaves, structure = jax.tree.flatten(params)
        numbers = jax.tree.unflatten(structure, range(len(leaves)))
        new = jax.tree.map(drawn, numbers, params, updates, moves)
        count = states.count_applied(state.count, inner_state, state.inner_state)
        return new, StochasticRoundingState(count, state.rng_key, inner_state)

    return GradientTransformationExtraArgs(init, update)


class KahanState(NamedTuple):
    """State of :func:`kahan`.

    compensation: the remainders c, shaped like the params and in their dtypes; ``MaskedNode`` for
        parameters of float32 or wider.
    inner_state: the state of the optimizer.
    """

    compensation: Params
    inner_state: State


def kahan(optimizer: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Keep what rounding takes from narrow parameters, and add it to the next update.

    It must be the outermost wrapper. The optimizer gets the gradients in float32. A remainder is at
    most half a unit in the last place of its parameter, so parameters that are changed from
    outside, by a projection for instance, are changed by it no further. ``update`` needs the
    parameters.

    Args:
        optimizer: the optimizer.
    """
    inner = checks.transformation("kahan", "optimizer", optimizer)

    def init(params):
        nothing = lambda p: tree.zeros_like(p) if is_narrow(p) else MaskedNode()
        return KahanState(jax.tree.map(nothing, params), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("kahan", state, KahanState)
        checks.params("kahan", params, updates)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, params, **extra_args
        )

        def summed(param: Any, grad: Any, move: Any, lost: Any) -> tuple[Array, Any]:
            if not is_narrow(param):
                return move.astype(grad.dtype), lost
            wanted = move.astype(jnp.float32) + lost.astype(jnp.float32)
            own = wanted.astype(grad.dtype)
            moved = landing(param, own) - param.astype(jnp.float32)
            return own, (wanted - moved).astype(param.dtype)

        new, lost = two_trees(summed, params, updates, moves, state.compensation)
        return new, KahanState(lost, inner_state)

    return GradientTransformationExtraArgs(init, update)


class MasterWeightsState(NamedTuple):
    """State of :func:`master_weights`.

    master: the parameters in float32; ``MaskedNode`` for those of float32 or wider.
    inner_state: the state of the optimizer.
    """

    master: Params
    inner_state: State


def master_weights(optimizer: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``optimizer`` on a float32 copy of narrow parameters, which are the copy rounded.

    It must be the outermost wrapper. The optimizer gets gradients and parameters in float32. An
    entry that differs from its rounded copy was changed from outside, by a projection for instance;
    its copy is replaced by it. ``update`` needs the parameters.

    Args:
        optimizer: the optimizer.

    Examples:
        >>> tx, params = master_weights(optax.sgd(1.0)), jnp.ones((), jnp.bfloat16)
        >>> _, state = tx.update(jnp.float32(-0.001), tx.init(params), params)
        >>> round(float(state.master), 4)
        1.001
    """
    inner = checks.transformation("master_weights", "optimizer", optimizer)

    def init(params):
        copied = lambda p: p.astype(jnp.float32) if is_narrow(p) else MaskedNode()
        return MasterWeightsState(jax.tree.map(copied, params), inner.init(tree.widened(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("master_weights", state, MasterWeightsState)
        checks.params("master_weights", params, updates)

        def current(param: Any, master: Any) -> Any:
            if not is_narrow(param):
                return param
            return jnp.where(master.astype(param.dtype) == param, master, param.astype(jnp.float32))

        whole = jax.tree.map(current, params, state.master)
        moves, inner_state = inner.update(
            tree.widened(updates), state.inner_state, whole, **extra_args
        )

        def followed(param: Any, grad: Any, move: Any, master: Any) -> tuple[Array, Any]:
            if not is_narrow(param):
                return move.astype(grad.dtype), MaskedNode()
            master = master + move.astype(jnp.float32)
            ahead = master.astype(param.dtype).astype(jnp.float32) - param.astype(jnp.float32)
            return ahead.astype(grad.dtype), master

        new, master = two_trees(followed, params, updates, moves, whole)
        return new, MasterWeightsState(master, inner_state)

    return GradientTransformationExtraArgs(init, update)
