"""The check of concrete targets against the values that the problem of a task allows.

Traced targets have no values yet and pass. Among them a class index outside [0, K) gives NaN.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import checks
from jaxopt_course.problems import check_target_values

from ._task import Task


BLOCK = 1 << 24  # bytes to copy from an accelerator at a time


def targets_check(task: Task, inputs: PyTree, variables: Any = None) -> Callable[..., None]:
    """The function ``check(owner, targets, used=None)`` for the targets of ``task``.

    It raises an error with the allowed set and the first row outside it. ``owner`` names the
    calling function. ``used`` is False for rows to ignore; None checks all rows. Targets are not
    checked if the task has no problem, or if they are traced or not an array. Each process checks
    the rows that it holds. It copies at most a few megabytes at a time, and only from accelerators.

    Args:
        task: the task, whose ``problem`` defines the allowed values.
        inputs: inputs with any number of rows, of which only shapes and dtypes matter. The shape of
            their outputs gives the number of classes.
        variables: the pair (params, model_state), or None to derive its shapes from ``task.init``.
    """
    problem = task.problem
    if problem is None or problem.targets == "any":
        return lambda owner, targets, used=None: None
    outputs = _outputs_shape(task, inputs, variables) if problem.targets == "classes" else ()

    def check(owner: str, targets: Any, used: np.ndarray | None = None) -> None:
        if isinstance(targets, jax.Array | np.ndarray) and not checks.is_traced(targets):
            for first_row, values in _blocks(targets):
                check_target_values(owner, problem, values, outputs, first_row=first_row, used=used)

    return check


def _outputs_shape(task: Task, inputs: PyTree, variables: Any) -> tuple[int, ...]:
    """The shape of the outputs for one example, which is that of its prediction."""
    like = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
    one_row = lambda x: jax.ShapeDtypeStruct((1, *jnp.shape(x)[1:]), jnp.result_type(x))
    if variables is None:
        variables = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    shapes = (*jax.tree.map(like, variables), jax.tree.map(one_row, inputs))
    found = jax.eval_shape(task.predict, *shapes)
    return found.shape[1:] if hasattr(found, "shape") else ()


def _blocks(targets: jax.Array | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Whole rows of ``targets`` on the host, and the index of the first of them."""
    if isinstance(targets, np.ndarray) or targets.ndim == 0:
        yield 0, np.asarray(targets)
        return
    seen = set()
    for shard in targets.addressable_shards:
        first = shard.index[0].indices(targets.shape[0])[0]
        if first in seen or shard.data.shape[1:] != targets.shape[1:]:
            continue
        seen.add(first)
        if shard.device.platform == "cpu":
            yield first, np.asarray(shard.data)  # a view
        else:
            yield from ((first + begin, block) for begin, block in copied_blocks(shard.data))


def copied_blocks(array: jax.Array, block: int = BLOCK) -> Iterator[tuple[int, np.ndarray]]:
    """Copies of a few rows of ``array`` at a time, and the index of the first of them.

    ``np.asarray(array)`` would keep a copy of the whole array for the lifetime of the array.
    """
    n = array.shape[0]
    rows = max(1, block * n // max(1, array.nbytes))
    for begin in range(0, n, rows):
        with jax.ensure_compile_time_eval():  # also while a training is traced
            some = array[begin : begin + rows]
        yield begin, np.asarray(some)
