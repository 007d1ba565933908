"""The memory that a training needs, and loops that need less memory for their derivatives.

:func:`plan` computes the memory on each device from shapes, without any device.

The derivative of a loop of T steps stores what every step computed. Split the loop into segments of
s steps, store only the carry at the beginning of each, and compute a segment again when its
derivative is needed: T / s carries and the results of s steps are then in memory at a time. With
s = sqrt(T) both numbers are sqrt(T), for one more evaluation of the loop.

Reference: Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse
automatic differentiation", 1992, https://doi.org/10.1080/10556789208805505; Chen et al., "Training
Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174, section 4.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, PyTree

from jaxopt_course.core import checks, split_by
from jaxopt_course.tasks import Task

from ._sharding import batch_sharding, split_shapes, state_shardings
from ._step import init_state


class MemoryPlan(NamedTuple):
    """Bytes of a training on each device; ``print`` it as a table in GiB of 2^30 bytes.

    Activations and other temporary arrays, which depend on the compiler, are not included.

    devices: number of devices.
    params: the parameters.
    gradients: the gradients, as large as the parameters.
    optimizer_state: state of the optimizer, such as moments.
    model_state: state of the model, such as batch statistics.
    batch: the device's share of the batch.
    total: the sum.
    """

    devices: int
    params: int
    gradients: int
    optimizer_state: int
    model_state: int
    batch: int
    total: int

    def __str__(self) -> str:
        parts = self._asdict()
        lines = [f"GiB on each of {checks.counted(parts.pop('devices'), 'device')}"]
        return "\n".join(lines + [f"{name:16}{size / 2**30:9.3f}" for name, size in parts.items()])


def plan(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh | AbstractMesh,
    batch: PyTree,
    *,
    sharding: Literal["replicated", "fsdp"] = "fsdp",
) -> MemoryPlan:
    """The memory that a training needs; nothing is computed or allocated.

    Args:
        task: the task to train.
        optimizer: any gradient transformation.
        mesh: mesh with an axis "data"; an ``AbstractMesh`` is sufficient.
        batch: the whole batch, over all devices: arrays or ``jax.ShapeDtypeStruct``.
        sharding: sharding of parameters and states, "replicated" or "fsdp".

    Raises:
        ValueError: if the mesh has no axis "data", or its size does not divide the batch.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jax.sharding import AxisType
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import Batch, function_task
        >>> init = lambda key: {"w": jnp.zeros((2**20, 2**10), jnp.float32)}
        >>> apply = lambda params, inputs: inputs @ params["w"]
        >>> rows = [jax.ShapeDtypeStruct((512, n), jnp.float32) for n in (2**20, 2**10)]
        >>> mesh = AbstractMesh((256,), ("data",), axis_types=(AxisType.Auto,))
        >>> task = function_task(init, apply, problem("regression"))
        >>> print(plan(task, optax.sgd(0.1, 0.9), mesh, Batch(*rows)))
        GiB on each of 256 devices
        params              0.016
        gradients           0.016
        optimizer_state     0.016
        model_state         0.000
        batch               0.008
        total               0.055
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    with split_by(split_shapes(mesh, sharding)):
        state = jax.eval_shape(lambda key: init_state(task, optimizer, key), key)
    places = state_shardings(state, mesh, sharding)
    rows = batch_sharding(mesh)
    _check_rows(batch, mesh.shape["data"])
    params, optimizer_state, model_state, of_batch = (
        sum(map(_bytes, jax.tree.leaves(tree), jax.tree.leaves(shardings)))
        for tree, shardings in (
            (state.params, places.params),
            (state.opt_state, places.opt_state),
            (state.model_state, places.model_state),
            (batch, jax.tree.map(lambda _: rows, batch)),
        )
    )
    parts = (params, params, optimizer_state, model_state, of_batch)
    return MemoryPlan(mesh.size, *parts, total=sum(parts))


def _bytes(leaf: Any, sharding: Any) -> int:
    return math.prod(sharding.shard_shape(leaf.shape)) * int(leaf.dtype.itemsize)


def _check_rows(batch: PyTree, devices: int) -> None:
    for path, leaf in jax.tree.leaves_with_path(batch):
        if not leaf.shape or leaf.shape[0] % devices:
            raise ValueError(
                f"plan: `batch{jax.tree_util.keystr(path)}` must have a number of rows that the "
                f"{devices} devices of axis 'data' divide, got shape {leaf.shape}."
            )


class Segments(NamedTuple):
    """How many turns of each of three nested loops are one segment; None: the loop is not split.

    intervals: of the loop over intervals between two evaluations.
    stretches: of the loop over the stretches of an interval, each within an epoch.
    steps: of the loop over the steps of a stretch.
    """

    intervals: int | None = None
    stretches: int | None = None
    steps: int | None = None


WHOLE = Segments()


def segments_of(total: int, interval: int, stretch: int) -> Segments:
    """Segments of at most sqrt(``total``) steps, the largest that some loop can be split into.

    Args:
        total: number of steps of the training, in [1, inf).
        interval: number of steps between two evaluations.
        stretch: number of steps that the innermost loop takes.
    """
    most = math.isqrt(total)
    if interval <= most:
        return Segments(intervals=most // interval)
    if stretch <= most:
        return Segments(stretches=most // stretch)
    return Segments(steps=most)


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: PyTree, xs: Array, size: int | None
) -> tuple[PyTree, PyTree]:
    """``jax.lax.scan``, whose derivatives store only every ``size``-th carry; None: all."""
    plain = lambda carry, xs: jax.lax.scan(body, carry, xs)
    if size is None:
        return plain(carry, xs)
    number = xs.shape[0] // size
    cut, parts = number * size, []
    if number:
        segment = jax.checkpoint(plain, prevent_cse=False)  # nothing is merged across a loop
        carry, ys = jax.lax.scan(segment, carry, xs[:cut].reshape(number, size, *xs.shape[1:]))
        parts.append(jax.tree.map(lambda y: y.reshape(cut, *y.shape[2:]), ys))
    if cut < xs.shape[0]:
        carry, ys = jax.checkpoint(plain)(carry, xs[cut:])
        parts.append(ys)
    return carry, jax.tree.map(lambda *ys: jnp.concatenate(ys), *parts)
