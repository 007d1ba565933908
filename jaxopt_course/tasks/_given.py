"""Tasks that start from given parameters, and their adaptation by matrices of low rank (LoRA).

A weight W0 [n, m] is replaced by

    W = W0 + alpha / rank A B,     A [n, rank] ~ Normal(0, 1/n),     B [rank, m] = 0

and only A and B are trained, so the training starts at W0. With G = dL/dW their gradients are

    dL/dA = alpha / rank G B',     dL/dB = alpha / rank A' G

Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1,
https://arxiv.org/abs/2106.09685.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, ScalarLike

from jaxopt_course.core import Mask, Params, checks, numerics, on_host, tree
from jaxopt_course.regularizers import weights_only

from ._task import KINDS, Batch, Task


class GivenStart:
    """The ``init`` of a task that starts from given parameters: it returns copies of them.

    Copies, because a step may write its results over the arrays that a training starts from.
    """

    def __init__(self, task: Task, params: Params, model_state: PyTree) -> None:
        self.params, self._model_state, self._inner = params, model_state, task.init

    def __call__(self, key: Any) -> tuple[Params, PyTree]:
        state = self._inner(key)[1] if self._model_state is None else self._model_state
        return jax.tree.map(jnp.copy, self.params), jax.tree.map(jnp.copy, state)


def starting_from(task: Task, params: Params, model_state: PyTree = None) -> Task:
    """The task whose trainings start from ``params``, such as those of a trained model.

    Args:
        task: any task.
        params: parameters with the structure and shapes of the task's. Floats of another width are
            converted to its dtypes.
        model_state: the model state that belongs to them, such as batch statistics. None: that of
            ``task.init``.

    Returns:
        A task with another ``init``. The key of a training still decides everything else.

    Raises:
        ValueError: if structure or shapes differ from those of the task.
        TypeError: if `task` is not a Task, or an array has another kind of dtype.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jax.random.normal(key, (2, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> params, _ = starting_from(task, {"w": jnp.ones((2, 1))}).init(jax.random.key(0))
        >>> print(params["w"].T)
        [[1. 1.]]
    """
    _check_task("starting_from", task)
    like = jax.eval_shape(lambda: task.init(jax.random.key(0)))
    params = _fitted("parameter", params, like[0])
    if model_state is not None:
        model_state = _fitted("model state", model_state, like[1])
    return task._replace(init=GivenStart(task, params, model_state))


def _fitted(what: str, given: PyTree, like: PyTree) -> PyTree:
    """``given`` in the dtypes of ``like``, whose structure and shapes it must have."""
    checks.like("starting_from", what, given, like, than="task's")

    def fitted(path: Any, x: Any, wanted: Any) -> Any:
        dtype = jnp.result_type(x)
        kind = next(kind for kind in KINDS if jnp.issubdtype(wanted.dtype, kind))
        if not jnp.issubdtype(dtype, kind):
            raise TypeError(
                f"starting_from: {what}{checks.at(path)} must have a dtype like the task's "
                f"{wanted.dtype}, got {dtype}."
            )
        # Arrays on a mesh would tie the task to this mesh.
        spread = isinstance(x, jax.Array) and not checks.is_traced(x) and len(x.devices()) > 1
        return jnp.asarray(on_host(x) if spread else x, wanted.dtype)

    return jax.tree.map_with_path(fitted, given, like)


def lora(
    task: Task, rank: int, select: Mask = weights_only, *, alpha: ScalarLike | None = None
) -> Task:
    """The task that trains additions of low rank to some weights, and keeps all else frozen.

    The parameters are ``{path: {"a": A, "b": B}}``, so optimizer state and checkpoints are small.
    The merged weights are computed in every step, so a step takes as much memory for activations
    and gradients as a training of all weights.

    Args:
        task: a task that starts from given parameters, by :func:`starting_from`.
        rank: rank of the additions, in [1, min(n, m)]; static.
        select: the weights to adapt: a tree of bools shaped like (a prefix of) the parameters, or a
            function of them that returns one, such as that of
            :func:`~jaxopt_course.regularizers.by_path`. The last two axes of a weight are its
            matrix. Axes before these are a stack of matrices, each with its own A and B.
        alpha: strength of the additions, any number. None: ``rank``.

    Returns:
        The task. Its ``merge(params)`` returns the parameters of ``task`` with the additions, to
        be used with ``task``. The frozen parameters are constants of its compiled programs.

    Raises:
        TypeError: if `task` is not a Task.
        ValueError: if `task` does not start from given parameters, or a selected parameter is not
            a matrix of at least this rank.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jnp.zeros((8, 4))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> adapted = lora(starting_from(task, {"w": jnp.ones((8, 4))}), rank=2)
        >>> factors, _ = adapted.init(jax.random.key(0))
        >>> jax.tree.map(jnp.shape, factors)
        {'w': {'a': (8, 2), 'b': (2, 4)}}
        >>> float(adapted.merge(factors)["w"].mean())
        1.0
    """
    _check_task("lora", task)
    checks.integer("lora", "rank", rank, "[1, inf)")
    strength = rank if alpha is None else alpha
    checks.number("lora", "alpha", strength)
    start = task.init
    if not isinstance(start, GivenStart):
        raise ValueError(
            "lora: `task` must start from given parameters: pass `starting_from(task, params)`."
        )
    chosen = _selected(start.params, select, rank)

    def init(key: Any) -> tuple[Params, PyTree]:
        keys = jax.random.split(key, len(chosen) + 1)
        factors = {
            name: _factors(key, weight, rank)
            for key, (name, weight) in zip(keys[1:], chosen.items(), strict=True)
        }
        return factors, start(keys[0])[1]

    def merge(factors: Params) -> Params:
        def merged(path: Any, weight: Array) -> Array:
            own = factors.get(_name(path))
            if own is None:
                return weight
            wide = numerics.wide_dtype(weight.dtype)
            scale = jnp.asarray(strength, wide) / rank
            return (weight.astype(wide) + scale * (own["a"] @ own["b"])).astype(weight.dtype)

        return jax.tree.map_with_path(merged, start.params)

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        return task.loss(merge(params), model_state, batch, key=key, train=train)

    def merging(of: Any) -> Any:
        """``of(params, model_state, inputs)`` of the merged parameters."""
        return lambda params, model_state, inputs: of(merge(params), model_state, inputs)

    activations = None if task.activations is None else merging(task.activations)
    changed = {"init": init, "loss": loss, "predict": merging(task.predict), "merge": merge}
    return task._replace(**changed, activations=activations)


def _selected(params: Params, select: Mask, rank: int) -> dict[str, Array]:
    """The weights to adapt, by their paths."""
    marks = jax.tree.map(
        lambda mark, below: jax.tree.map(lambda _: mark, below),
        tree.for_tree(select, params),
        params,
    )
    for mark in jax.tree.leaves(marks):
        checks.flag("lora", "select", mark)
    chosen = {
        _name(path): weight
        for (path, weight), mark in zip(
            jax.tree.leaves_with_path(params), jax.tree.leaves(marks), strict=True
        )
        if mark
    }
    if not chosen:
        raise ValueError("lora: `select` must select at least one parameter, got none.")
    for name, weight in chosen.items():
        if weight.ndim < 2 or rank > min(weight.shape[-2:]):
            raise ValueError(
                f"lora: each selected parameter must be a matrix of at least rank {rank}, got "
                f"shape {weight.shape} at {name}."
            )
    return chosen


def _factors(key: Any, weight: Array, rank: int) -> dict[str, Array]:
    """A and B of one weight, in float32 or wider."""
    *stack, n, m = weight.shape
    dtype = numerics.wide_dtype(weight.dtype)
    a = jax.random.normal(key, (*stack, n, rank), dtype) / math.sqrt(n)
    return {"a": a, "b": jnp.zeros((*stack, rank, m), dtype)}


def _check_task(owner: str, task: Any) -> None:
    if not isinstance(task, Task):
        raise TypeError(f"{owner}: `task` must be a Task, got {checks.shown(task)}.")


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
