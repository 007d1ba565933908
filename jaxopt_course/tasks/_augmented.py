"""Data augmentation as part of a task: what is trained sees changed examples, evaluation does not.

loss(params, state, batch, key, train=True) = task.loss(params, state, augment(batch), ...)
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Key, PyTree, ScalarLike

from jaxopt_course.core import Params, checks
from jaxopt_course.data import mixup

from ._task import Batch, Task


def augmented(task: Task, augment: Callable[[Key[Array, ""], PyTree], PyTree]) -> Task:
    """The task whose training sees ``augment(key, inputs)`` in place of the inputs.

    Each step has a key of its own, so an example comes out anew in every epoch, and a training
    that is resumed sees what it would have seen.

    Args:
        task: any task. Its evaluation and predictions stay as they are.
        augment: pure; such as ``jaxopt_course.data`` has. Its numbers may be traced.

    Returns:
        A task with the parameters and metrics of ``task``.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.data import gaussian_noise
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> task = function_task(lambda key: {}, lambda params, x: x, problem("regression"))
        >>> task, batch = augmented(task, gaussian_noise(0.1)), Batch(jnp.ones(2), jnp.ones(2))
        >>> losses, _ = task.loss({}, {}, batch, key=jax.random.key(0), train=True)
        >>> bool((losses > 0).all())
        True
        >>> losses, _ = task.loss({}, {}, batch, key=None, train=False)
        >>> losses.tolist()
        [0.0, 0.0]
    """
    return _trained_on(task, lambda key, batch: batch._replace(inputs=augment(key, batch.inputs)))


def mixed(task: Task, alpha: ScalarLike, *, n_classes: int | None = None) -> Task:
    """The task whose training sees mixtures of examples and of their targets: mixup.

    Args:
        task: any task whose loss takes means of targets. Its evaluation stays as it is.
        alpha: of the Beta distribution of the shares, in [0, inf); 0 mixes nothing.
        n_classes: where targets are class numbers: how many classes there are. The loss is then
            given rows of probabilities. None: targets are mixed as numbers.

    Returns:
        A task with the parameters and metrics of ``task``. Metrics in training are those of the
        mixtures.

    Raises:
        ValueError: if ``alpha`` is out of range.
    """
    checks.number("mixed", "alpha", alpha, "[0, inf)")

    def change(key: Any, batch: Batch) -> Batch:
        inputs, targets = mixup(
            key, batch.inputs, batch.targets, alpha, n_classes=n_classes, weights=batch.weights
        )
        return batch._replace(inputs=inputs, targets=targets)

    return _trained_on(task, change)


def _trained_on(task: Task, change: Callable[[Any, Batch], Batch]) -> Task:
    """``task`` with its batches changed in training."""

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if train:
            # Split, not folded in: of two wrappers, the inner one draws other numbers.
            own, key = jax.random.split(key)
            batch = change(own, batch)
        return task.loss(params, model_state, batch, key=key, train=train)

    return task._replace(loss=loss)
