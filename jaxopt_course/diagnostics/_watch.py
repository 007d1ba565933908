"""Norms of parameters, gradients and updates, layer by layer, in every step of a training.

A gradient that vanishes or explodes, a layer that does not move, and the step in which a NaN
arises, show in these norms before they show in the loss.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Key, PyTree

from jaxopt_course.core import canonical_convolutions, checks, global_norm, text_table, tree
from jaxopt_course.tasks import Task
from jaxopt_course.training import make_training
from jaxopt_course.transforms import unpack


Norms = dict[str, Float[np.ndarray, "steps"]]


class WatchReport(NamedTuple):
    """The norms of each layer in each step of a training; ``print`` it.

    loss: training loss of each batch, f[steps].
    parameters: {layer: norm of its parameters before the step, f[steps]}. A layer is a module with
        parameters of its own.
    gradients: {layer: norm of the gradients that the optimizer receives, f[steps]}.
    updates: {layer: norm of the change of its parameters, f[steps]}.
    """

    loss: Float[np.ndarray, "steps"]
    parameters: Norms
    gradients: Norms
    updates: Norms

    @property
    def first_bad_step(self) -> int | None:
        """The first step, from 0, in which loss or a norm is not finite; None if there is none."""
        columns = [self.loss, *self.gradients.values(), *self.updates.values()]
        bad = ~np.isfinite(np.stack(columns)).all(axis=0)
        return int(np.argmax(bad)) if bad.any() else None

    def __str__(self) -> str:
        last = len(self.loss) - 1
        rows = [
            [name, *(f"{x[name][0]:.2e} to {x[name][last]:.2e}" for x in self[1:])]
            for name in self.parameters
        ]
        text = text_table(["layer", "parameters", "gradient", "update"], rows)
        if (step := self.first_bad_step) is None:
            return text
        parts = {"gradient": self.gradients, "update": self.updates}
        bad = [
            f"the {part} of {name}"
            for part, norms in parts.items()
            for name, norm in norms.items()
            if not np.isfinite(norm[step])
        ]
        what = ", ".join(bad) if np.isfinite(self.loss[step]) else ", ".join(["the loss", *bad])
        return f"{text}\nNot finite for the first time in step {step}: {what}."


def watch(
    task: Task,
    optimizer: optax.GradientTransformation,
    data: Any,
    *,
    key: Key[jax.Array, ""],
    steps: int,
    batch_size: int,
) -> WatchReport:
    """Train, and record the norms of every layer in every step, in one program.

    The steps are those of :func:`~jaxopt_course.training.fit` with the same arguments. A training
    that diverges continues to the last step.

    Args:
        task: the task to train.
        optimizer: any gradient transformation.
        data: a pair (inputs, targets) of arrays, all of whose rows train.
        key: key of all randomness.
        steps: number of batches, in [1, inf).
        batch_size: rows of a batch, in [1, rows].

    Examples:
        >>> from jaxopt_course.optimizers import sgd
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jnp.ones((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [1.0]])
        >>> options = {"key": jax.random.key(0), "steps": 3, "batch_size": 2}
        >>> report = watch(task, sgd(0.25), (x, 3 * x), **options)
        >>> report.gradients["w"].tolist()  # 2 (w - 3), halved by every step
        [4.0, 2.0, 1.0]
    """
    checks.integer("watch", "steps", steps, "[1, inf)")
    training = make_training(lambda _: (task, optimizer), data, batch_size=batch_size)

    @jax.jit
    def run(key: Any) -> Any:
        own = training()
        batches, state = own.batches, own.start(key).state

        def step(carry: Any, index: Any) -> Any:
            state, epoch = carry
            epoch = batches.turn(state.key, epoch, index)
            taken = own.train_step(state, batches.batch(epoch.table, index))
            changes = tree.sub(unpack(taken.state.params), unpack(state.params))
            parts = unpack(state.params), unpack(taken.grads), changes
            return (taken.state, epoch), (taken.means["loss"], *map(_norms, parts))

        first = state, batches.no_epoch
        loop = lambda first: jax.lax.scan(step, first, jnp.arange(steps, dtype=jnp.int32))[1]
        return canonical_convolutions(loop)(first)

    with jax.debug_nans(False):  # to see a NaN is what it is for
        return WatchReport(*jax.device_get(run(key)))


def _norms(parts: PyTree) -> Mapping[str, Any]:
    """The norm of each layer by its path, of the leaves that have it as their last module."""
    layers: dict[str, list[Any]] = {}
    for path, leaf in jax.tree.leaves_with_path(parts):
        name = jax.tree_util.keystr(path[:-1] or path, simple=True, separator="/")
        layers.setdefault(name, []).append(leaf)
    return {name: global_norm(leaves) for name, leaves in layers.items()}
