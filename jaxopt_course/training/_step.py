"""One step of training: the gradient of the batch's weighted mean loss, given to the optimizer.

L(params) = sum_i w_i l_i / sum_i w_i,        0 if all weights are 0

If the optimizer scales the loss by s, the gradient of s L is computed and divided by s in float32.

``track`` adds numbers that describe the steps to the metrics of a training:

    gradient_norm   |g|, the global norm of the gradients that the optimizer receives
    update_norm     |p_after - p_before|, the global norm of the change of the parameters
    learning_rate   that of the last update

The norms are means over the steps since the last evaluation, weighted by the rows of the batches as
the loss is.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import (
    Params,
    State,
    Updates,
    checks,
    global_norm,
    numerics,
    on_auto_axes,
    tree,
)
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.transforms import (
    ValueFn,
    learning_rates,
    lookahead_params,
    loss_scale,
    take_step,
    unpack,
)

from ._arguments import check_key, check_parts
from ._data import count_rows
from ._state import TrainState


BatchAt = Callable[[Any, Array], Batch]  # (key, step) -> the batch of a step in the past
Means = dict[str, Float[Array, ""]]

RESERVED = {"epoch", "loss", "skipped", "step"}  # names in a row of the history or the log


def init_state(task: Task, optimizer: optax.GradientTransformation, key: Any) -> TrainState:
    """The state before the first step.

    Args:
        task: the task to train.
        optimizer: the optimizer, whose ``init`` receives the parameters.
        key: key of the parameters and of all randomness of the run.
    """
    check_parts("init_state", task, optimizer)
    check_key("init_state", key)
    init_key, run_key = jax.random.split(key)
    params, model_state = task.init(init_key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=jax.tree.map(jnp.asarray, params),
        model_state=jax.tree.map(jnp.asarray, model_state),
        opt_state=optimizer.init(params),
        key=run_key,
    )


def make_step(
    task: Task, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Batch], tuple[TrainState, Means]]:
    """The step ``(state, batch) -> (state, metrics)``, a pure function.

    Compile it by ``jax.jit(step, donate_argnums=0)``, which writes the new state over the old one.
    Without donation there are two states, and on a CPU a step of a large model can take three times
    as long. On a mesh with explicit axes the step runs on automatic ones, and the new state is
    sharded like the old one.

    Args:
        task: the task to train.
        optimizer: any gradient transformation. Gradients are computed at
            :func:`~jaxopt_course.transforms.lookahead_params`. ``update`` is also offered
            ``value``, ``grad`` and ``value_fn``, which line searches and plateau schedules use, and
            ``weight``, the total weight of the batch (its number of rows if it has no weights), by
            which :class:`~jaxopt_course.transforms.MultiSteps` weighs batches. A loop around the
            step must end with :func:`~jaxopt_course.transforms.apply_accumulated`. If the optimizer
            scales the loss (:func:`~jaxopt_course.transforms.dynamic_loss_scale`), a step with
            non-finite gradients changes only the scale and the step count.

    Returns:
        A function whose metrics are weighted means over the batch, before the update: ``"loss"``
        and the metrics of the task.

    Raises:
        ValueError: when called, if a metric of the task is called ``"epoch"``, ``"loss"``,
            ``"skipped"`` or ``"step"``.
    """
    check_parts("make_step", task, optimizer)

    def taken(state: TrainState, batch: Batch) -> tuple[TrainState, Means]:
        step = train_step(task, optimizer, state, batch)
        return step.state, step.means

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Means]:
        return on_auto_axes(taken, state, batch, like=(state, PartitionSpec()))

    return step


class StepTaken(NamedTuple):
    """A step with its intermediate results.

    state: the state after the step.
    means: weighted means of ``"loss"`` and of the metrics over the batch.
    point: the parameters at which loss and gradient were computed.
    grads: the gradients that the optimizer received.
    """

    state: TrainState
    means: Means
    point: Params
    grads: Updates


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    batch_at: BatchAt | None = None,
) -> StepTaken:
    """The step of :func:`make_step`, with its intermediate results.

    ``batch_at`` gives the batches of past steps, which line searches inside an accumulation of
    gradients evaluate. None: they are no longer available.
    """
    key = jax.random.fold_in(state.key, state.step)
    scale = loss_scale(state.opt_state)

    def objective(params: Params) -> tuple[Array, tuple[Means, PyTree]]:
        means, model_state = _training_means(task, state, params, batch, key)
        loss = means["loss"]
        return (loss if scale is None else scale.astype(loss.dtype) * loss), (means, model_state)

    point = lookahead_params(state.opt_state, state.params)
    grads, (means, model_state) = jax.grad(objective, has_aux=True)(point)
    model_state = tree.cast_like(model_state, state.model_state)
    if scale is not None:
        grads = jax.tree.map(lambda g: g / scale.astype(g.dtype), tree.widened(grads))
        finite = tree.all_finite(grads)
        model_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), model_state, state.model_state
        )
    loss = lambda params: _training_means(task, state, params, batch, key)[0]["loss"]
    params, opt_state = take_step(
        checks.transformation("make_step", "optimizer", optimizer),
        *(state.params, state.opt_state, grads),
        value=means["loss"],
        value_fn=ValueFn(loss, _of_last(task, state, state.step, batch_at)),
        weight=batch_weight(batch),
    )
    after = TrainState(state.step + 1, params, model_state, opt_state, state.key)
    return StepTaken(after, means, point, grads)


def value_fn_after(task: Task, state: TrainState, batch_at: BatchAt | None) -> ValueFn | None:
    """The ``value_fn`` of an update after the last batch: the mean loss of past batches."""
    of_last = _of_last(task, state, state.step - 1, batch_at)
    return None if of_last is None else ValueFn(of_last(jnp.ones((), jnp.int32), 1), of_last)


def _of_last(
    task: Task, state: TrainState, newest: Array, batch_at: BatchAt | None
) -> Callable[[Array, int], Callable[[Params], Array]] | None:
    """``ValueFn.of_last`` for the batches of the steps up to ``newest``."""
    if batch_at is None:
        return None

    def of_last(count: Array, at_most: int) -> Callable[[Params], Array]:
        def mean_loss(params: Params) -> Array:
            @jax.checkpoint
            def add(total: Array, back: Array) -> tuple[Array, Array]:
                index = jnp.maximum(newest - back, 0)
                batch, key = batch_at(state.key, index), jax.random.fold_in(state.key, index)
                means, _ = _training_means(task, state, params, batch, key)
                weight = jnp.where(back < count, batch_weight(batch), 0)
                return total + weight, weight * numerics.as_float(means["loss"])

            backwards = jnp.arange(at_most, dtype=jnp.int32)
            weight, losses = jax.lax.scan(add, numerics.as_float(0.0), backwards)
            return numerics.safe_divide(jnp.sum(losses), weight)

        return mean_loss

    return of_last


def _training_means(
    task: Task, state: TrainState, params: Params, batch: Batch, key: Any
) -> tuple[Means, PyTree]:
    """:func:`batch_means` in training mode, of parameters in the layout of the optimizer."""
    return batch_means(task, unpack(params), state.model_state, batch, key=key, train=True)


def batch_weight(batch: Batch) -> Float[Array, ""]:
    """The total weight of a batch: the sum of its weights, or else its number of rows."""
    if batch.weights is None:
        return numerics.as_float(count_rows("Batch", batch.inputs))
    return numerics.as_float(jnp.sum(batch.weights))


def check_names(metrics: Iterable[str], taken: Collection[str]) -> None:
    """Raise ValueError if a metric of a task has a name that is ``taken``."""
    for name in metrics:
        if name in taken:
            raise ValueError(f"Task: a metric cannot be called {name!r}, that name is in use.")


def batch_means(
    task: Task, params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool
) -> tuple[Means, PyTree]:
    """The weighted means of ``"loss"`` and of the metrics over a batch, and the model state."""
    losses, (model_state, metrics) = losses_of(
        task, params, model_state, batch, key=key, train=train
    )
    check_names(metrics, RESERVED)

    def mean(values: Array) -> Array:
        if batch.weights is None:
            return jnp.mean(values)
        counted = jnp.where(batch.weights > 0, values, 0)  # even a NaN of weight 0 has no effect
        weights = batch.weights.astype(values.dtype)
        return numerics.safe_divide(jnp.sum(weights * counted), jnp.sum(weights))

    return {name: mean(values) for name, values in {"loss": losses, **metrics}.items()}, model_state


NORMS = ("gradient_norm", "update_norm")
TRACKED = ("learning_rate", *NORMS)


def check_track(owner: str, track: Sequence[str]) -> tuple[str, ...]:
    """The tracked names as a tuple; ValueError for an unknown one."""
    names = (track,) if isinstance(track, str) else tuple(track)
    for name in names:
        checks.choice(owner, "track", name, TRACKED)
    return names


def check_not_tracked(track: Sequence[str], metrics: Collection[str]) -> None:
    """Raise ValueError if a metric of the task has the name of a tracked number."""
    for name in track:
        if name in metrics:
            raise ValueError(f"Task: a metric cannot be called {name!r} if `track` names it, too.")


def no_norms(track: Sequence[str], params: Params) -> dict[str, Float[Array, ""]]:
    """Zeros in the dtypes of :func:`norms_of`."""
    return {name: jnp.zeros((), tree.scalar_dtype(params)) for name in NORMS if name in track}


def norms_of(
    track: Sequence[str], before: TrainState, taken: StepTaken
) -> dict[str, Float[Array, ""]]:
    """The tracked norms of a step."""
    found = {}
    if "gradient_norm" in track:
        found["gradient_norm"] = global_norm(taken.grads)
    if "update_norm" in track:
        found["update_norm"] = global_norm(tree.sub(taken.state.params, before.params))
    return {name: norm.astype(tree.scalar_dtype(before.params)) for name, norm in found.items()}


def rates_of(
    optimizer: optax.GradientTransformation, params: Params, opt_state: State
) -> dict[str, Float[Array, ""]]:
    """The learning rate of the last update; several ones are numbered.

    Raises:
        ValueError: if the optimizer does not say what its learning rate is.
    """
    found: list[Any] = learning_rates(optimizer, params)(opt_state)
    if not found:
        raise ValueError(
            "track: the state of the optimizer must tell its 'learning_rate', as that of "
            "`inject_hyperparams(optimizer)(learning_rate=...)` does, got a state without one."
        )
    if len(found) == 1:
        return {"learning_rate": found[0]}
    return {f"learning_rate_{number}": rate for number, rate in enumerate(found, 1)}
