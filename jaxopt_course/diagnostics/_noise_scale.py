"""The gradient noise scale: how many examples a batch needs before its noise no longer matters.

The gradient of one example has the mean G and the covariance matrix S, so that of a batch of B
examples has the mean G and the covariance S / B. Its noise is as large as the gradient itself if B
is the noise scale

    B_simple = tr(S) / |G|^2

A step with a batch of B examples makes 1 / (1 + B_simple / B) of the progress of a step with the
exact gradient. Let g_1, ..., g_K be the mean gradients of K groups of b examples, and g their mean.
Without bias

    tr(S)  is estimated by  b / (K - 1) sum_k |g_k - g|^2
    |G|^2  is estimated by  |g|^2 - tr(S) / (K b)

These are the paper's estimates from two batch sizes, b and K b, and for b = 1 those from the
gradients of single examples. The standard errors are those of the jackknife over groups.

Reference: McCandlish, Kaplan, Amodei & OpenAI Dota Team, "An Empirical Model of Large-Batch
Training", 2018, equations 2.8 and 2.9 and appendix A, https://arxiv.org/abs/1812.06162.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import checks, on_auto_axes, tree
from jaxopt_course.tasks import Batch, Task, losses_of, targets_check
from jaxopt_course.training import TrainState
from jaxopt_course.transforms import unpack


# Gradients that are held at once. On CPUs more of them are no faster.
AT_ONCE = 16


class NoiseScaleReport(NamedTuple):
    """The noise of gradients and the batch size at which it equals the gradient; ``print`` it.

    noise_scale: B_simple = tr(S) / |G|^2, in examples. Its estimate is the quotient of two unbiased
        ones, and negative if that of |G|^2 is.
    trace: tr(S), the sum of the variances of all entries of the gradient of one example.
    squared_norm: |G|^2, the squared norm of the mean gradient.
    standard_errors: name of each of these -> its standard error.
    groups: number of groups of examples.
    group_size: number of examples in a group.
    """

    noise_scale: float
    trace: float
    squared_norm: float
    standard_errors: dict[str, float]
    groups: int
    group_size: int

    def __str__(self) -> str:
        examples = self.groups * self.group_size
        lines = [
            f"tr(S), noise of the gradient of one example: {self._with_error('trace')}",
            f"|G|^2, squared norm of the mean gradient: {self._with_error('squared_norm')}",
            f"B_simple = tr(S) / |G|^2: {self._with_error('noise_scale')} examples",
        ]
        if not self.squared_norm > 2 * self.standard_errors["squared_norm"]:
            lines.append(
                f"|G|^2 is not distinguished from 0 with {examples} examples, so B_simple is only "
                "known to be large: use more examples."
            )
        else:
            size = self.noise_scale
            lines.append(
                f"Batches well below {size:.3g} examples are mostly noise: twice the batch takes "
                f"about half the steps. Well above {size:.3g} a larger batch saves hardly any step."
            )
        return "\n".join(lines)

    def _with_error(self, name: str) -> str:
        return f"{getattr(self, name):.3g} +- {self.standard_errors[name]:.2g}"


def noise_scale(
    task: Task, state: TrainState, batch: Batch, *, group_size: int = 1
) -> NoiseScaleReport:
    """Estimate the gradient noise scale from the examples of one batch; nothing is updated.

    :func:`~jaxopt_course.transforms.measure_noise_scale` estimates it during a training.

    Args:
        task: the task whose gradient is measured.
        state: state of the training; its key and step determine dropout, independently for each
            group.
        batch: the examples, without weights. More of them give smaller standard errors.
        group_size: number of examples of which one gradient is computed, in [1, inf). It must
            divide the batch into at least 3 groups. Models with batch statistics need larger groups
            than the default.

    Raises:
        ValueError: if the batch has weights, or does not consist of at least 3 such groups.

    Examples:
        >>> from jaxopt_course.optimizers import sgd
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> from jaxopt_course.training import init_state
        >>> init, apply = lambda key: jnp.zeros((1, 1)), lambda w, x: x * w
        >>> task = function_task(init, apply, problem("regression"))
        >>> state = init_state(task, sgd(0.1), jax.random.key(0))
        >>> targets = jnp.array([[1.0], [2.0], [3.0]])  # gradients 2 (w - y): -2, -4 and -6
        >>> report = noise_scale(task, state, Batch(jnp.ones((3, 1)), targets))
        >>> round(report.trace, 3), round(report.squared_norm, 3)
        (4.0, 14.667)
    """
    owner = "noise_scale"
    checks.integer(owner, "group_size", group_size, "[1, inf)")
    if batch.weights is not None:
        raise ValueError(f"{owner}: `batch` must have no weights; leave out rows of weight 0.")
    rows = jnp.shape(jax.tree.leaves(batch.inputs)[0])[0]
    if rows % group_size or rows < 3 * group_size:
        raise ValueError(
            f"{owner}: `group_size` must divide the {rows} rows of `batch` into at least 3 groups, "
            f"got {group_size}."
        )
    params = unpack(state.params)
    targets_check(task, batch.inputs, (params, state.model_state))(owner, batch.targets, None)

    measure = jax.jit(functools.partial(_measure, task, rows // group_size))
    measured = on_auto_axes(measure, state._replace(params=params, opt_state=()), batch)
    norm, along, away = (np.asarray(x, float) for x in jax.device_get(measured))
    estimates = _estimates(float(norm), away.sum(), len(away), group_size)
    # Without group k the mean is g - d_k / (K - 1), where d_k = g_k - g.
    rest = len(away) - 1
    norms = norm - 2 * along / rest + away / rest**2
    without = _estimates(norms, away.sum() - away * len(away) / rest, rest, group_size)
    errors = {
        name: float(np.sqrt(rest * np.var(without[name]))) for name in NoiseScaleReport._fields[:3]
    }
    found = {name: float(value) for name, value in estimates.items()}
    return NoiseScaleReport(
        **found, standard_errors=errors, groups=len(away), group_size=group_size
    )


def _measure(
    task: Task, groups: int, state: TrainState, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, "groups"], Float[Array, "groups"]]:
    """|g|^2, and for each group g . d_k and |d_k|^2, where d_k = g_k - g."""
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), groups)
    split = lambda x: x.reshape(groups, -1, *x.shape[1:])
    parts = jax.tree.map(split, batch), keys

    def gradient(part: Any) -> PyTree:
        own, key = part

        def mean_loss(params: PyTree) -> Array:
            losses, _ = losses_of(task, params, state.model_state, own, key=key, train=True)
            return jnp.mean(losses)

        return tree.widened(jax.grad(mean_loss)(state.params))

    def of_group(part: Any) -> tuple[Array, Array]:
        away = tree.sub(gradient(part), mean)
        return tree.vdot(mean, away), tree.vdot(away, away)

    # Two passes: the squares of gradients cancel where their noise is small.
    total = lambda total, part: (jax.tree.map(jnp.add, total, gradient(part)), None)
    zeros = tree.accumulator_like(state.params)
    mean = tree.scale(jax.lax.scan(total, zeros, parts)[0], 1 / groups)
    along, away = jax.lax.map(of_group, parts, batch_size=min(AT_ONCE, groups))
    return tree.vdot(mean, mean), along, away


def _estimates(norm: Any, away: Any, groups: int, group_size: int) -> dict[str, Any]:
    """The estimates from |g|^2 and the sum of |g_k - g|^2."""
    trace = group_size * away / (groups - 1)
    squared_norm = norm - trace / (groups * group_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise_scale = np.divide(trace, squared_norm)
    return {"noise_scale": noise_scale, "trace": trace, "squared_norm": squared_norm}
