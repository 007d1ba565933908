"""Activations and gradients for one batch, layer by layer.

A healthy gradient has a norm within [1e-6, 1e3]: below it a layer hardly learns, above it one step
destroys what it has learned. Half precision represents magnitudes from 6e-5 to 6e4 at full
accuracy.

A gradient *vanishes over depth* if the root mean square of the first of several layers of one kind
is less than a hundredth of that of the last one. A layer passes its gradient on multiplied by the
slope of its activation. A unit is *saturated* for an example if that slope is below a fiftieth of
the largest one (a tanh beyond 0.99, a sigmoid beyond 0.995), as happens if the weights are too
large. Sigmoids reduce gradients even if they are not saturated: their largest slope is 1/4.

A unit is *dead* if it is 0 for every example of the batch, as a ReLU below its threshold. The
weights that lead to a dead unit have no gradient: they are *silent*.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxopt_course.core import checks, global_norm, numerics, on_auto_axes, text_table
from jaxopt_course.tasks import Batch, Task, losses_of, targets_check
from jaxopt_course.training import TrainState


HEALTHY_NORMS = (1e-6, 1e3)  # of the gradient of a leaf
HALF_PRECISION = (6e-5, 6e4)
OVER_DEPTH = 1e-2  # a smaller ratio of the gradients of the first and the last layer vanishes
DEEP = 3  # the fewest layers of one kind that are compared
FLAT = 0.02  # of the largest slope: 1 - tanh^2 is below it where |tanh| is above 0.99
SATURATED = 1 / 3  # share of saturated entries from which a layer is flagged
MANY = 0.5  # share of units, or of entries, from which they are flagged

VANISHING_CURES = (
    "Use ReLU, batch normalization or residual sums, and the initializer that keeps the variance: "
    "Glorot for tanh, He for ReLU."
)
EXPLODING_CURES = "Clip it, lower the scale of the initial weights, or normalize the layers."


class LayerFlow(NamedTuple):
    """The outputs of a layer for the examples of a batch.

    mean, variance: mean and variance of all entries.
    dead: the share of units, the entries of the last axis, that are 0 for every example.
    saturated: the share of entries at which the slope of the activation is below 0.02 of the
        largest. NaN where the slope is unknown: the models of this library report it for sigmoid
        and tanh.
    """

    mean: float
    variance: float
    dead: float
    saturated: float


class LeafFlow(NamedTuple):
    """The gradient of one leaf of the parameters.

    gradient_norm: the Euclidean norm.
    update_ratio: the norm of the update divided by that of the parameters; infinite if these are 0,
        NaN without an optimizer.
    silent: the share of units, the entries of the last axis, whose gradient is exactly 0.
    underflow: the share of nonzero entries below 6e-5 in magnitude.
    largest: the largest magnitude of an entry.
    """

    gradient_norm: float
    update_ratio: float
    silent: float
    underflow: float
    largest: float


class GradientFlowReport(NamedTuple):
    """Activations by layer, gradients by leaf, and what is wrong with them; ``print`` it.

    loss: mean loss of the batch.
    layers: {name: :class:`LayerFlow`}; empty if the task has no ``activations``.
    leaves: {path: :class:`LeafFlow`}.
    flags: one sentence for each value outside the healthy range.
    depth_ratios: {kind of layer: root mean square of the gradient of its first matrix divided by
        that of its last one}, for kinds of at least three numbered layers, such as ``Dense_0``, ...
    """

    loss: float
    layers: dict[str, LayerFlow]
    leaves: dict[str, LeafFlow]
    flags: list[str]
    depth_ratios: Mapping[str, float] = MappingProxyType({})

    def __str__(self) -> str:
        percent = lambda share: "-" if np.isnan(share) else f"{share:.0%}"
        blocks = [f"loss {self.loss:.4g}"]
        if self.layers:
            rows = [
                [name, _shown(x.mean), _shown(x.variance), percent(x.dead), percent(x.saturated)]
                for name, x in self.layers.items()
            ]
            blocks.append(text_table(["layer", "mean", "variance", "dead", "saturated"], rows))
        rows = []
        for path, x in self.leaves.items():
            is_zero = np.isinf(x.update_ratio) and np.isfinite(x.gradient_norm)
            ratio = "parameters are 0" if is_zero else _shown(x.update_ratio)
            shares = percent(x.silent), percent(x.underflow)
            rows.append([path, _shown(x.gradient_norm), ratio, *shares, _shown(x.largest)])
        header = ["parameters", "gradient", "update/weight", "silent", "under 6e-5", "largest"]
        blocks.append(text_table(header, rows))
        blocks += [
            f"gradient of the first over that of the last of {kind}: {_shown(ratio, 1)}"
            for kind, ratio in self.depth_ratios.items()
        ]
        blocks.append("\n".join(self.flags) or "Everything lies within the healthy range.")
        return "\n\n".join(blocks)


def gradient_flow(
    task: Task,
    state: TrainState,
    batch: Batch,
    optimizer: optax.GradientTransformation | None = None,
) -> GradientFlowReport:
    """Measure the activations and gradients of one batch; nothing is updated.

    Args:
        task: a task, with or without ``activations``.
        state: state of the training; its key and step determine dropout as in the next step.
        batch: some examples.
        optimizer: that of ``state``, to measure its updates. None: they are not measured.

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

    measure = jax.jit(functools.partial(_measure, task, optimizer))
    measured = jax.device_get(on_auto_axes(measure, state, batch))
    loss, layers, leaves = jax.tree.map(float, measured)
    params = jax.tree.leaves_with_path(state.params)
    paths = [jax.tree_util.keystr(path) for path, _ in params]
    of_path = dict(zip(paths, leaves, strict=True))
    by_layer = {name: LayerFlow(*layers[name]) for name in _by_number(layers)}
    by_path = {path: LeafFlow(*of_path[path]) for path in _by_number(of_path)}
    sizes = [x.size if x.ndim > 1 else 0 for _, x in params]
    ratios = _depth_ratios(by_path, dict(zip(paths, sizes, strict=True)))
    flags = [
        *(flag for kind, ratio in ratios.items() for flag in _flags_of_depth(kind, ratio)),
        *(flag for path, leaf in by_path.items() for flag in _flags_of_leaf(path, leaf)),
        *(flag for name, layer in by_layer.items() for flag in _flags_of_layer(name, layer)),
    ]
    return GradientFlowReport(loss, by_layer, by_path, flags, ratios)


def _measure(
    task: Task, optimizer: optax.GradientTransformation | None, state: TrainState, batch: Batch
) -> Any:
    """The loss, the fields of each :class:`LayerFlow` by name, and those of each LeafFlow."""
    key = jax.random.fold_in(state.key, state.step)

    def mean_loss(params: PyTree) -> Array:
        losses, _ = losses_of(task, params, state.model_state, batch, key=key, train=True)
        weights = jnp.ones_like(losses) if batch.weights is None else batch.weights
        return jnp.sum(jnp.where(weights > 0, losses, 0) * weights) / jnp.sum(weights)

    loss, grads = jax.value_and_grad(mean_loss)(state.params)
    updates = jax.tree.map(lambda g: jnp.full_like(g, jnp.nan), grads)
    if optimizer is not None:
        extended = checks.transformation("gradient_flow", "optimizer", optimizer)
        extra = {"value": loss, "grad": grads, "value_fn": mean_loss}
        updates, _ = extended.update(grads, state.opt_state, state.params, **extra)
    outputs = {}
    if task.activations is not None:
        outputs = task.activations(state.params, state.model_state, batch.inputs)
    slopes = {_of_slope(name): x for name, x in outputs.items() if _of_slope(name) != name}
    layers = {
        name: _layer(x, slopes.get(name))
        for name, x in outputs.items()
        if jnp.ndim(x) > 1 and _of_slope(name) == name
    }
    return loss, layers, list(map(_leaf, *map(jax.tree.leaves, (state.params, grads, updates))))


def _of_slope(name: str) -> str:
    """The name of the hidden layer that a slope belongs to; other names as they are."""
    return re.sub(r"(^|/)slope_(\d+)$", r"\1hidden_\2", name)


def _depth_ratios(leaves: dict[str, LeafFlow], sizes: dict[str, int]) -> dict[str, float]:
    """First over last layer, of matrices whose paths differ in one number only."""
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


def _shown(value: float, digits: int = 2) -> str:
    """A number in scientific notation; 0 is 0."""
    return "0" if value == 0 else f"{value:.{digits}e}"


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


def _flags_of_depth(kind: str, ratio: float) -> Iterable[str]:
    text = (
        f"gradient over depth: the first of {kind} has {_shown(ratio, 1)} times the gradient of "
        "the last."
    )
    if ratio < OVER_DEPTH:
        yield f"Vanishing {text} {VANISHING_CURES}"
    elif ratio > 1 / OVER_DEPTH:
        yield f"Exploding {text} {EXPLODING_CURES}"


def _flags_of_leaf(path: str, leaf: LeafFlow) -> Iterable[str]:
    norm, (low, high) = leaf.gradient_norm, HEALTHY_NORMS
    text = f"gradient at {path}: its norm is {_shown(norm, 1)}, healthy is {low:.0e} to {high:.0e}."
    if not np.isfinite(norm):
        yield f"The gradient at {path} is not finite."
    elif norm > high:
        yield f"Exploding {text} {EXPLODING_CURES}"
    elif norm < low:
        yield f"Vanishing {text} {VANISHING_CURES}"
    if leaf.silent >= MANY and norm > 0:
        yield f"{leaf.silent:.0%} of the units at {path} have no gradient."
    low, high = HALF_PRECISION
    if leaf.largest > high:
        yield f"Half precision would overflow at {path}: an entry is {leaf.largest:.1e}."
    elif leaf.underflow >= MANY:
        yield (
            f"Half precision would lose accuracy at {path}: {leaf.underflow:.0%} of the gradient "
            f"lies below {low:.0e}. Scale the loss."
        )


def _flags_of_layer(name: str, layer: LayerFlow) -> Iterable[str]:
    if layer.dead >= MANY:
        yield (
            f"Dead layer {name}: {layer.dead:.0%} of its units are 0 for every example. Lower the "
            "learning rate, or use a leaky activation."
        )
    if layer.saturated >= SATURATED:
        yield (
            f"Saturated layer {name}: at {layer.saturated:.0%} of its entries the slope of the "
            f"activation is below {FLAT:.0%} of the largest. Scale the inputs, lower the scale of "
            "the initial weights (Glorot), normalize before the activation, or use ReLU."
        )
