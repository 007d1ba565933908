"""The coordinate check: do activations keep their size while a model becomes wider?

Models of several widths take a few steps on one batch. After each step the root mean square of the
outputs of each layer is measured. Where hyperparameters transfer it does not depend on the width;
its slope over the width, both logarithmic, shows which layer explodes (above 0) or is not trained
as the model becomes wide (below 0). Before the first step only the output layer of muP has a slope,
about -1/2.

Reference: Yang, Hu et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
Hyperparameter Transfer", 2022, appendix D.1, https://arxiv.org/abs/2203.03466.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from jaxopt_course.core import (
    canonical_convolutions,
    checks,
    on_automatic_mesh,
    root_mean_square,
    text_table,
)
from jaxopt_course.tasks import Batch, Task
from jaxopt_course.training import init_state, make_step
from jaxopt_course.transforms import unpack


# A slope of 0.1 is a change of 7 % when the width is doubled, and of 32 % over a factor of 16.
LEVEL = 0.1


class CoordinateCheckReport(NamedTuple):
    """The size of the activations of each layer by width and step; ``print`` it.

    widths: the widths, i64[widths].
    scales: {layer: root mean square of its outputs before the first step and after each step, the
        geometric mean over seeds, f[widths, steps + 1]}.
    """

    widths: Int[np.ndarray, "widths"]
    scales: dict[str, Float[np.ndarray, "widths moments"]]

    @property
    def slopes(self) -> dict[str, Float[np.ndarray, "moments"]]:
        """{layer: slope of the logarithm of its scale over that of the width, by least squares}.

        A slope is NaN if a scale is 0 or not finite.
        """
        x = np.log(self.widths) - np.mean(np.log(self.widths))
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: x @ np.log(scale) / (x @ x) for name, scale in self.scales.items()}

    def __str__(self) -> str:
        slopes = self.slopes
        rows = [
            [
                name,
                _signed(slope[0]),
                _signed(slope[-1]),
                f"{scale[0, -1]:.3g}",
                f"{scale[-1, -1]:.3g}",
            ]
            for (name, slope), scale in zip(slopes.items(), self.scales.values(), strict=True)
        ]
        steps = checks.counted(len(next(iter(slopes.values()))) - 1, "step")
        narrow, wide = self.widths[0], self.widths[-1]
        header = ["layer", "slope at start", f"after {steps}", f"width {narrow}", f"width {wide}"]
        kinds = {
            "grow with the width": [name for name, slope in slopes.items() if slope[-1] > LEVEL],
            "shrink with the width": [name for name, slope in slopes.items() if slope[-1] < -LEVEL],
            "are 0 or not finite": [name for name, slope in slopes.items() if np.isnan(slope[-1])],
        }
        said = [f"These activations {kind}: {', '.join(x)}." for kind, x in kinds.items() if x]
        level = f"The activations of all layers are level: no slope after {steps} exceeds {LEVEL}."
        return "\n".join([text_table(header, rows), *(said or [level])])


def coordinate_check(
    make: Callable[[int], tuple[Task, optax.GradientTransformation]],
    widths: Sequence[int],
    batch: Batch,
    *,
    key: Key[Array, ""],
    steps: int = 5,
    seeds: int = 4,
) -> CoordinateCheckReport:
    """Train models of several widths for a few steps, and compare the sizes of their activations.

    :func:`~jaxopt_course.plots.coordinate_curves` draws the report.

    Args:
        make: maps a width to the task and the optimizer of that width. The task must have
            ``activations``, and the same layers at every width.
        widths: the widths, increasing, at least two.
        batch: the examples on which every step is taken and the activations are measured.
        key: PRNG key of all seeds.
        steps: number of steps, in [1, inf).
        seeds: number of initializations over which the sizes are averaged, in [1, inf).

    Raises:
        ValueError: if a task has no activations, or the layers depend on the width.

    Examples:
        >>> from jaxopt_course.nn import MLP
        >>> from jaxopt_course.optimizers import adam
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import linen_task
        >>> batch = Batch(jnp.ones((4, 3)), jnp.zeros(4, int))
        >>> def make(width):
        ...     task = linen_task(MLP(2, (width,)), batch.inputs, problem("multiclass"))
        ...     return task, adam(0.1)
        >>> report = coordinate_check(make, (32, 64, 128), batch, key=jax.random.key(0))
        >>> report.scales["Dense_1"].shape
        (3, 6)
    """
    owner = "coordinate_check"
    checks.function(owner, "make", make)
    checks.integers(owner, "[1, inf)", steps=steps, seeds=seeds)
    for width in widths:
        checks.integer(owner, "widths", width, "[1, inf)")
    if len(widths) < 2 or list(widths) != sorted(set(widths)):
        raise ValueError(f"{owner}: `widths` must be increasing, at least two, got {widths!r}.")
    batch, keys = on_automatic_mesh(batch), jax.random.split(key, seeds)
    found = [_scales(*make(width), batch, keys, steps) for width in widths]
    for width, own in zip(widths, found, strict=True):
        if own.keys() != found[0].keys():
            raise ValueError(
                f"{owner}: the layers must be the same at every width, got {', '.join(own)} at "
                f"{width} and {', '.join(found[0])} at {widths[0]}."
            )
    scales = {name: np.stack([own[name] for own in found]) for name in found[0]}
    return CoordinateCheckReport(np.array(widths), scales)


def _scales(
    task: Task, optimizer: optax.GradientTransformation, batch: Batch, keys: Any, steps: int
) -> dict[str, Float[np.ndarray, "moments"]]:
    """The scales of one width, of all seeds in one program."""
    activations = task.activations
    if activations is None:
        raise ValueError("coordinate_check: the task must have `activations`, got None.")
    step = make_step(task, optimizer)

    def measured(state: Any) -> dict[str, Array]:
        outputs = activations(unpack(state.params), state.model_state, batch.inputs)
        is_layer = lambda name, x: jnp.ndim(x) > 1 and not re.search(r"(^|/)slope_\d+$", name)
        return {name: root_mean_square(x) for name, x in outputs.items() if is_layer(name, x)}

    def of_seed(key: Any) -> Any:
        def taken(state: Any, _: Any) -> Any:
            return step(state, batch)[0], measured(state)

        last, before = jax.lax.scan(taken, init_state(task, optimizer, key), length=steps)
        return jax.tree.map(lambda x, y: jnp.append(x, y), before, measured(last))

    run = jax.jit(lambda keys: jax.lax.map(canonical_convolutions(of_seed), keys))
    with jax.debug_nans(False):  # an activation that explodes is to be reported
        scales = jax.device_get(run(keys))
    with np.errstate(divide="ignore"):
        return {name: np.exp(np.mean(np.log(x), axis=0)) for name, x in scales.items()}


def _signed(slope: float) -> str:
    return "-" if np.isnan(slope) else f"{slope:+.3f}"
