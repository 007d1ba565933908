"""How activations and gradients look, layer by layer, for one batch.

A healthy gradient has a norm within [1e-6, 1e3]; below it a layer hardly learns, above it a step
throws it away. Half precision holds less: magnitudes from 6e-5 to 6e4 at full accuracy.

A gradient *vanishes over depth* if that of the first of several layers of one kind is less than a
hundredth of that of the last one, each as the root of its mean square, however large both are. What
a layer hands on to the one below is multiplied by the slope of its activation: a unit is
*saturated* for an example if that slope is below a fiftieth of the largest one (a tanh beyond 0.99,
a sigmoid beyond 0.995), as happens where the weights are too large. Sigmoids lose gradient even
where they are not saturated, since their largest slope is 1/4.

A unit is *dead* if it gives 0 for every example of the batch (a ReLU below its threshold). The
weights that lead to a dead unit get no gradient: they are *silent*.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxopt_course.core import checks, global_norm, numerics
from jaxopt_course.tasks import Batch, Task, losses_of, targets_check
from jaxopt_course.training import TrainState


HEALTHY = (1e-6, 1e3)
HALF_PRECISION = (6e-5, 6e4)
OVER_DEPTH = 1e-2  # the ratio of the gradients of the first to the last layer that vanishes
DEEP = 3  # layers of one kind, at least, that make a depth
FLAT = 0.02  # of the largest slope: 1 - tanh^2 is below it where |tanh| is above 0.99
SATURATED = 1 / 3  # the share of the entries from which on a layer counts as saturated
MANY = 0.5  # the share of units, or of entries, from which on they are worth a flag


VANISHING_CURES = (
    "Use ReLU, batch normalization or residual sums, and the initializer that keeps the variance: "
    "Glorot for tanh, He for ReLU."
)
EXPLODING_CURES = "Clip it, lower the scale of the initial weights, or normalize the layers."


class LayerFlow(NamedTuple):
    """What a layer gives for the examples of a batch.

    mean, variance: over all its entries.
    dead: the share of its units, the entries of the last axis, that are 0 for every example.
    saturated: the share of its entries, of all units and examples, at which the slope of the
        activation is below 0.02 of the largest; NaN where the slope is not known, as of a linear
        layer: the models of this library tell it of sigmoid and tanh.
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
    depth_ratios: kind of layer -> the root mean square of the gradient of its first matrix over
        that of its last one, for kinds of three numbered layers or more, as ``Dense_0``, ...
    """

    loss: float
    layers: dict[str, LayerFlow]
    leaves: dict[str, LeafFlow]
    flags: list[str]
    depth_ratios: Mapping[str, float] = MappingProxyType({})

    def __str__(self) -> str:
        blocks = [f"loss {self.loss:.4g}"]
        if self.layers:
            blocks.append(
                _table("layer  mean  variance  dead  saturated", "2e 2e 0% 0%", self.layers)
            )
        heads = "parameters  gradient  update/weight  silent  under 6e-5  largest"
        blocks.append(_table(heads, "2e 2e 0% 0% 2e", self.leaves))
        blocks += [
            f"gradient of the first over that of the last of {kind}: {ratio:.1e}"
            for kind, ratio in self.depth_ratios.items()
        ]
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
        >>> gradient_flow(task, state, batch).flags[0][:30]
        'Vanishing gradient over depth:'
    """
    counted = None
    if batch.weights is not None and not checks.is_traced(batch.weights):
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
            extended = checks.transformation("gradient_flow", "optimizer", optimizer)
            offered = {"value": loss, "grad": grads, "value_fn": mean_loss}
            updates, _ = extended.update(grads, state.opt_state, state.params, **offered)
        outputs = {}
        if task.activations is not None:
            outputs = task.activations(state.params, state.model_state, batch.inputs)
        slopes = {_of_slope(name): x for name, x in outputs.items() if _of_slope(name) != name}
        layers = {
            name: _layer(x, slopes.get(name))
            for name, x in outputs.items()
            if jnp.ndim(x) > 1 and _of_slope(name) == name
        }
        leaves = map(_leaf, *map(jax.tree.leaves, (state.params, grads, updates)))
        return loss, layers, list(leaves)

    loss, layers, leaves = jax.tree.map(float, jax.device_get(look(state, batch)))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state.params)]
    of_path = dict(zip(paths, leaves, strict=True))
    by_layer = {name: LayerFlow(*layers[name]) for name in _by_number(layers)}
    by_path = {path: LeafFlow(*of_path[path]) for path in _by_number(of_path)}
    sizes = [x.size if x.ndim > 1 else 0 for x in jax.tree.leaves(state.params)]
    ratios = _depth_ratios(by_path, dict(zip(paths, sizes, strict=True)))
    flags = _flags_of_depth(ratios) + _flags(by_layer, by_path)
    return GradientFlowReport(loss, by_layer, by_path, flags, ratios)


def _of_slope(name: str) -> str:
    """The hidden layer that a slope belongs to; other names as they are."""
    return re.sub(r"(^|/)slope_(\d+)$", r"\1hidden_\2", name)


def _depth_ratios(leaves: dict[str, LeafFlow], sizes: dict[str, int]) -> dict[str, float]:
    """First over last layer, of the matrices whose paths differ in one number; in their order."""
    kinds: dict[str, list[float]] = {}
    for path, leaf in leaves.items():
        kind = re.sub(r"\d+(?=\D*$)", "#", path)
        if sizes[path] and kind != path:
            kinds.setdefault(kind, []).append(leaf.gradient_norm / sizes[path] ** 0.5)
    return {
        kind: float(np.divide(norms[0], norms[-1]))
        for kind, norms in kinds.items()
        if len(norms) >= DEEP and norms[-1] > 0
    }


def _by_number(names: Iterable[str]) -> list[str]:
    """Sorted, with Dense_2 before Dense_10."""
    return sorted(names, key=lambda name: re.sub(r"\d+", lambda digits: digits[0].zfill(9), name))


def _layer(x: Array, slope: Array | None) -> tuple[Array, ...]:
    """The fields of :class:`LayerFlow`."""
    x = x.reshape(-1, x.shape[-1]).astype(numerics.wide_dtype(x.dtype))
    dead = jnp.all(x == 0, axis=0)
    saturated = jnp.array(jnp.nan) if slope is None else jnp.mean(jnp.abs(slope) < FLAT)
    return jnp.mean(x), jnp.var(x), jnp.mean(dead), saturated


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


def _shown(number: float, form: str) -> str:
    return "-" if np.isnan(number) and form.endswith("%") else f"{number:.{form}}"


def _of_zeros(leaf: LeafFlow) -> bool:
    return bool(np.isinf(leaf.update_ratio) and np.isfinite(leaf.gradient_norm))


def _flags_of_depth(ratios: dict[str, float]) -> list[str]:
    flags = []
    for kind, ratio in ratios.items():
        if ratio < OVER_DEPTH:
            flags.append(
                f"Vanishing gradient over depth: the first of {kind} has {ratio:.1e} times the "
                f"gradient of the last. {VANISHING_CURES}"
            )
        elif ratio > 1 / OVER_DEPTH:
            flags.append(
                f"Exploding gradient over depth: the first of {kind} has {ratio:.1e} times the "
                f"gradient of the last. {EXPLODING_CURES}"
            )
    return flags


def _flags(layers: dict[str, LayerFlow], leaves: dict[str, LeafFlow]) -> list[str]:
    flags = []
    for path, leaf in leaves.items():
        norm = leaf.gradient_norm
        if not np.isfinite(norm):
            flags.append(f"The gradient at {path} is not finite.")
        elif norm > HEALTHY[1]:
            flags.append(
                f"Exploding gradient at {path}: norm {norm:.1e}, healthy up to {HEALTHY[1]:.0e}. "
                f"{EXPLODING_CURES}"
            )
        elif norm < HEALTHY[0]:
            flags.append(
                f"Vanishing gradient at {path}: norm {norm:.1e}, healthy from {HEALTHY[0]:.0e}. "
                f"{VANISHING_CURES}"
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
        if layer.saturated >= SATURATED:
            flags.append(
                f"Saturated layer {name}: at {layer.saturated:.0%} of its entries the activation "
                f"has less than {FLAT:.0%} of its largest slope. Scale the inputs, lower the scale "
                "of the initial weights (Glorot), normalize before the activation, or use ReLU."
            )
    return flags


def _table(heads: str, formats: str, rows: dict[str, LayerFlow] | dict[str, LeafFlow]) -> str:
    """A line a row, with ``formats`` of its numbers; two blanks part the ``heads``."""
    table = [heads.split("  ")]
    for name, numbers in rows.items():
        shown = [_shown(x, form) for x, form in zip(numbers, formats.split(), strict=True)]
        if isinstance(numbers, LeafFlow) and _of_zeros(numbers):
            shown[1] = "parameters are 0"
        table.append([name, *shown])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in table
    )
