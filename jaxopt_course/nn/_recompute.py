"""Batch-norm statistics of a whole data set, in place of running averages.

For every :class:`BatchNorm` of a model: the mean and the biased variance of what enters it, over
all rows that count, in evaluation mode, where each layer below already normalizes by *its*
statistics of the whole set. Batches are joined by the parallel formula of Chan et al.

A layer's input depends on the statistics below it alone. So every pass over the data puts at
least one more layer right, and as many passes as there are such layers put all of them right,
whatever the statistics were before and however the data is cut into batches. For a model
without dropout that is what a training-mode pass over the whole set as one batch sees.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from ._moments import Moments, merge_moments


def recompute_batch_stats(
    module: nn.Module, variables: Mapping[str, Any], batches: Iterable[tuple[Any, Any]]
) -> dict[str, Any]:
    """``variables`` with the batch statistics of all ``batches`` taken together.

    Args:
        module: a model called as ``module(inputs, train=..., mask=...)`` whose layers with
            ``batch_stats`` are this package's :class:`BatchNorm`.
        variables: what ``module.apply`` takes: ``params``, ``batch_stats`` and the like.
        batches: pairs ``(inputs, mask)``; a mask of None counts every row, and is not passed on.
            They are read once for every batch-norm layer.

    Returns:
        The same variables, ``batch_stats`` replaced. Where no row counts, it stays as it was.

    Raises:
        ValueError: if there is no batch, or a layer does not tell its moments.

    Examples:
        >>> x = jnp.array([[1.0], [2.0], [6.0]])
        >>> from jaxopt_course.nn import BatchNorm
        >>> layer = BatchNorm()
        >>> variables = layer.init(jax.random.key(0), x, train=True)
        >>> exact = recompute_batch_stats(layer, variables, [(x[:2], None), (x[2:], None)])
        >>> [round(float(v[0]), 4) for v in exact["batch_stats"].values()]
        [3.0, 4.6667]
    """
    batches = list(batches)
    if not batches:
        raise ValueError("recompute_batch_stats: `batches` must hold one pair or more, got none.")
    if "batch_stats" not in variables:
        return dict(variables)

    @jax.jit
    def seen_in(variables: Any, inputs: Any, mask: Any) -> Any:
        options = {} if mask is None else {"mask": mask}
        apply = module.apply
        _, state = apply(variables, inputs, train=False, mutable=["batch_moments"], **options)
        return flatten_dict(state.get("batch_moments", {}))

    stats = flatten_dict(variables["batch_stats"])
    layers = {path[:-1] for path in stats}
    for _ in layers:
        current = {**variables, "batch_stats": unflatten_dict(stats)}
        seen: dict[tuple[str, ...], Moments] = {}
        for inputs, mask in batches:
            for path, new in seen_in(current, inputs, mask).items():
                seen[path] = merge_moments(seen[path], new) if path in seen else new
        for *layer, name in list(stats):
            if (*layer, "seen") not in seen:
                raise ValueError(
                    f"recompute_batch_stats: the layer at {'/'.join(layer)!r} does not tell "
                    "its moments; it must be a jaxopt_course.nn.BatchNorm."
                )
            moments = seen[(*layer, "seen")]
            old = stats[(*layer, name)]
            new = getattr(moments, name).astype(old.dtype)
            stats[(*layer, name)] = jnp.where(moments.weight > 0, new, old)
    return {**variables, "batch_stats": unflatten_dict(stats)}
