"""Wrappers of a task: other examples in training, mixed precision, metrics of whole data sets.

    augmented, mixed   loss(params, state, batch) = task.loss(params, state, change(key, batch))
    mixed_precision    loss(params, state, batch) = task.loss(narrow(params), state, narrow(batch))
    with_metrics       evaluations also compute metric(predictions, targets, weights) over all rows

where ``narrow`` rounds parameters and inputs to the compute dtype. The derivative of a rounding is
a cast back, so gradients have the dtypes of the parameters. The parameters keep their wide dtype,
so they accumulate the small steps of an optimizer that 8 or 11 significant bits would round away.

References: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018,
https://arxiv.org/abs/1710.09412; Micikevicius et al., "Mixed Precision Training", 2018, section
3.1, https://arxiv.org/abs/1710.03740.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Key, PyTree, ScalarLike

from jaxopt_course.core import Params, checks
from jaxopt_course.data import mixup

from ._task import Batch, Task, wide_floats


def augmented(task: Task, augment: Callable[[Key[Array, ""], PyTree], PyTree]) -> Task:
    """The task whose training sees ``augment(key, inputs)`` instead of the inputs.

    Each step has its own key, so an example is augmented differently in every epoch, and a resumed
    training sees the same augmentations.

    Args:
        task: any task. Its evaluation and predictions do not change.
        augment: a pure function, such as those of ``jaxopt_course.data``.

    Example: ``augmented(task, jaxopt_course.data.gaussian_noise(0.1))``.
    """
    return _trained_on(task, lambda key, batch: batch._replace(inputs=augment(key, batch.inputs)))


def mixed(task: Task, alpha: ScalarLike, *, n_classes: int | None = None) -> Task:
    """The task whose training sees mixtures of two examples and of their targets (mixup).

    Args:
        task: any task whose loss accepts means of targets. Its evaluation does not change.
        alpha: parameter of the Beta distribution of the shares, in [0, inf); 0 mixes nothing.
        n_classes: number of classes, if the targets are class indices. The loss then gets rows of
            probabilities. None means that the targets are numbers.

    Returns:
        A task whose metrics in training are those of the mixtures.
    """
    checks.number("mixed", "alpha", alpha, "[0, inf)")

    def change(key: Any, batch: Batch) -> Batch:
        if batch.targets is None:
            raise ValueError("mixed: the batches must have targets, got None.")
        inputs, targets = mixup(
            key, batch.inputs, batch.targets, alpha, n_classes=n_classes, weights=batch.weights
        )
        return batch._replace(inputs=inputs, targets=targets)

    return _trained_on(task, change)


def _trained_on(task: Task, change: Callable[[Any, Batch], Batch]) -> Task:
    """The task whose training sees ``change(key, batch)``."""

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if train:
            # Split, not folded in, so that nested wrappers draw different numbers.
            own, key = jax.random.split(key)
            batch = change(own, batch)
        return task.loss(params, model_state, batch, key=key, train=train)

    return task._replace(loss=loss)


def mixed_precision(task: Task, compute_dtype: DTypeLike = jnp.bfloat16) -> Task:
    """The task whose model computes in ``compute_dtype``.

    Parameters and floating inputs are rounded for the model. Targets, row weights and the model
    state (batch statistics) are not. Losses, metrics, predictions and activations are in float32 or
    wider. Because float16 has a narrow range, combine it with
    :func:`~jaxopt_course.transforms.dynamic_loss_scale`.

    Args:
        task: any task. A layer with an explicit dtype computes in that dtype. A layer without one
            that promotes its input to the dtype of its float32 statistics, as ``nnx.BatchNorm``
            does, needs an explicit dtype; otherwise the layers after it compute in float32.
        compute_dtype: a floating dtype, such as bfloat16 or float16.

    To combine it with :func:`lora`, adapt the task in mixed precision,
    ``lora(mixed_precision(starting_from(task, params)), rank)``: the frozen parameters of a task
    that is adapted first are not rounded.
    """
    dtype = jnp.dtype(compute_dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"mixed_precision: `compute_dtype` must be a floating dtype, got {dtype.name}."
        )

    def narrow(tree: PyTree) -> PyTree:
        is_float = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.floating)
        return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_float(x) else x, tree)

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        batch = batch._replace(inputs=narrow(batch.inputs))
        losses, (new_state, metrics) = task.loss(
            narrow(params), model_state, batch, key=key, train=train
        )
        return wide_floats(losses), (new_state, wide_floats(metrics))

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return wide_floats(task.predict(narrow(params), model_state, narrow(inputs)))

    activations = None
    if (inner := task.activations) is not None:
        activations = lambda params, model_state, inputs: wide_floats(
            inner(narrow(params), model_state, narrow(inputs))
        )
    return task._replace(loss=loss, predict=predict, activations=activations)


def with_metrics(task: Task, metrics: Mapping[str, Callable[..., Any]]) -> Task:
    """The task whose evaluations also compute metrics that are not means over examples.

    A training computes them over its validation rows, where their names have the prefix
    ``"validation_"``, and :class:`~jaxopt_course.training.EarlyStopping` may monitor them. All
    predictions are in memory at once.

    Args:
        task: any task. Its loss does not change.
        metrics: name -> ``metric(predictions, targets, weights) -> number``, pure, such as
            ``jaxopt_course.metrics.roc_auc``. Predictions are those of ``task.predict``. Rows of
            weight 0 are padding, which the metric must ignore. Predictions [n, 1] are given in the
            shape of targets [n].

    Examples:
        >>> from jaxopt_course.metrics import r2
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.training import evaluate
        >>> from jaxopt_course.tasks import function_task
        >>> apply = lambda params, x: x @ params["w"]
        >>> task = function_task(lambda key: {"w": jnp.ones((1, 1))}, apply, problem("regression"))
        >>> task = with_metrics(task, {"r2": r2})
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> evaluate(task, {"w": jnp.ones((1, 1))}, {}, x, x)["r2"]
        1.0
    """
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TypeError(
            "with_metrics: `metrics` must be a dictionary from names to functions, got "
            f"{checks.shown(metrics)}."
        )
    own, earlier = dict(metrics), task.whole_metrics

    def whole_metrics(predictions: Any, targets: Any, weights: Array) -> dict[str, Array]:
        found = {} if earlier is None else earlier(predictions, targets, weights)
        fitted = predictions
        if jnp.shape(predictions) == (*jnp.shape(targets), 1):
            fitted = predictions[..., 0]
        return found | {name: metric(fitted, targets, weights) for name, metric in own.items()}

    return task._replace(whole_metrics=whole_metrics)
