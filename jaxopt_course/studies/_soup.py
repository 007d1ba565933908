"""Soups: one model whose parameters are the mean of those of several trainings.

    uniform    w = 1/M sum_m w_m
    greedy     members in the order of their losses, the best first; each is kept if the mean with
               it has a loss that is at most that of the mean without it

The members must lie in one basin, as after fine-tuning from the same parameters, or as the epochs
of one training do. The means of trainings from different seeds are usually poor; :func:`ensemble`
averages their predictions instead.

Reference: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", 2022, recipe 1, https://arxiv.org/abs/2203.05482.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from jaxopt_course.core import checks, tree, under_automatic_mesh


class Soup(NamedTuple):
    """The mean of some members.

    params: the mean, in the dtypes of the members.
    kept: which members are in it, bool[members].
    """

    params: PyTree
    kept: Bool[Array, " members"]


@under_automatic_mesh
def soup(members: PyTree, loss: Callable[[Any], Any] | None = None) -> Soup:
    """The mean of the members of a population, or of those that lower a loss.

    Args:
        members: a tree whose arrays have the members as their first axis, such as ``best_params``
            of the run of a population, or the pair of these and ``best_model_state``.
        loss: one member -> number to minimize, such as its validation loss, for a greedy soup. It
            is compiled, and called twice for each member. None: a uniform soup of all members.

    Raises:
        ValueError: if the arrays do not have one first axis.

    Examples:
        >>> members, loss = jnp.array([[1.0], [3.0], [9.0]]), lambda w: jnp.sum((w - 2.0) ** 2)
        >>> soup(members).params.round(2).tolist()
        [4.33]
        >>> found = soup(members, loss)
        >>> found.params.tolist(), found.kept.tolist()
        ([2.0], [True, True, False])
    """
    checks.floats("soup", "member", members)
    shapes = [jnp.shape(x) for x in jax.tree.leaves(members)]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(
            f"soup: `members` must have one first axis, that of the members, got {shapes}."
        )
    size = shapes[0][0]
    checks.integer("soup", "number of members", size, "[1, inf)")
    if loss is None:
        kept = jnp.ones(size, bool)
        return Soup(_mean_of(members, kept), kept)
    checks.function("soup", "loss", loss)
    return jax.jit(lambda members: _greedy(members, loss, size))(members)


def _greedy(members: PyTree, loss: Callable[[Any], Any], size: int) -> Soup:
    order = jnp.argsort(jax.lax.map(loss, members))

    def step(carry: Any, member: Array) -> tuple[Any, None]:
        kept, least = carry
        more = kept.at[member].set(True)
        found = jnp.asarray(loss(_mean_of(members, more)), least.dtype)
        better = found <= least
        return (jnp.where(better, more, kept), jnp.where(better, found, least)), None

    first = jnp.arange(size) == order[0]
    least = loss(_mean_of(members, first))
    (kept, _), _ = jax.lax.scan(step, (first, jnp.asarray(least)), order[1:])
    return Soup(_mean_of(members, kept), kept)


def _mean_of(members: PyTree, kept: Bool[Array, " members"]) -> PyTree:
    """The mean of the members that are ``kept``."""

    def mean(x: Array) -> Array:
        wide = tree.widened(x)
        chosen = kept.reshape(kept.shape + (1,) * (x.ndim - 1))
        total = jnp.sum(jnp.where(chosen, wide, 0), axis=0)
        return (total / jnp.sum(kept).astype(total.dtype)).astype(x.dtype)

    return jax.tree.map(mean, members)
