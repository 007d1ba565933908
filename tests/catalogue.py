"""Every public transformation, ready to build. The contract tests walk this table.

A name before a colon is that of the factory; behind it stands the variant.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformation


class Member(NamedTuple):
    """A factory and its arguments.

    factory: builds the transformation.
    numbers: every numeric hyperparameter, at a value that matters (eps = 1e-3, not 1e-8).
    fixed: the other arguments.
    exempt: check or tree -> the reason why this member does not keep it.
    rtol: how near a population must come to its members alone, in float64.
    """

    factory: Callable[..., GradientTransformation]
    numbers: dict[str, float] = {}  # noqa: RUF012 - never changed
    fixed: dict[str, Any] = {}  # noqa: RUF012
    exempt: dict[str, str] = {}  # noqa: RUF012
    rtol: float = 1e-9

    def build(self, **numbers: Any) -> GradientTransformation:
        return self.factory(**self.fixed, **(self.numbers | numbers))


RATE = {"learning_rate": 0.1}
ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-3, "eps_root": 1e-3}
RMS = {"decay": 0.9, "eps": 1e-3, "initial_scale": 0.1}
RSS = {"initial_accumulator_value": 0.1, "eps": 1e-3}
RPROP = {
    "learning_rate": 0.07,  # generic values: round ones land on targets, where signs flip
    "eta_minus": 0.47,
    "eta_plus": 1.19,
    "min_step_size": 1e-3,
    "max_step_size": 0.4,
}
LION = {"b1": 0.87, "b2": 0.97}  # generic values, for signs flip at round ones
DELTA = {"kappa": 0.05, "phi": 0.2, "theta": 0.7}
SIGNS = {"complex": "a complex number has no sign to compare"}
ORDER = {"complex": "complex numbers have no order to clip by"}


def matrices(tree):
    """A mask that any tree has: everything but vectors."""
    return jax.tree.map(lambda x: jnp.ndim(x) != 1, tree)


def kinds(tree):
    return jax.tree.map(lambda x: "vector" if jnp.ndim(x) == 1 else "other", tree)


def double(updates, params):
    return jax.tree.map(lambda u: 2 * u, updates)


TRANSFORMATIONS = {
    "adagrad": Member(optimizers.adagrad, RATE | RSS),
    "adagrad:eps outside": Member(optimizers.adagrad, RATE | RSS, {"eps_in_sqrt": False}),
    "adam": Member(optimizers.adam, RATE | ADAM),
    "adam:nesterov": Member(optimizers.adam, RATE | ADAM, {"nesterov": True}),
    "adam:biased": Member(optimizers.adam, RATE | ADAM, {"bias_correction": False}),
    "adam:bfloat16 mean": Member(
        optimizers.adam,
        RATE | ADAM,
        {"mu_dtype": jnp.bfloat16},
        exempt={
            "meta_gradient": "a mean rounded to bfloat16 is a staircase",
            "complex": "bfloat16 is real",
        },
        rtol=1e-5,  # a last bit decides to which bfloat16 the mean is rounded
    ),
    "adamw": Member(optimizers.adamw, RATE | ADAM | {"weight_decay": 0.1}),
    "adamw:masked": Member(
        optimizers.adamw, RATE | ADAM | {"weight_decay": 0.1}, {"mask": matrices}
    ),
    "amsgrad": Member(optimizers.amsgrad, RATE | ADAM),
    "delta_bar_delta": Member(optimizers.delta_bar_delta, RATE | DELTA, exempt=SIGNS),
    "ema_sgd": Member(optimizers.ema_sgd, RATE | {"momentum": 0.9}),
    "heavy_ball": Member(optimizers.heavy_ball, RATE | {"momentum": 0.9}),
    "lion": Member(optimizers.lion, RATE | LION | {"weight_decay": 0.1}),
    "nesterov": Member(optimizers.nesterov, RATE | {"momentum": 0.9}),
    "rmsprop": Member(optimizers.rmsprop, RATE | RMS | {"momentum": 0.9}),
    "rmsprop:plain": Member(optimizers.rmsprop, RATE | RMS, {"eps_in_sqrt": False}),
    "rmsprop:first gradient": Member(optimizers.rmsprop, RATE | RMS, {"from_first_gradient": True}),
    "rmsprop:centered": Member(
        optimizers.rmsprop,
        RATE | RMS | {"momentum": 0.9},
        {"centered": True, "nesterov": True, "bias_correction": True},
    ),
    "rprop": Member(optimizers.rprop, RPROP, exempt=SIGNS),
    "scale_by_adam": Member(optimizers.scale_by_adam, ADAM),
    "scale_by_amsgrad": Member(optimizers.scale_by_amsgrad, ADAM),
    "scale_by_delta_bar_delta": Member(optimizers.scale_by_delta_bar_delta, DELTA, exempt=SIGNS),
    "scale_by_lion": Member(optimizers.scale_by_lion, LION),
    "scale_by_rms": Member(optimizers.scale_by_rms, RMS),
    "scale_by_rprop": Member(optimizers.scale_by_rprop, RPROP, exempt=SIGNS),
    "scale_by_rss": Member(optimizers.scale_by_rss, RSS),
    "scale_by_sign": Member(optimizers.scale_by_sign),
    "scale_by_stddev": Member(optimizers.scale_by_stddev, RMS),
    "sgd": Member(optimizers.sgd, RATE | {"momentum": 0.9}),
    "sgd:plain": Member(optimizers.sgd, RATE),
    "sgd:nesterov": Member(optimizers.sgd, RATE | {"momentum": 0.9}, {"nesterov": True}),
    "sign_sgd": Member(optimizers.sign_sgd, RATE),
    "signum": Member(optimizers.signum, RATE | {"beta": 0.9}),
    "trace_lookahead": Member(optimizers.trace_lookahead, {"momentum": 0.9}),
    "add_decayed_weights": Member(transforms.add_decayed_weights, {"weight_decay": 0.1}),
    "apply_if_finite": Member(
        transforms.apply_if_finite,
        {"max_consecutive_errors": 2.0},
        {"inner": optimizers.adam(0.1)},
    ),
    "chain": Member(lambda: transforms.chain(optimizers.scale_by_adam(), transforms.scale(0.1))),
    "clip": Member(transforms.clip, {"max_delta": 0.3}, exempt=ORDER),
    "clip_by_block_rms": Member(transforms.clip_by_block_rms, {"threshold": 0.3}),
    "clip_by_global_norm": Member(transforms.clip_by_global_norm, {"max_norm": 0.3}),
    "ema": Member(transforms.ema, {"decay": 0.9}),
    "ema:biased": Member(transforms.ema, {"decay": 0.9}, {"debias": False}),
    "identity": Member(transforms.identity),
    "inject_hyperparams": Member(
        transforms.inject_hyperparams(optimizers.adamw),
        RATE | ADAM | {"weight_decay": 0.1},
        {"mask": matrices},
    ),
    "masked": Member(
        transforms.masked, fixed={"inner": optimizers.scale_by_adam(), "mask": matrices}
    ),
    "named_chain": Member(
        lambda: transforms.named_chain(
            ("adam", optimizers.scale_by_adam()), ("scale", transforms.scale(0.1))
        )
    ),
    "partition": Member(
        transforms.partition,
        fixed={
            "transforms": {"vector": optimizers.adam(0.1), "other": optimizers.sgd(0.1, 0.9)},
            "param_labels": kinds,
        },
    ),
    "scale": Member(transforms.scale, {"step_size": -0.5}),
    "scale_by_learning_rate": Member(transforms.scale_by_learning_rate, RATE),
    "scale_by_schedule": Member(
        transforms.scale_by_schedule, fixed={"step_size_fn": lambda t: jnp.sqrt(t + 1)}
    ),
    "set_to_zero": Member(transforms.set_to_zero),
    "stateless": Member(transforms.stateless, fixed={"f": double}),
    "trace": Member(transforms.trace, {"decay": 0.9}),
    "trace:nesterov": Member(transforms.trace, {"decay": 0.9}, {"nesterov": True}),
}

NO_TRANSFORMATIONS = {"apply_updates", "lookahead_params"}  # functions of states and params


def factory_name(name: str) -> str:
    return name.split(":")[0]


def numeric_arguments(function: Callable) -> list[str]:
    """The arguments of ``function`` that take real numbers, by their annotations."""
    hints = typing.get_type_hints(function)
    hints.pop("return", None)
    return [
        name for name in inspect.signature(function).parameters if float in kinds_of(hints[name])
    ]


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) or (annotation,)
