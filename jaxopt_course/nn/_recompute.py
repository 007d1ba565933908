"""Batch-norm statistics of a whole data set, as a replacement of the running averages.

Each :class:`BatchNorm` of a model gets the mean and the biased variance of its input over all rows
that count, in evaluation mode, where the layers before it normalize by *their* statistics of the
whole set. These alone determine its input, so every pass over the data makes at least one more
layer exact, and as many passes as there are layers make all of them exact, whatever the old
statistics were and however the data is cut into batches. Without dropout the result is what
training mode sees if the whole set is one batch.
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
    """Replace the running batch statistics by those of all ``batches`` taken together.

    Args:
        module: a model called as ``module(inputs, train=..., mask=...)`` in which every layer with
            ``batch_stats`` is a :class:`BatchNorm` of this package.
        variables: the variables of the model: ``params``, ``batch_stats`` and others.
        batches: pairs ``(inputs, mask)``. A mask of None counts every row and is not passed to the
            model. The batches are read once for every batch-norm layer.

    Returns:
        The variables with new ``batch_stats``, which stay as they were if no row counts.

    Raises:
        ValueError: if there is no batch, or a layer does not record its moments.

    Examples:
        >>> from jaxopt_course.nn import BatchNorm
        >>> x, layer = jnp.array([[1.0], [2.0], [6.0]]), BatchNorm()
        >>> variables = layer.init(jax.random.key(0), x, train=True)
        >>> exact = recompute_batch_stats(layer, variables, [(x[:2], None), (x[2:], None)])
    """
    batches = list(batches)
    if not batches:
        raise ValueError("recompute_batch_stats: `batches` must hold at least one pair, got none.")
    if "batch_stats" not in variables:
        return dict(variables)

    @jax.jit
    def seen_in(variables: Any, inputs: Any, mask: Any) -> Any:
        given = {} if mask is None else {"mask": mask}
        _, state = module.apply(variables, inputs, train=False, mutable=["batch_moments"], **given)
        return flatten_dict(state.get("batch_moments", {}))

    stats = flatten_dict(variables["batch_stats"])
    for _ in {path[:-1] for path in stats}:  # a pass for each layer
        current = {**variables, "batch_stats": unflatten_dict(stats)}
        seen: dict[tuple[str, ...], Moments] = {}
        for inputs, mask in batches:
            for path, new in seen_in(current, inputs, mask).items():
                seen[path] = merge_moments(seen[path], new) if path in seen else new
        for (*layer, name), old in stats.items():
            if (*layer, "seen") not in seen:
                raise ValueError(
                    f"recompute_batch_stats: the layer at {'/'.join(layer)!r} does not "
                    "record its moments; it must be a jaxopt_course.nn.BatchNorm."
                )
            moments = seen[(*layer, "seen")]
            new = getattr(moments, name).astype(old.dtype)
            stats[(*layer, name)] = jnp.where(moments.weight > 0, new, old)
    return {**variables, "batch_stats": unflatten_dict(stats)}
