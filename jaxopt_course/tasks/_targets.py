"""Concrete targets are checked against what the problem of a task allows.

Tracers pass, for they have no values yet; there a class number outside [0, K) gives NaN.
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


BLOCK = 1 << 24  # bytes that are copied from an accelerator at a time


def targets_check(task: Task, inputs: PyTree, variables: Any = None) -> Callable[..., None]:
    """The function ``check(owner, targets, used=None)`` of the targets of ``task``.

    It raises one sentence with the allowed set and the first row outside of it. Nothing is
    checked where the task has no problem (one of one's own), or where the targets are traced or
    are not an array. Of an array that lies on several devices or processes, each process looks
    at the rows that it holds. Nothing is copied but, from an accelerator, a few megabytes at a
    time.

    Args:
        task: whose ``problem`` says what is allowed.
        inputs: of any number of rows; only shapes and dtypes matter. The outputs for them tell
            how many classes there are.
        variables: the pair (params, model_state), or None, where ``task.init`` tells their shapes.

    Returns:
        ``check``. Its ``owner`` is the function for the message; its ``used`` is a bool for
        every row, False for those that may hold anything, None if all count.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> task = function_task(lambda key: {}, lambda params, x: x, problem("binary"))
        >>> check = targets_check(task, jnp.ones((3, 1)))
        >>> check("fit", jnp.array([1, -1, 1]))
        Traceback (most recent call last):
        ValueError: fit: binary targets must lie in [0, 1], got -1 at row 1.
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
    found = jax.eval_shape(
        task.predict, *jax.tree.map(like, variables), jax.tree.map(one_row, inputs)
    )
    return found.shape[1:] if hasattr(found, "shape") else ()


def _blocks(targets: jax.Array | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Whole rows of ``targets`` on the host, and the number of the first of them."""
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
    """Copies of some rows of ``array`` at a time, and the number of the first of them.

    ``np.asarray(array)`` would keep a copy of the whole array as long as the array lives.
    """
    n = array.shape[0]
    rows = max(1, block * n // max(1, array.nbytes))
    for begin in range(0, n, rows):
        with jax.ensure_compile_time_eval():  # also while a training is traced
            some = array[begin : begin + rows]
        yield begin, np.asarray(some)
