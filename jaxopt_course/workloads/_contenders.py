"""Contenders: an optimizer with the ranges in which its numbers are tuned, the same everywhere.

A rate has four decades, five where steps grow with the gradient; a decay is searched as its
distance from 1, on a logarithmic scale, and there is a weight decay only where the optimizer has
one of its own. The defaults, which are what a user without a budget gets, are those of the
library's recipes; a rate, which these do not have, is what the paper or Keras takes: 1e-3 of Adam
and its kin, 1e-4 of Lion, 1e-2 of the others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import GradientTransformationExtraArgs, checks
from jaxopt_course.optimizers import adagrad, adam, adamw, lion, nadam, rmsprop, rprop, sgd
from jaxopt_course.studies import Float, Int


Numbers = Mapping[str, Any]


class Contender(NamedTuple):
    """An optimizer and how it is tuned.

    name: of letters, digits, ``_``, ``-`` and ``.``.
    build: ``build(numbers) -> transformation``; the numbers come traced.
    space: {name: range}, a :class:`~jaxopt_course.studies.Float` or ``Int`` each.
    defaults: {name: value}, each within its range: what is taken without tuning.
    full_batch: whether its gradients are of all training rows. It is then given as many epochs
        as the others, not as many steps.
    """

    name: str
    build: Callable[[Any], GradientTransformationExtraArgs]
    space: Mapping[str, Float | Int]
    defaults: Numbers
    full_batch: bool = False


def contender(name: str) -> Contender:
    """The contender called ``name``.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> contender("momentum").defaults
        {'learning_rate': 0.01, 'one_minus_momentum': 0.1}
    """
    checks.choice("contender", "name", name, CONTENDERS)
    return CONTENDERS[name]


def point_of(own: Contender) -> np.ndarray:
    """Where the defaults lie in the unit cube, f64[ranges].

    Raises:
        ValueError: if they are not of the names of the space, or one lies outside its range.
    """
    if set(own.space) != set(own.defaults):
        raise ValueError(
            f"Contender: `defaults` of {own.name} must have the names of its space, "
            f"{', '.join(sorted(own.space))}, got {', '.join(sorted(own.defaults)) or 'none'}."
        )
    point = []
    for name, kind in sorted(own.space.items()):  # the order of a pytree's leaves
        value = own.defaults[name]
        if not kind.low <= value <= kind.high:
            raise ValueError(
                f"Contender: `defaults` of {own.name} must lie in the ranges of its space, "
                f"got {value!r} for `{name}`, which is {kind}."
            )
        half = 0.5 if isinstance(kind, Int) else 0.0  # the middle of a whole number's share
        scale = np.log if kind.log else np.asarray
        low, high = scale(kind.low - half), scale(kind.high + half)
        point.append(float((scale(value) - low) / (high - low)))
    return np.array(point)


def _decades(low: float, high: float) -> Float:
    return Float(low, high, log=True)


_MOMENTUM = {"learning_rate": _decades(1e-4, 10.0), "one_minus_momentum": _decades(1e-2, 1.0)}
_MOMENTUM_DEFAULTS = {"learning_rate": 1e-2, "one_minus_momentum": 0.1}
_ADAM = {
    "learning_rate": _decades(1e-4, 1.0),
    "one_minus_b1": _decades(1e-2, 1.0),
    "one_minus_b2": _decades(1e-4, 1e-1),
}
_ADAM_DEFAULTS = {"learning_rate": 1e-3, "one_minus_b1": 0.1, "one_minus_b2": 1e-3}


def _adam_numbers(numbers: Numbers) -> dict[str, Any]:
    return {"b1": 1 - numbers["one_minus_b1"], "b2": 1 - numbers["one_minus_b2"]}


def _momentum(numbers: Numbers, *, nesterov: bool) -> GradientTransformationExtraArgs:
    momentum = 1 - numbers["one_minus_momentum"]
    return sgd(numbers["learning_rate"], momentum=momentum, nesterov=nesterov)


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        own.name: own
        for own in (
            Contender(
                "sgd",
                lambda h: sgd(h["learning_rate"]),
                {"learning_rate": _decades(1e-4, 10.0)},
                {"learning_rate": 1e-2},
            ),
            Contender(
                "momentum",
                lambda h: _momentum(h, nesterov=False),
                _MOMENTUM,
                _MOMENTUM_DEFAULTS,
            ),
            Contender(
                "nesterov",
                lambda h: _momentum(h, nesterov=True),
                _MOMENTUM,
                _MOMENTUM_DEFAULTS,
            ),
            Contender(
                "adagrad",
                lambda h: adagrad(h["learning_rate"], h["initial_accumulator_value"]),
                {
                    "learning_rate": _decades(1e-3, 10.0),
                    "initial_accumulator_value": _decades(1e-6, 1.0),
                },
                {"learning_rate": 1e-2, "initial_accumulator_value": 0.1},
            ),
            Contender(
                "rmsprop",
                lambda h: rmsprop(h["learning_rate"], decay=1 - h["one_minus_decay"]),
                {"learning_rate": _decades(1e-4, 1.0), "one_minus_decay": _decades(1e-3, 0.5)},
                {"learning_rate": 1e-3, "one_minus_decay": 0.1},
            ),
            Contender(
                "adam",
                lambda h: adam(h["learning_rate"], **_adam_numbers(h)),
                _ADAM,
                _ADAM_DEFAULTS,
            ),
            Contender(
                "adamw",
                lambda h: adamw(
                    h["learning_rate"], weight_decay=h["weight_decay"], **_adam_numbers(h)
                ),
                {**_ADAM, "weight_decay": _decades(1e-5, 1.0)},
                {**_ADAM_DEFAULTS, "weight_decay": 1e-4},
            ),
            Contender(
                "nadam",
                lambda h: nadam(h["learning_rate"], **_adam_numbers(h)),
                _ADAM,
                _ADAM_DEFAULTS,
            ),
            Contender(
                "lion",
                lambda h: lion(
                    h["learning_rate"], weight_decay=h["weight_decay"], **_adam_numbers(h)
                ),
                {
                    "learning_rate": _decades(1e-5, 1e-1),
                    "one_minus_b1": _decades(1e-2, 1.0),
                    "one_minus_b2": _decades(1e-3, 1e-1),
                    "weight_decay": _decades(1e-5, 1.0),
                },
                {
                    "learning_rate": 1e-4,
                    "one_minus_b1": 0.1,
                    "one_minus_b2": 1e-2,
                    "weight_decay": 1e-3,
                },
            ),
            Contender(
                "rprop",
                lambda h: rprop(
                    h["learning_rate"], eta_minus=h["eta_minus"], eta_plus=h["eta_plus"]
                ),
                {
                    "learning_rate": _decades(1e-4, 1.0),
                    "eta_minus": Float(0.3, 0.8),
                    "eta_plus": Float(1.05, 1.5),
                },
                {"learning_rate": 1e-2, "eta_minus": 0.5, "eta_plus": 1.2},
                full_batch=True,
            ),
        )
    }
)
