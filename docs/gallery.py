"""The pictures of the site: each optimizer's path along a ravine, and each schedule's curve.

A picture is drawn when the site is built, by the library's own plots. What an optimizer is given
here are numbers that suit this ravine; they are no recommendation.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxopt_course import optimizers, schedules
from jaxopt_course.minimization import (
    trajectory,
)
from jaxopt_course.plots import optimizer_paths
from jaxopt_course.regularizers import prox_l1
from jaxopt_course.surfaces import SURFACES


STEPS = 60
PLAIN, ADAPTIVE = 0.015, 0.4  # learning rates, in units of the gradient and of the parameters
PENALIZED = {"operator": prox_l1, "mask": None}
NO_OPTIMIZERS = {  # parts of others
    *("accelerated", "describe_muon", "hutchinson_estimator_diag_hessian", "muon_dimensions"),
    *("neuron_axes", "orthogonalized", "polar_factor", "schedule_free_eval_params"),
    *("trace_lookahead", "two_axis_dimensions"),
}

# The arguments of an optimizer, where they are not `learning_rate=ADAPTIVE` alone.
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: {"learning_rate": PLAIN} for name in ("sgd", "ema_sgd", "heavy_ball", "sgdw")},
    "acprop": {"learning_rate": 0.015},
    "adadelta": {"learning_rate": 100.0},
    "adagrad": {"learning_rate": 1.5},
    "adagrad_norm": {"learning_rate": 1.5},
    "ademamix": {"learning_rate": 0.1, "b3": 0.9, "alpha": 2.0},
    "dadapt_adamw": {"estim_lr0": 0.01},
    "delta_bar_delta": {"learning_rate": 0.005},
    "dog": {"init_step": ("distance", 0.1)},
    "dowg": {},
    "fista": {"learning_rate": PLAIN / 2} | PENALIZED,
    "fromage": {"learning_rate": 0.1},
    "ftrl": {"learning_rate": 1.5},
    "ista": {"learning_rate": PLAIN} | PENALIZED,
    "lamb": {"learning_rate": 0.1},
    "kl_shampoo": {"learning_rate": 1.0, "initial_eigenvalue": 100.0},
    "lars": {"learning_rate": 0.05, "trust_coefficient": 1.0, "momentum": 0.5},
    "lbfgs": {},
    "lion": {"learning_rate": 0.2},
    "madgrad": {"learning_rate": 0.1},
    "nesterov": {"learning_rate": 0.006},
    "newton_cg": {},
    "noisy_sgd": {"learning_rate": PLAIN, "key": 0},
    "optimistic_gradient_descent": {"learning_rate": PLAIN / 3},
    "polyak_sgd": {},
    "prodigy": {"estim_lr0": 0.01},
    "proximal_adam": {"learning_rate": ADAPTIVE} | PENALIZED,
    "psgd_kron": {"learning_rate": ADAPTIVE, "key": 0},
    "radam": {"learning_rate": 0.02},
    "rprop": {"learning_rate": 0.1},
    "sam": {"optimizer": optimizers.sgd(PLAIN), "adv_optimizer": optimizers.sgd(0.002)},
    "schedule_free": {"base_optimizer": optimizers.sgd(PLAIN), "learning_rate": PLAIN},
    "schedule_free_adamw": {"learning_rate": 0.5},
    "schedule_free_plus": {"learning_rate": 2.0, "b1": 0.5, "weight_power": 2.0},
    "schedule_free_sgd": {"learning_rate": PLAIN},
    "shampoo": {"learning_rate": 1.0},
    "signum": {"learning_rate": 0.1},
    "simplified_ademamix": {"learning_rate": 0.02, "b1": 0.9},
    "sm3": {"learning_rate": 1.0},
    "sophia": {"learning_rate": 0.2, "gamma": 1.0},
    "splus": {"learning_rate": 0.3, "b1": 0.5, "ema_rate": 0.5, "inverse_every": 5},
}

# A schedule over 100 steps with a peak of 1.
SHAPES = ("linear", "1-sqrt", "1-square", "cosine")  # of the decay of `warmup_stable_decay`
SCHEDULES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "constant_schedule": schedules.constant_schedule(1.0),
    "linear_schedule": schedules.linear_schedule(1.0, 0.1, 60, 20),
    "polynomial_schedule": schedules.polynomial_schedule(1.0, 0.1, 2.0, 80),
    "exponential_decay": schedules.exponential_decay(1.0, 30, 0.5),
    "step_decay": schedules.step_decay(1.0, 30, 0.5),
    "inverse_time_decay": schedules.inverse_time_decay(1.0, 20, 1.0),
    "inverse_sqrt_decay": schedules.inverse_sqrt_decay(1.0, 10.0),
    "cosine_decay_schedule": schedules.cosine_decay_schedule(1.0, 80, 0.1),
    "warmup_constant_schedule": schedules.warmup_constant_schedule(0.0, 1.0, 20),
    "warmup_cosine_decay_schedule": schedules.warmup_cosine_decay_schedule(0.0, 1.0, 20, 100),
    "warmup_exponential_decay_schedule": schedules.warmup_exponential_decay_schedule(
        0.0, 1.0, 20, 30, 0.5
    ),
    "warmup_stable_decay": lambda step: jnp.stack(  # one curve for each shape
        [schedules.warmup_stable_decay(0.0, 1.0, 20, 40, 40, shape=shape)(step) for shape in SHAPES]
    ),
    "cyclic_schedule": schedules.cyclic_schedule(0.1, 1.0, 10, 20, 0.7),
    "sgdr_schedule": schedules.sgdr_schedule(
        [
            {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 5, "decay_steps": steps}
            for steps in (25, 75)
        ]
    ),
    "linear_onecycle_schedule": schedules.linear_onecycle_schedule(100, 1.0),
    "cosine_onecycle_schedule": schedules.cosine_onecycle_schedule(100, 1.0),
    "piecewise_constant_schedule": schedules.piecewise_constant_schedule(1.0, {40: 0.5, 70: 0.2}),
    "piecewise_interpolate_schedule": schedules.piecewise_interpolate_schedule(
        "cosine", 1.0, {40: 0.5, 70: 0.2}
    ),
    "join_schedules": schedules.join_schedules(
        [schedules.linear_schedule(0.0, 1.0, 20), schedules.exponential_decay(1.0, 30, 0.5)], [20]
    ),
}


def is_optimizer(name: str) -> bool:
    """Whether a public name of the package of optimizers has a path to draw."""
    return not (name in NO_OPTIMIZERS or name.startswith("scale_by_") or name[0].isupper())


def optimizer_of(name: str) -> Any:
    """The optimizer whose path is drawn."""
    return getattr(optimizers, name)(**ARGUMENTS.get(name, {"learning_rate": ADAPTIVE}))


def optimizer_path(name: str) -> np.ndarray:
    """The points that it passes through, f[STEPS + 1, 2]. The parameters are a 1 x 2 matrix."""
    surface, start = SURFACES["ravine"], jnp.array([SURFACES["ravine"].start])
    path = trajectory(lambda w: surface.fn(w[0]), start, optimizer_of(name), STEPS)
    return np.asarray(path)[:, 0]


def schedule_curve(name: str) -> Figure:
    """Its values over 100 steps."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(101)
    axes.plot(steps, [SCHEDULES[name](jnp.asarray(step)) for step in steps], linewidth=2)
    if name == "warmup_stable_decay":
        axes.legend(SHAPES, title="shape", loc="lower left", bbox_to_anchor=(0.25, 0))
    axes.set(title=name, xlabel="step", ylabel="value", ylim=(-0.03, 1.08))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw(folder: pathlib.Path, names: list[str]) -> set[str]:
    """Write NAME.png for each optimizer and schedule among ``names``, and return these.

    A picture that is newer than the library and this file is left as it is.

    Raises:
        ValueError: if a path or a curve has no finite values.
    """
    folder.mkdir(exist_ok=True)
    package = pathlib.Path(optimizers.__file__).parents[1]
    changed = max(file.stat().st_mtime for file in [pathlib.Path(__file__), *package.rglob("*.py")])
    drawn = set()
    for name in names:
        picture = folder / f"{name}.png"
        if picture.exists() and picture.stat().st_mtime > changed:
            drawn.add(name)
            continue
        if name in SCHEDULES:
            figure = schedule_curve(name)
        elif not is_optimizer(name):
            continue
        else:
            path = optimizer_path(name)
            if not np.isfinite(path).all() or np.abs(path[-1]).max() > 10:
                raise ValueError(f"docs/gallery.py: {name} diverges with the numbers there.")
            figure = optimizer_paths(SURFACES["ravine"], {name: path}, title=name)
        figure.savefig(picture, dpi=80)
        drawn.add(name)
    return drawn
