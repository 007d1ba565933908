"""Parameters that stay as they are, by a mask of the leaves."""

from collections.abc import Callable

import jax
import optax
from jaxtyping import PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, Params

from ._masked import marks_of, masked, partition
from ._stateless import set_to_zero


def freeze(mask: PyTree | Callable[[Params], PyTree]) -> GradientTransformationExtraArgs:
    """Set the updates of the marked leaves to zero.

    Args:
        mask: one bool, or a tree of bools shaped like (a prefix of) the params, or a function
            of the params that returns one: True freezes.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = freeze({"kernel": True, "bias": False})
        >>> grads = {"kernel": jnp.array(1.0), "bias": jnp.array(1.0)}
        >>> updates, _ = tx.update(grads, tx.init(grads))
        >>> float(updates["kernel"]), float(updates["bias"])
        (0.0, 1.0)
    """
    return masked(set_to_zero(), lambda tree: _frozen(mask, tree))


def selective_transform(
    optimizer: optax.GradientTransformation,
    *,
    freeze_mask: PyTree | Callable[[Params], PyTree],
) -> GradientTransformationExtraArgs:
    """Run ``optimizer`` on the leaves that are not frozen, and keep no state for the others.

    Args:
        optimizer: the optimizer of the leaves that train.
        freeze_mask: as for :func:`freeze`: True freezes.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = selective_transform(optax.sgd(1.0), freeze_mask={"kernel": True, "bias": False})
        >>> grads = {"kernel": jnp.array(1.0), "bias": jnp.array(1.0)}
        >>> updates, _ = tx.update(grads, tx.init(grads))
        >>> float(updates["kernel"]), float(updates["bias"])
        (0.0, -1.0)
    """

    def labels(tree: Params) -> PyTree:
        frozen = _frozen(freeze_mask, tree)
        return jax.tree.map(lambda leaf: "freeze" if leaf else "train", frozen)

    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)


def _frozen(mask: PyTree | Callable[[Params], PyTree], tree: Params) -> PyTree:
    """The mask as Python bools."""
    return jax.tree.map(bool, marks_of("freeze", mask, tree))
