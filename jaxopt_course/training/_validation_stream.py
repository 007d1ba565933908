"""The validation on a stream: evaluated in full, with one batch in memory at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import Params, compiled_for, numerics, on_host
from jaxopt_course.data import padded_stream
from jaxopt_course.tasks import Batch, Task

from ._data import count_rows
from ._evaluate import batch_sums, numbers_of
from ._sharding import Placement, check_divided, spread
from ._step import batch_weight
from ._stream import as_batch


NAME = "`validation`"


class ValidationStream:
    """The batches of ``Stream(validation=...)``, and the means of loss and metrics over them.

    Args:
        batches: an iterable that is not an iterator, or a function that returns one.
        batch_size: rows to which short batches are padded, or None.
        check: ``check(owner, targets, used)`` of the targets of a batch.
        placement: that of the training.
    """

    def __init__(
        self,
        batches: Any,
        batch_size: int | None,
        check: Callable[..., None],
        placement: Placement | None = None,
    ) -> None:
        if isinstance(batches, Iterator):
            raise ValueError(
                "fit: a stream of `validation` is read at every evaluation: it must be an iterable "
                f"such as a list, or a function that returns one, got {type(batches).__name__}."
            )
        self._batches, self._batch_size, self._check = batches, batch_size, check
        first = next(self._read(), None)
        if first is None:
            raise ValueError("fit: the stream of `validation` must hold at least one batch.")
        self.first = first
        _check_divided(0, first, placement)

    def means(
        self, task: Task, params: Params, model_state: PyTree, placement: Placement | None
    ) -> dict[str, Any]:
        """The weighted means of loss and metrics, and the metrics of the whole data set."""
        sums: Any = None
        kept: list[Any] = []
        for number, batch in enumerate(self._read()):
            _check_divided(number, batch, placement)
            shared = spread(batch, placement)
            *found, predictions = _of_batch(params, model_state, shared, task=task)
            sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
            if predictions is not None:
                kept.append(on_host((predictions, shared.targets, _weights(shared))))
        totals, weight = sums
        means = {
            name: numerics.safe_divide(x, weight.astype(x.dtype)) for name, x in totals.items()
        }
        if task.whole_metrics is None:
            return means
        whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *kept)
        return means | numbers_of(task.whole_metrics(*whole), means)

    def means_like(self, task: Task, params: Params, model_state: PyTree) -> dict[str, Any]:
        """Shapes and dtypes of :meth:`means`."""

        def of_one(params: Params, model_state: PyTree, batch: Batch) -> dict[str, Any]:
            means, _, predictions = _of_batch(params, model_state, batch, task=task)
            if task.whole_metrics is None:
                return means
            whole = task.whole_metrics(predictions, batch.targets, _weights(batch))
            return means | numbers_of(whole, means)

        return jax.eval_shape(of_one, params, model_state, self.first)

    def _read(self) -> Iterator[Batch]:
        items: Iterable[Any] = self._batches() if callable(self._batches) else self._batches
        if self._batch_size is not None:
            items = padded_stream(items, self._batch_size)
        for number, item in enumerate(items):
            batch = as_batch(item, number, NAME)
            used = None if batch.weights is None else np.asarray(batch.weights) > 0
            self._check(f"fit: batch {number} of {NAME}", batch.targets, used)
            yield batch


@compiled_for("task")
def _of_batch(
    params: Params, model_state: PyTree, batch: Batch, *, task: Task
) -> tuple[dict[str, Any], Array, Any]:
    """The sums of :func:`batch_sums`, the weight of the batch, and the predictions."""
    sums, predictions = batch_sums(task, params, model_state, batch)
    return sums, batch_weight(batch), predictions


def _check_divided(number: int, batch: Batch, placement: Placement | None) -> None:
    rows = jax.process_count() * count_rows("fit", batch.inputs)
    what = f"the rows of batch {number} of {NAME} (`batch_size=` pads short batches)"
    check_divided("fit", what, rows, placement)


def _weights(batch: Batch) -> Array:
    if batch.weights is not None:
        return jnp.asarray(batch.weights)
    return jnp.ones(count_rows("Batch", batch.inputs), jnp.result_type(float))
