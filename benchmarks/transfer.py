"""The best learning rate and the size of activations over widths, with and without muP.

    python -m benchmarks transfer [--quick]

A perceptron with two hidden layers learns the digits with Adam for three epochs in batches of 64.
The standard parametrization has He's initialization and the same learning rate for all leaves; muP
has the multipliers for which it is the same at the narrowest width. The rates are powers of two,
and all rates and seeds of a width are one compiled population. The loss is the mean over the last
epoch and over seeds. The coordinate check takes steps on the first 256 digits, from output weights
of 0, as the paper advises.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc
from benchmarks._machine import save, save_picture
from benchmarks._measure import options_of, table
from jaxopt_course.diagnostics import coordinate_check
from jaxopt_course.plots import coordinate_curves


DIGITS = jc.data.digits()
PROBLEM = jc.problems.problem("multiclass")
RATES = 2.0 ** np.arange(-11, -1)
COORDINATE_RATE = 2.0**-7

Losses: TypeAlias = dict[str, dict[int, np.ndarray]]  # of each rate, by parametrization and size


def main() -> None:
    """Print both tables, and write ``results/transfer.json`` and ``.png``."""
    options = options_of(__doc__, "three widths, one seed, one epoch").parse_args()
    quick = options.quick
    widths, checked = (32, 64, 128, 256, 512), (64, 128, 256, 512, 1024)
    seeds, epochs = 3, 3
    if quick:
        widths, checked, seeds, epochs = widths[:3], checked[:3], 1, 1
    names = {"muP": True, "standard": False}
    losses = {
        name: {
            width: loss_of_rates(functools.partial(model, width, widths[0], own), seeds, epochs)
            for width in widths
        }
        for name, own in names.items()
    }
    best = best_rates(losses, "width")
    batch = jc.Batch(DIGITS.inputs[:256], DIGITS.targets[:256])
    check = functools.partial(coordinate_check, widths=checked, batch=batch, key=jax.random.key(0))
    make = lambda own: lambda width: from_zero(*model(width, checked[0], own, COORDINATE_RATE))
    reports = {name: check(make(own), steps=11, seeds=seeds) for name, own in names.items()}
    slopes = {name: slopes_of(report) for name, report in reports.items()}
    for report in reports.values():
        print(report)  # noqa: T201
    figures = {"rates": RATES.tolist(), "best": best, "losses": as_lists(losses), "slopes": slopes}
    path = save("transfer", vars(options) | figures)
    picture = save_picture(coordinate_curves(reports), path.with_suffix(".png"))
    print(path, picture, sep="\n")  # noqa: T201


def model(width: int, base: int, is_mup: bool, rate: Any) -> Any:
    """The task and the optimizer of a width."""
    task = task_of(width)
    if not is_mup:
        return task, jc.adam(rate)
    shapes = lambda width: jax.eval_shape(task_of(width).init, jax.random.key(0))[0]
    multipliers = jc.transfer.mup(shapes(base), shapes(width))
    build = lambda m: jc.adam(rate * m.learning_rate, eps=1e-8 * m.eps)
    return jc.transfer.scale_init(task, multipliers), jc.with_multipliers(build, multipliers)


def from_zero(task: Any, optimizer: Any) -> Any:
    """Both, with output weights that start at 0."""

    def init(key: Any) -> Any:
        params, model_state = task.init(key)
        last = jax.tree.map(jnp.zeros_like, params["Dense_2"])
        return params | {"Dense_2": last}, model_state

    return task._replace(init=init), optimizer


def task_of(width: int) -> Any:
    """The task of a perceptron."""
    network = jc.nn.MLP(10, hidden=(width, width), kernel_init="he_normal")
    return jc.linen_task(network, DIGITS.inputs[:1], PROBLEM)


def loss_of_rates(build: Callable[[Any], Any], seeds: int, epochs: int) -> np.ndarray:
    """The loss of each rate, a mean over seeds; NaN where one of them diverged."""
    train = jc.make_train(build, DIGITS, epochs=epochs, batch_size=64)
    last = lambda *arguments: train(*arguments).history["loss"][-1]
    run = jax.jit(jc.make_population(last, ("hyperparameters", "key")))
    keys = jax.random.split(jax.random.key(1), seeds)
    return np.asarray(jnp.mean(run(keys, jnp.asarray(RATES, jnp.float32), None), axis=1))


def best_rates(losses: Losses, size: str) -> dict[str, dict[str, float]]:
    """The rate with the lowest loss of each parametrization and size, which are printed too."""
    best = {
        name: {f"{size} {n}": float(RATES[np.nanargmin(x)]) for n, x in rows.items()}
        for name, rows in losses.items()
    }
    print(table({k: {n: f"2^{np.log2(r):.0f}" for n, r in v.items()} for k, v in best.items()}))  # noqa: T201
    return best


def as_lists(losses: Losses) -> dict[str, dict[str, list[float]]]:
    """The losses as JSON has them."""
    return {k: {str(n): x.tolist() for n, x in v.items()} for k, v in losses.items()}


def slopes_of(report: Any) -> dict[str, float]:
    """The slopes of the layers after 5 and 11 steps."""
    return {
        f"{layer}, {steps} steps": float(slope[steps])
        for layer, slope in report.slopes.items()
        for steps in (5, 11)
    }


if __name__ == "__main__":
    main()
