"""Outer optimizers: replicas train alone for many steps, and then move together.

Each replica i trains parameters w_i of its own by an inner optimizer, whose updates are u_i. After
every H steps the parameters s that the replicas share are moved by an outer optimizer. Its gradient
is the way from the mean of the replicas back to s, and every replica starts again from s:

    w_i <- w_i + u_i,    and every H steps    s <- s + outer(s - mean_i w_i),    w_i <- s

SGD with Nesterov momentum as the outer optimizer is DiLoCo, and with Muon inside MuLoCo. One
replica with the outer optimizer SGD of rate alpha is ``lookahead`` with the step size alpha.

References: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
2023, https://arxiv.org/abs/2311.08105, algorithm 1; Therien et al., "MuLoCo: Muon is a practical
inner optimizer for DiLoCo", 2025, https://arxiv.org/abs/2505.23725; Kallusky et al., "SNOO: Step-K
Nesterov Outer Optimizer", 2025, https://arxiv.org/abs/2510.15830, for one replica.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    numerics,
    states,
    tree,
)

from ._chain import chain
from ._scale import scale
from ._take_step import apply_updates
from ._trace import trace


class OuterState(NamedTuple):
    """State of :func:`outer`, of one replica.

    shared: s, shaped like the params, the same in all replicas.
    steps_since_sync: steps of the inner optimizer since the last move of s, int32[].
    outer_state: the state of the outer optimizer, the same in all replicas.
    inner_state: the state of the inner optimizer.
    """

    shared: Params
    steps_since_sync: Int[Array, ""]
    outer_state: State
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The shared parameters, which steps since their last move have not changed."""
        return tree.map_unmasked(lambda own, _: own, self.shared, params)


def outer(
    inner: optax.GradientTransformation,
    replicas: str | None,
    every: ScalarLike,
    outer_optimizer: optax.GradientTransformation | None = None,
) -> GradientTransformationExtraArgs:
    """Train replicas by ``inner``, and move what they share by ``outer_optimizer``: DiLoCo.

    ``init`` and ``update`` are those of one replica: gradients, parameters and state are its own,
    without an axis for the replicas. The training step of one replica is mapped over all of them:
    by ``jax.vmap(step, axis_name=replicas)``, or by ``jax.shard_map`` over the axis ``replicas`` of
    a mesh, which must be used if that axis is explicit. Replicas must begin with equal parameters.
    Under ``shard_map`` they exchange data in every H-th step only; under ``vmap`` the mean is
    computed in every step and used in every H-th.

    :func:`evaluation_params` are the shared parameters. It must be the outermost wrapper. Around
    :class:`MultiSteps` it counts the steps that change the parameters. ``update`` needs them.

    Args:
        inner: the optimizer of each replica. Its state is kept when the replica starts again.
        replicas: the name of the axis over which replicas are mapped; None for a single replica.
        every: H, the number of steps after which replicas move together, in [1, inf).
        outer_optimizer: the optimizer of the shared parameters, whose schedules count its own
            steps. By default SGD with the rate 0.7 and Nesterov momentum of 0.9.

    Examples:
        >>> tx = outer(optax.sgd(1.0), "replicas", every=1, outer_optimizer=optax.sgd(1.0))
        >>> step = lambda grad, params: tx.update(grad, tx.init(params), params)[0]
        >>> jax.vmap(step, axis_name="replicas")(jnp.array([-1.0, -3.0]), jnp.zeros(2)).tolist()
        [2.0, 2.0]
    """
    checks.number("outer", "every", every, "[1, inf)")
    inner = checks.transformation("outer", "inner", inner)
    if outer_optimizer is None:
        outer_optimizer = chain(trace(0.9, nesterov=True), scale(-0.7))
    outside = checks.transformation("outer", "outer_optimizer", outer_optimizer)
    if not (replicas is None or isinstance(replicas, str)):
        shown = checks.shown(replicas)
        raise TypeError(f"outer: `replicas` must be the name of an axis or None, got {shown}.")

    def init(params):
        shared = jax.tree.map(lambda p: jnp.array(p, copy=True), params)
        outer_state = outside.init(tree.widened(params))
        return OuterState(shared, jnp.zeros((), jnp.int32), outer_state, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("outer", state, OuterState)
        checks.params("outer", params, updates)
        old = state.inner_state
        updates, inner_state = inner.update(updates, old, params, **extra_args)
        steps = numerics.safe_increment(state.steps_since_sync)
        due = numerics.has_reached(steps, every)
        steps, due = states.if_applied(
            inner_state, old, (steps, due), (state.steps_since_sync, jnp.zeros_like(due))
        )

        def together(updates, shared, outer_state):
            ways = tree.running_sum(tree.sub(params, shared), updates, 1.0)
            mean = ways if replicas is None else jax.lax.pmean(ways, replicas)
            back, wide = tree.scale(mean, -1.0), tree.widened(shared)
            moves, new_state = outside.update(back, outer_state, wide)
            home = tree.running_sum(tree.sub(shared, params), moves, 1.0)
            new = tree.cast_like((home, new_state), (updates, outer_state))
            return new[0], apply_updates(shared, moves), new[1]

        moves, shared, outer_state = jax.lax.cond(
            due, together, lambda *apart: apart, updates, state.shared, state.outer_state
        )
        return moves, OuterState(shared, jnp.where(due, 0, steps), outer_state, inner_state)

    return GradientTransformationExtraArgs(init, update)
