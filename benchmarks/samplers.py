"""Quality of searches: Bayesian samplers of Optuna, Sobol points and random points.

    python -m benchmarks samplers [--quick] [--gp]

Four numbers of AdamW (learning rate, both decays, weight decay) are searched for an MLP 64-16-10
trained on 200 digits for 100 steps. Each method has 128 trials in one study for each seed. All
methods of a seed share its key, and so the initial parameters and the batches. The figure is the
lowest validation loss found: its median over the studies, and the median difference to random
search, each with a 95 % bootstrap interval.
"""

import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import options_of
from benchmarks._mlp import task_of
from jaxopt_course.data import digits
from jaxopt_course.optimizers import adamw
from jaxopt_course.studies import Float, search
from jaxopt_course.training import Rows, make_train


SPACE = {
    "learning_rate": Float(1e-4, 1.0, log=True),
    "one_minus_b1": Float(1e-3, 1.0, log=True),
    "one_minus_b2": Float(1e-4, 1.0, log=True),
    "weight_decay": Float(1e-4, 10.0, log=True),
}
ROWS = Rows(jnp.arange(200), None, jnp.arange(1437, 1797))


def main() -> None:
    """Run every study, print a line for each method, and write ``results/samplers.{json,png}``."""
    parser = options_of(__doc__, "4 studies a method, not 20")
    parser.add_argument(
        "--gp", action="store_true", help="include Gaussian processes, at a second per trial"
    )
    options = parser.parse_args()
    methods = ["random", "sobol", "tpe", *(["gp"] if options.gp else [])]
    found = {method: studies(method, 4 if options.quick else 20) for method in methods}
    figures = {method: figure(found, method) for method in methods}
    for method, row in figures.items():
        print(f"{method}: {row}")  # noqa: T201
    path = save("samplers", {**vars(options), "trials": 128, **figures})
    print(path)  # noqa: T201
    draw({method: best for method, (best, _) in found.items()}, path.with_suffix(".png"))
    print(path.with_suffix(".png"))  # noqa: T201


def studies(method: str, seeds: int) -> tuple[np.ndarray, float]:
    """The lowest loss after each trial, f[seeds, trials], and the seconds that all took."""
    task = task_of(16)

    def build(hp: dict[str, Any]) -> Any:
        b1, b2 = 1 - hp["one_minus_b1"], 1 - hp["one_minus_b2"]
        return task, adamw(hp["learning_rate"], b1=b1, b2=b2, weight_decay=hp["weight_decay"])

    train = make_train(build, digits(), steps=100, batch_size=50)
    begin, scores = time.perf_counter(), []
    for seed in range(seeds):
        result = search(
            train, SPACE, key=jax.random.key(seed), trials=128, folds=ROWS, method=method,
            strategy="map", progress=False,
        )  # fmt: skip
        scores.append(np.nan_to_num(result.scores[:, 0, 0], nan=np.inf))
    return np.minimum.accumulate(scores, axis=1), time.perf_counter() - begin


def figure(found: dict[str, tuple[np.ndarray, float]], method: str) -> dict[str, Any]:
    """Median of the studies' best, and median difference to random search, with intervals."""
    best, seconds = found[method][0][:, -1], found[method][1]
    difference = best - found["random"][0][:, -1]
    return {
        "median_best": float(np.median(best)),
        "interval": interval(best),
        "median_minus_random": float(np.median(difference)),
        "interval_minus_random": interval(difference),
        "seconds": seconds,
    }


def interval(values: np.ndarray) -> list[float]:
    """Of the median, by the percentiles of 10,000 resamples."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return [float(v) for v in np.percentile(np.median(drawn, axis=1), [2.5, 97.5])]


def draw(best: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """The lowest loss so far over the trials: medians, and quartiles as bands."""
    from jaxopt_course.plots._style import finish, line_style, new_figure

    picture = new_figure(6, 4)
    axes = picture.subplots()
    for number, (method, values) in enumerate(best.items()):
        style = line_style(number) | {"marker": None}
        trials = np.arange(1, values.shape[1] + 1)
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        axes.plot(trials, middle, label=method, **style)
        axes.fill_between(trials, low, high, alpha=0.15, color=style["color"])
    axes.set(xlabel="trials", ylabel="lowest validation loss", xscale="log", yscale="log")
    finish(axes)
    picture.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
