"""The slope of a penalty, added to the updates before they are rescaled.

Whatever follows in the chain sees g + slope of R(w), the gradient of the penalized loss; the L2
penalty's link is ``add_decayed_weights``. Where a penalty has a kink the slope is one of many:
a training with these links makes entries small, hardly ever exactly zero. ``proximal`` does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.regularizers import penalty, weights_only

from ._masked import masked
from ._stateless import of_floats


class AddL1State(NamedTuple):
    """``step``: how many updates have been made, int32[]; a scheduled strength reads it."""

    step: Int[Array, ""]


def add_l1(
    strength: ScalarOrSchedule,
    mask: PyTree | Callable[[Params], PyTree] | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Add ``strength`` times the signs of the parameters: u_t = g_t + s_t sgn(w_t), sgn(0) = 0.

    Before gradient descent it is the subgradient method for the loss plus s sum |w|. The course's
    lambda / N, beside a mean loss, is ``strength``.

    Args:
        strength: s_t, a number in [0, inf), or a schedule of the step count (from 0).
        mask: which leaves are penalized: a tree of bools shaped like (a prefix of) the params,
            or a function of the params that returns one; None for all. By default biases and
            the parameters of normalizations are left out.

    Raises:
        ValueError: if the strength is negative or NaN; from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx, params = add_l1(0.5), jnp.array([3.0, 0.0, -1.0])
        >>> tx.update(jnp.ones(3), tx.init(params), params)[0].tolist()
        [1.5, 1.0, 0.5]
    """
    checks.learning_rate("add_l1", strength, "strength")

    def init(params):
        return AddL1State(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("add_l1", state, AddL1State)
        checks.params("add_l1", params)
        checks.like("add_l1", "gradient", updates, params)
        now = numerics.at_count(strength, state.step)
        signs = jax.tree.map(jnp.sign, tree.widened(params))
        pulled = tree.cast_like(tree.running_sum(signs, updates, now), updates)
        return pulled, AddL1State(step=numerics.safe_increment(state.step))

    link = GradientTransformationExtraArgs(init, update)
    return link if mask is None else masked(link, mask)


def add_penalty(
    fn: Callable[[Array], Any],
    where: PyTree | Callable[[Params], PyTree] = weights_only,
) -> GradientTransformationExtraArgs:
    """Add the slope of ``penalty(params, fn, where)``, whatever the penalty, to the updates.

    Args:
        fn: a penalty of one array: array -> number, differentiable by ``jax.grad``.
        where: which leaves, and how strongly: a tree of bools and numbers in [0, inf) shaped
            like (a prefix of) the params, or a function of the params that returns one. By
            default biases and the parameters of normalizations are left out.

    Raises:
        ValueError: from ``update``, without ``params``, or if a strength is negative.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import by_path, l1_penalty
        >>> tx = add_penalty(l1_penalty, by_path({"first": 0.5}, otherwise=0.25))
        >>> params = {"first": jnp.array([2.0, 0.0]), "second": jnp.array(-1.0)}
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> updates["first"].tolist(), float(updates["second"])
        ([2.5, 0.0], -1.25)
    """

    def added(updates: Updates, params: Params | None) -> Updates:
        checks.params("add_penalty", params)
        checks.like("add_penalty", "gradient", updates, params)
        slopes = jax.grad(lambda p: penalty(p, fn, where))(tree.widened(params))
        uphill = jax.tree.map(jnp.conj, slopes)  # which jax.grad's are not, for complex params
        return tree.cast_like(tree.running_sum(uphill, updates, 1.0), updates)

    return of_floats(added)
