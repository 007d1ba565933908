"""The interface between a model and its training: a task, a batch, the losses of a batch.

A training minimizes the weighted mean of the losses of a batch, sum_i w_i l_i / sum_i w_i.

Concrete targets are checked against the values that the problem of a task allows. Traced targets
have no values yet and pass. Among them a class index outside [0, K) gives NaN.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jaxopt_course.core import Params, checks, numerics
from jaxopt_course.problems import Problem, check_target_values


KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating, jax.dtypes.prng_key)


class Batch(NamedTuple):
    """A batch of examples.

    inputs: an array, or a pytree of arrays such as a dict, whose first axis counts the examples.
    targets: likewise, or None for a loss that needs no targets.
    weights: the weight of each example, f[batch]; 0 marks a padding row. None means that every
        example has the weight 1.
    """

    inputs: PyTree
    targets: PyTree = None
    weights: Float[Array, "batch"] | None = None


class Task(NamedTuple):
    """A model with its loss, as pure functions that are independent of optimizers and loops.

    init: ``init(key) -> (params, model_state)``.
    loss: ``loss(params, model_state, batch, *, key, train) ->
        (losses f[batch], (model_state, metrics {name: f[batch]}))``. ``key`` is the PRNG key of
        dropout and the like; it is None if ``train`` is False.
    predict: ``predict(params, model_state, inputs) -> predictions``, which are the activated
        outputs: probabilities, or numbers in the unit of the targets.
    activations: ``activations(params, model_state, inputs) -> {layer: array}``, or None.
    problem: the problem that defines loss, metrics and predictions. Concrete targets are checked
        against the values it allows; with None they are not checked.
    whole_metrics: ``whole_metrics(predictions, targets, weights) -> {name: number}``, metrics of a
        whole data set, which evaluations compute; None: there are none. See :func:`with_metrics`.
    merge: ``merge(params) -> params`` of the wrapped task, for a wrapper that trains other
        parameters than the model's, such as :func:`~jaxopt_course.tasks.lora`; otherwise None.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    predict: Callable[..., Any]
    activations: Callable[..., Any] | None = None
    problem: Problem | None = None
    whole_metrics: Callable[..., Any] | None = None
    merge: Callable[..., Any] | None = None


def losses_of(
    task: Task, params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool
) -> tuple[Float[Array, "batch"], tuple[PyTree, dict[str, Float[Array, "batch"]]]]:
    """``task.loss`` of these arguments, with its result checked.

    Every function of this library that needs the losses of a task calls this one. Otherwise a loss
    that is not one number for each example would still have a mean, and a training would minimize
    another function without a message. The checks look only at shapes and dtypes, so they cost
    nothing in a compiled program.

    Returns:
        ``(losses [batch], (model_state, metrics {name: [batch]}))``.

    Raises:
        TypeError: if ``task.loss`` returns something else, or losses that are not floats.
        ValueError: if the losses or a metric do not have the shape [batch], or if in training the
            new model state differs from the old one in its structure, shapes or kinds of dtypes.
    """
    found = task.loss(params, model_state, batch, key=key, train=train)
    is_pair = lambda x: isinstance(x, tuple | list) and len(x) == 2
    if not (is_pair(found) and is_pair(found[1]) and isinstance(found[1][1], Mapping)):
        raise TypeError(
            "Task: `loss` must return (losses, (model_state, metrics)), metrics being a mapping, "
            f"got {jax.tree.structure(found)}."
        )
    losses, (new_state, metrics) = jnp.asarray(found[0]), found[1]
    n = jnp.shape(jax.tree.leaves(batch.inputs)[0])[0]
    for name, values in [("loss", losses), *((f"metric {m!r}", v) for m, v in metrics.items())]:
        if jnp.shape(values) != (n,):
            raise ValueError(
                f"Task: the {name} must have the shape [batch], here ({n},), "
                f"got the shape {jnp.shape(values)}."
            )
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"Task: the loss must hold floats, got {losses.dtype}.")
    if train:
        _check_model_state(new_state, model_state)
    return losses, (new_state, metrics)


def _check_model_state(new: PyTree, old: PyTree) -> None:
    """Raise unless ``new`` can replace ``old``. Floats may have another width."""
    checks.like("Task", "`model_state` that `loss` returns", new, old, than="model state given")
    for (path, x), y in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        given, returned = jnp.result_type(y), jnp.result_type(x)
        kind = next(kind for kind in KINDS if jnp.issubdtype(given, kind))
        if not jnp.issubdtype(returned, kind):
            raise ValueError(
                f"Task: the model state at {jax.tree_util.keystr(path)} must keep its dtype "
                f"{given}, got {returned}."
            )


def check_problem(owner: str, problem: Any) -> None:
    """Raise unless ``problem`` is a Problem."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f'{owner}: `problem` must be a Problem, such as problem("multiclass"), got {problem!r}.'
        )


def scorer(
    owner: str, problem: Problem | None, loss: Callable[..., Any] | None
) -> Callable[[Any, Batch, PyTree], Any]:
    """``score(outputs, batch, model_state)`` of a problem or of the loss of a user.

    It returns what the ``loss`` of a task returns.
    """
    if (problem is None) == (loss is None):
        raise ValueError(f"{owner}: give exactly one of `problem` and `loss`.")
    if problem is not None:
        check_problem(owner, problem)
        return lambda outputs, batch, state: _score(problem, outputs, batch.targets, state)
    checks.function(owner, "loss", loss)
    of: Any = loss

    def score(outputs: Any, batch: Batch, model_state: PyTree) -> Any:
        found = of(wide_floats(outputs), batch)
        losses, *metrics = found if isinstance(found, tuple | list) else (found, {})
        if len(metrics) != 1 or not isinstance(metrics[0], Mapping):
            raise TypeError(
                f"{owner}: `loss` must return losses [batch], or (losses, metrics) with a mapping "
                f"of metrics, got {jax.tree.structure(found)}."
            )
        return losses, (model_state, metrics[0])

    return score


def activation_of(problem: Problem | None) -> Callable[[Any], Any]:
    """The function from outputs to predictions, which are the outputs if there is no problem."""
    return (lambda outputs: outputs) if problem is None else problem.activation


def _score(problem: Problem, outputs: Any, targets: Any, model_state: PyTree) -> Any:
    """What a loss returns: the losses of the examples, and the model state with the metrics."""
    if targets is None:
        raise ValueError(
            f"{problem.name}: the loss of this problem needs targets, got None; a loss of your own "
            "that needs none is the `loss` of a task."
        )
    # A model in half precision may round its outputs, but the sums over classes and the differences
    # that follow need more digits. Widening here lets a loss ignore dtypes.
    outputs = wide_floats(outputs)
    metrics = {name: metric(outputs, targets) for name, metric in problem.metrics.items()}
    return problem.loss(outputs, targets), (model_state, metrics)


def wide_floats(tree: PyTree) -> PyTree:
    """``tree`` with its floating leaves in float32 or wider."""

    def wide(x: Any) -> Any:
        dtype = jnp.result_type(x)
        is_float = jnp.issubdtype(dtype, jnp.floating)
        return jnp.asarray(x, numerics.wide_dtype(dtype)) if is_float else x

    return jax.tree.map(wide, tree)


def rows_that_count(batch: Batch) -> Bool[Array, "batch"] | None:
    """The mask of the rows that enter batch statistics. None means all rows."""
    return None if batch.weights is None else batch.weights > 0


def refuse_padding(owner: str, model: str, batch: Batch) -> None:
    """Raise if ``batch`` has row weights, for a model whose statistics would ignore them."""
    if batch.weights is not None:
        raise ValueError(
            f"{owner}: {model} has batch statistics but its `__call__` takes no `mask`, so rows of "
            "weight 0 would enter the statistics. Add a `mask` argument (bool[batch], or None) and "
            "pass it to the batch normalizations, or train without row weights and with a "
            "`batch_size` that divides the number of training rows."
        )


def arguments_taken(function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the ``offered`` arguments that the signature of ``function`` names."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in names}


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
