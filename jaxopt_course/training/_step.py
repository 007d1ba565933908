"""One step of training: the gradient of the batch's weighted mean loss, handed to the optimizer.

L(params) = sum_i w_i l_i / sum_i w_i,        0 where all weights are 0

Where the optimizer scales the loss, by s, the gradient is that of s L, divided by s in float32.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.transforms import apply_updates, lookahead_params, loss_scale, unpack

from ._arguments import check_key, check_parts
from ._rows import count_rows
from ._state import TrainState


def init_state(task: Task, optimizer: optax.GradientTransformation, key: Any) -> TrainState:
    """The state before the first step.

    Args:
        task: what is trained.
        optimizer: its ``init`` is given the parameters.
        key: for the parameters, and for all randomness of the run.
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
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Float[Array, ""]]]]:
    """The step ``(state, batch) -> (state, metrics)``, pure.

    Compile it by ``jax.jit(step, donate_argnums=0)``, as :func:`fit` does for streams: the new
    state then lies where the old one was. Without that there are two, and on a CPU a step of a
    large model can take three times as long.

    Args:
        task: what is trained.
        optimizer: any gradient transformation. Gradients are taken where it looks, at
            :func:`~jaxopt_course.transforms.lookahead_params`. Its ``update`` is also offered
            ``value``, ``grad`` and ``value_fn``, which line searches and plateau schedules ask for,
            and ``weight``, the total weight of the batch (its number of rows where it has no
            weights), by which :class:`~jaxopt_course.transforms.MultiSteps` weighs batches. A loop
            around the step ends with :func:`~jaxopt_course.transforms.apply_accumulated`.
            Where it scales the loss (:func:`~jaxopt_course.transforms.dynamic_loss_scale`), a step
            whose gradients are not finite changes nothing but the scale and the step count.

    Returns:
        A function whose metrics are the weighted means over the batch, before the update:
        ``"loss"`` and those of the task.

    Raises:
        ValueError: when called, if a metric of the task is called ``"loss"``, ``"skipped"`` or
            ``"step"``.
    """
    check_parts("make_step", task, optimizer)
    taken = step_function(task, optimizer)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        after = taken(state, batch)
        return after.state, after.means

    return step


class StepTaken(NamedTuple):
    """A step and what it went through.

    state: the state after it.
    means: the weighted means of ``"loss"`` and of the metrics over the batch.
    point: the parameters at which loss and gradient were computed.
    grads: the gradients that the optimizer was given.
    """

    state: TrainState
    means: dict[str, Float[Array, ""]]
    point: Params
    grads: Updates


def step_function(
    task: Task,
    optimizer: optax.GradientTransformation,
    batch_at: Callable[[Any, Array], Batch] | None = None,
) -> Callable[[TrainState, Batch], StepTaken]:
    """The step of :func:`make_step`, together with its gradients and where they were computed.

    With ``batch_at(key, step)``, the batch of a step in the past, ``value_fn`` is a
    :class:`ValueFn` that knows them, for line searches inside an accumulation of gradients.
    """
    extended = checks.transformation("make_step", "optimizer", optimizer)

    def step(state: TrainState, batch: Batch) -> StepTaken:
        key = jax.random.fold_in(state.key, state.step)

        def mean_loss(params: Params) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
            means, model_state = batch_means(
                task, unpack(params), state.model_state, batch, key=key, train=True
            )
            return means["loss"], (means, model_state)

        def objective(params: Params) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
            loss, found = mean_loss(params)
            return (loss if scale is None else scale.astype(loss.dtype) * loss), found

        scale = loss_scale(state.opt_state)
        point = lookahead_params(state.opt_state, state.params)
        grads, (means, model_state) = jax.grad(objective, has_aux=True)(point)
        model_state = tree.cast_like(model_state, state.model_state)
        if scale is not None:
            grads = jax.tree.map(lambda g: g / scale.astype(g.dtype), tree.widened(grads))
            finite = tree.all_finite(grads)
            model_state = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old), model_state, state.model_state
            )
        value_fn = ValueFn(
            lambda params: mean_loss(params)[0], _of_last(task, state, state.step, batch_at)
        )
        params, opt_state = take_step(
            extended,
            state.params,
            state.opt_state,
            value_fn,
            means["loss"],
            grads,
            weight=batch_weight(batch),
        )
        after = TrainState(state.step + 1, params, model_state, opt_state, state.key)
        return StepTaken(after, means, point, grads)

    return step


@dataclasses.dataclass(frozen=True)
class ValueFn:
    """The mean loss of a batch as a function of the parameters, as it is offered to an optimizer.

    loss: ``loss(params) -> f[]``.
    of_last: ``of_last(count, at_most) -> function``, the same for the rows of the last ``count``
        batches together, i32[]; the bound on their number is static. None: these are gone.
    """

    loss: Callable[[Params], Array]
    of_last: Callable[[Array, int], Callable[[Params], Array]] | None

    def __call__(self, params: Params, weight: Any = None) -> Array:
        """The loss. Line searches of optax hand on extra arguments, and refuse unnamed ones."""
        return self.loss(params)


def value_fn_after(
    task: Task, state: TrainState, batch_at: Callable[[Any, Array], Batch] | None
) -> ValueFn | None:
    """What an update after the last batch is offered: the mean loss of batches in the past."""
    of_last = _of_last(task, state, state.step - 1, batch_at)
    return None if of_last is None else ValueFn(of_last(jnp.ones((), jnp.int32), 1), of_last)


def _of_last(
    task: Task,
    state: TrainState,
    newest: Array,
    batch_at: Callable[[Any, Array], Batch] | None,
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
                means, _ = batch_means(
                    task, unpack(params), state.model_state, batch, key=key, train=True
                )
                weight = jnp.where(back < count, batch_weight(batch), 0)
                return total + weight, weight * numerics.as_float(means["loss"])

            backwards = jnp.arange(at_most, dtype=jnp.int32)
            weight, losses = jax.lax.scan(add, numerics.as_float(0.0), backwards)
            return numerics.safe_divide(jnp.sum(losses), weight)

        return mean_loss

    return of_last


def take_step(
    tx: GradientTransformationExtraArgs,
    params: Params,
    opt_state: State,
    value_fn: Callable[[Params], Array],
    value: Float[Array, ""],
    grads: Updates,
    *,
    weight: Float[Array, ""] | None = None,
) -> tuple[Params, State]:
    """Parameters and state after an update, which is offered all that a line search may ask for.

    Without ``weight`` every step counts alike, which is what its absence means to ``update``.
    """
    offers = {} if weight is None else {"weight": weight}
    updates, opt_state = tx.update(
        grads, opt_state, params, value=value, grad=grads, value_fn=value_fn, **offers
    )
    return apply_updates(params, updates), opt_state


def batch_weight(batch: Batch) -> Float[Array, ""]:
    """The total weight of a batch: the sum of its weights, or without these its number of rows."""
    if batch.weights is None:
        return numerics.as_float(count_rows("Batch", batch.inputs))
    return numerics.as_float(jnp.sum(batch.weights))


def batch_means(
    task: Task, params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool
) -> tuple[dict[str, Float[Array, ""]], PyTree]:
    """The weighted means of ``"loss"`` and of the metrics over a batch, and the model state."""
    losses, (model_state, metrics) = losses_of(
        task, params, model_state, batch, key=key, train=train
    )
    taken = sorted({"loss", "skipped", "step"} & set(metrics))
    if taken:
        raise ValueError(f"Task: a metric cannot be called {taken[0]!r}, that name is in use.")

    def mean(values: Array) -> Array:
        if batch.weights is None:
            return jnp.mean(values)
        counted = jnp.where(batch.weights > 0, values, 0)  # even a NaN of weight 0 leaves no trace
        weights = batch.weights.astype(values.dtype)
        return numerics.safe_divide(jnp.sum(weights * counted), jnp.sum(weights))

    return {name: mean(values) for name, values in {"loss": losses, **metrics}.items()}, model_state
