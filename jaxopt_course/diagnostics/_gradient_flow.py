"""How activations and gradients look, layer by layer, for one batch.

A healthy gradient has a norm within [1e-6, 1e3]; below it a layer hardly learns, above it a step
throws it away. Half precision holds less: magnitudes from 6e-5 to 6e4 at full accuracy.

A unit is *dead* if it gives 0 for every example of the batch (a ReLU below its threshold), and
*saturated* if it gives nearly the same number for all of them (a sigmoid far from 0). The weights
that lead to a dead unit get no gradient: they are *silent*.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxopt_course.core import as_transformation, global_norm, is_traced, wide_dtype
from jaxopt_course.tasks import Batch, Task, losses_of, targets_check
from jaxopt_course.training import TrainState


__all__ = ["GradientFlowReport", "LayerFlow", "LeafFlow", "gradient_flow"]

HEALTHY = (1e-6, 1e3)
HALF_PRECISION = (6e-5, 6e4)
SPREAD = 1e-3  # a unit whose standard deviation over the batch is below it is saturated
MANY = 0.5  # the share of units, or of entries, from which on they are worth a flag


class LayerFlow(NamedTuple):
    """What a layer gives for the examples of a batch.

    mean, variance: over all its entries.
    dead: the share of its units, the entries of the last axis, that are 0 for every example.
    saturated: the share of its units that are not dead, and whose standard deviation over the
        examples is below 1e-3.
    """

    mean: float
    variance: float
    dead: float
    saturated: float


class LeafFlow(NamedTuple):
    """The gradient of one leaf of the parameters.

    gradient_norm: its root of the sum of squares.
    update_ratio: the norm of the update over that of the parameters; infinite where these are 0,
        NaN without an optimizer.
    silent: the share of its units, the entries of the last axis, whose gradient is exactly 0.
    underflow: the share of its nonzero entries below 6e-5 in magnitude.
    largest: the largest magnitude of an entry.
    """

    gradient_norm: float
    update_ratio: float
    silent: float
    underflow: float
    largest: float


class GradientFlowReport(NamedTuple):
    """Activations by layer, gradients by leaf, and what is wrong with them.

    loss: of the batch.
    layers: name -> :class:`LayerFlow`; empty where the task offers no activations.
    leaves: path -> :class:`LeafFlow`.
    flags: sentences, one for each thing that lies outside what is healthy.
    """

    loss: float
    layers: dict[str, LayerFlow]
    leaves: dict[str, LeafFlow]
    flags: list[str]

    def __str__(self) -> str:
        blocks = [f"loss {self.loss:.4g}"]
        if self.layers:
            blocks.append(
                _table("layer  mean  variance  dead  saturated", "2e 2e 0% 0%", self.layers)
            )
        heads = "parameters  gradient  update/weight  silent  under 6e-5  largest"
        blocks.append(_table(heads, "2e 2e 0% 0% 2e", self.leaves))
        blocks.append("\n".join(self.flags) or "Nothing lies outside what is healthy.")
        return "\n\n".join(blocks)


def gradient_flow(
    task: Task,
    state: TrainState,
    batch: Batch,
    optimizer: optax.GradientTransformation | None = None,
) -> GradientFlowReport:
    """Look at one batch on its way through the model and back. Nothing is updated.

    Args:
        task: with or without ``activations``.
        state: of the training; its key and step decide on dropout as in the next step.
        batch: some examples.
        optimizer: that of ``state``, for the sizes of its updates. None: they are not looked at.

    Returns:
        The report; ``print`` it.

    Examples:
        >>> from jaxopt_course.nn import MLP
        >>> from jaxopt_course.optimizers import sgd
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import linen_task
        >>> from jaxopt_course.training import init_state
        >>> model = MLP(2, (4,) * 15, activation="sigmoid", kernel_init="small_normal")
        >>> task = linen_task(model, jnp.zeros((1, 3)), problem("multiclass"))
        >>> state = init_state(task, sgd(0.1), jax.random.key(0))
        >>> batch = Batch(jnp.ones((8, 3)), jnp.zeros(8, int))
        >>> gradient_flow(task, state, batch).flags[0][:40]
        "Vanishing gradient at ['Dense_0']['bias'"
    """
    counted = None
    if batch.weights is not None and not is_traced(batch.weights):
        counted = np.asarray(batch.weights) > 0
    check = targets_check(task, batch.inputs, (state.params, state.model_state))
    check("gradient_flow", batch.targets, counted)

    @jax.jit
    def look(state: TrainState, batch: Batch) -> Any:
        key = jax.random.fold_in(state.key, state.step)

        def mean_loss(params: PyTree) -> Array:
            losses, _ = losses_of(task, params, state.model_state, batch, key=key, train=True)
            weights = jnp.ones_like(losses) if batch.weights is None else batch.weights
            return jnp.sum(jnp.where(weights > 0, losses, 0) * weights) / jnp.sum(weights)

        loss, grads = jax.value_and_grad(mean_loss)(state.params)
        updates = jax.tree.map(lambda g: jnp.full_like(g, jnp.nan), grads)
        if optimizer is not None:
            extended = as_transformation("gradient_flow", "optimizer", optimizer)
            offered = {"value": loss, "grad": grads, "value_fn": mean_loss}
            updates, _ = extended.update(grads, state.opt_state, state.params, **offered)
        outputs = {}
        if task.activations is not None:
            outputs = task.activations(state.params, state.model_state, batch.inputs)
        layers = {name: _layer(x) for name, x in outputs.items() if jnp.ndim(x) > 1}
        leaves = map(_leaf, *map(jax.tree.leaves, (state.params, grads, updates)))
        return loss, layers, list(leaves)

    loss, layers, leaves = jax.tree.map(float, jax.device_get(look(state, batch)))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state.params)]
    of_path = dict(zip(paths, leaves, strict=True))
    by_layer = {name: LayerFlow(*layers[name]) for name in _by_number(layers)}
    by_path = {path: LeafFlow(*of_path[path]) for path in _by_number(of_path)}
    return GradientFlowReport(loss, by_layer, by_path, _flags(by_layer, by_path))


def _by_number(names: Iterable[str]) -> list[str]:
    """Sorted, with Dense_2 before Dense_10."""
    return sorted(names, key=lambda name: re.sub(r"\d+", lambda digits: digits[0].zfill(9), name))


def _layer(x: Array) -> tuple[Array, ...]:
    """The fields of :class:`LayerFlow`."""
    x = x.reshape(-1, x.shape[-1]).astype(wide_dtype(x.dtype))
    dead = jnp.all(x == 0, axis=0)
    saturated = ~dead & (jnp.std(x, axis=0) < SPREAD)
    return jnp.mean(x), jnp.var(x), jnp.mean(dead), jnp.mean(saturated)


def _leaf(param: Array, grad: Array, update: Array) -> tuple[Array, ...]:
    """The fields of :class:`LeafFlow`."""
    size = jnp.abs(grad)
    units = size.reshape(-1, size.shape[-1] if size.ndim else 1)
    small = (size > 0) & (size < HALF_PRECISION[0])
    return (
        global_norm(grad),
        global_norm(update) / global_norm(param),
        jnp.mean(jnp.all(units == 0, axis=0)),
        jnp.sum(small) / jnp.maximum(jnp.sum(size > 0), 1),
        jnp.max(size, initial=0),
    )


def _of_zeros(leaf: LeafFlow) -> bool:
    return bool(np.isinf(leaf.update_ratio) and np.isfinite(leaf.gradient_norm))


def _flags(layers: dict[str, LayerFlow], leaves: dict[str, LeafFlow]) -> list[str]:
    flags = []
    for path, leaf in leaves.items():
        norm = leaf.gradient_norm
        if not np.isfinite(norm):
            flags.append(f"The gradient at {path} is not finite.")
        elif norm > HEALTHY[1]:
            flags.append(
                f"Exploding gradient at {path}: norm {norm:.1e}, healthy up to {HEALTHY[1]:.0e}. "
                "Clip it, lower the scale of the initial weights, or normalize the layers."
            )
        elif norm < HEALTHY[0]:
            flags.append(
                f"Vanishing gradient at {path}: norm {norm:.1e}, healthy from {HEALTHY[0]:.0e}. "
                "Use ReLU, normalization, residual sums, or another initializer."
            )
        if leaf.silent >= MANY and norm > 0:
            flags.append(f"{leaf.silent:.0%} of the units at {path} get no gradient.")
        if leaf.largest > HALF_PRECISION[1]:
            flags.append(
                f"Half precision would overflow at {path}: an entry of {leaf.largest:.1e}."
            )
        elif leaf.underflow >= MANY:
            flags.append(
                f"Half precision would lose accuracy at {path}: {leaf.underflow:.0%} of the "
                f"gradient lies below {HALF_PRECISION[0]:.0e}. Scale the loss."
            )
    for name, layer in layers.items():
        if layer.dead >= MANY:
            flags.append(
                f"Dead layer {name}: {layer.dead:.0%} of its units give 0 for every example. "
                "Lower the learning rate, or use a leaky activation."
            )
        if layer.saturated >= MANY:
            flags.append(
                f"Saturated layer {name}: {layer.saturated:.0%} of its units give the same for "
                "every example. Scale the inputs, or lower the scale of the initial weights."
            )
    return flags


def _table(heads: str, formats: str, rows: dict[str, LayerFlow] | dict[str, LeafFlow]) -> str:
    """A line a row, with ``formats`` of its numbers; two blanks part the ``heads``."""
    table = [heads.split("  ")]
    for name, numbers in rows.items():
        shown = [f"{x:.{form}}" for x, form in zip(numbers, formats.split(), strict=True)]
        if isinstance(numbers, LeafFlow) and _of_zeros(numbers):
            shown[1] = "parameters are 0"
        table.append([name, *shown])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in table
    )
