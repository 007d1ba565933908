"""What a comparison compares: optimizers with the ranges of their hyperparameters.

The ranges are the same on all workloads. A learning rate spans four decades, or five where steps
grow with the gradient. A decay is searched as its distance from 1, on a logarithmic scale. A weight
decay is tuned only where the optimizer has one of its own. The defaults are those of the optimizer.
The default learning rate is that of the paper or of Keras: 1e-3 for Adam and its variants, 1e-4 for
Lion, 1e-2 for the others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import GradientTransformationExtraArgs, checks
from jaxopt_course.optimizers import adagrad, adam, adamw, lion, nadam, rmsprop, rprop, sgd
from jaxopt_course.studies import Float, Int


class Entry(NamedTuple):
    """An optimizer and how it is tuned.

    name: letters, digits, ``_``, ``-`` and ``.``.
    build: ``build(hyperparameters) -> transformation``, with traced hyperparameters.
    space: {name: range}; each range is a :class:`~jaxopt_course.studies.Float` or ``Int``.
    defaults: {name: value} of the untuned optimizer, each within its range.
    full_batch: whether each gradient is of all training rows. The number of epochs, but not of
        steps, is then that of the other optimizers.
    """

    name: str
    build: Callable[[Any], GradientTransformationExtraArgs]
    space: Mapping[str, Float | Int]
    defaults: Mapping[str, Any]
    full_batch: bool = False

    def default_point(self) -> np.ndarray:
        """The defaults as a point of the unit cube, f64[ranges].

        Raises:
            ValueError: if a name is not in the space, or a value lies outside its range.
        """
        if set(self.space) != set(self.defaults):
            raise ValueError(
                f"Entry: `defaults` of {self.name} must have the names of its space, "
                f"{', '.join(sorted(self.space))}, "
                f"got {', '.join(sorted(self.defaults)) or 'none'}."
            )
        point = []
        for name, kind in sorted(self.space.items()):  # the order of a pytree's leaves
            value = self.defaults[name]
            if not kind.low <= value <= kind.high:
                raise ValueError(
                    f"Entry: `defaults` of {self.name} must lie in the ranges of its space, "
                    f"got {value!r} for `{name}`, which is {kind}."
                )
            half = 0.5 if isinstance(kind, Int) else 0.0  # the middle of an integer's interval
            scale = np.log if kind.log else np.asarray
            low, high = scale(kind.low - half), scale(kind.high + half)
            point.append(float((scale(value) - low) / (high - low)))
        return np.array(point)


def entry(name: str) -> Entry:
    """The entry called ``name``, one of ``OPTIMIZERS``.

    Examples:
        >>> entry("momentum").defaults
        {'learning_rate': 0.01, 'one_minus_momentum': 0.1}
    """
    checks.choice("entry", "name", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def _tuned(
    name: str,
    optimizer: Callable[..., GradientTransformationExtraArgs],
    ranges: Mapping[str, tuple[float, float, float]],
    *,
    linear: tuple[str, ...] = (),
    full_batch: bool = False,
    **fixed: Any,
) -> Entry:
    """An entry whose hyperparameters are arguments of ``optimizer``, or 1 minus an argument.

    Args:
        name: name of the entry.
        optimizer: function that makes the optimizer.
        ranges: {argument or ``one_minus_`` and argument: (low, high, default)}.
        linear: names of ranges with a linear scale; the others have a logarithmic scale.
        full_batch: field of :class:`Entry`.
        fixed: further arguments of ``optimizer``.
    """
    prefix = "one_minus_"

    def build(numbers: Mapping[str, Any]) -> GradientTransformationExtraArgs:
        arguments = {
            key.removeprefix(prefix): 1 - x if key.startswith(prefix) else x
            for key, x in numbers.items()
        }
        return optimizer(**arguments, **fixed)

    space = {key: Float(x[0], x[1], log=key not in linear) for key, x in ranges.items()}
    return Entry(name, build, space, {key: x[2] for key, x in ranges.items()}, full_batch)


_SGD = {"learning_rate": (1e-4, 10.0, 1e-2)}
_MOMENTUM = {**_SGD, "one_minus_momentum": (1e-2, 1.0, 0.1)}
_ADAM = {
    "learning_rate": (1e-4, 1.0, 1e-3),
    "one_minus_b1": (1e-2, 1.0, 0.1),
    "one_minus_b2": (1e-4, 1e-1, 1e-3),
}
_ADAGRAD = {
    "learning_rate": (1e-3, 10.0, 1e-2),
    "initial_accumulator_value": (1e-6, 1.0, 0.1),
}
_RMSPROP = {"learning_rate": (1e-4, 1.0, 1e-3), "one_minus_decay": (1e-3, 0.5, 0.1)}
_LION = {
    "learning_rate": (1e-5, 1e-1, 1e-4),
    "one_minus_b1": (1e-2, 1.0, 0.1),
    "one_minus_b2": (1e-3, 1e-1, 1e-2),
    "weight_decay": (1e-5, 1.0, 1e-3),
}
_RPROP = {
    "learning_rate": (1e-4, 1.0, 1e-2),
    "eta_minus": (0.3, 0.8, 0.5),
    "eta_plus": (1.05, 1.5, 1.2),
}

OPTIMIZERS: Mapping[str, Entry] = MappingProxyType(
    {
        own.name: own
        for own in (
            _tuned("sgd", sgd, _SGD),
            _tuned("momentum", sgd, _MOMENTUM),
            _tuned("nesterov", sgd, _MOMENTUM, nesterov=True),
            _tuned("adagrad", adagrad, _ADAGRAD),
            _tuned("rmsprop", rmsprop, _RMSPROP),
            _tuned("adam", adam, _ADAM),
            _tuned("adamw", adamw, {**_ADAM, "weight_decay": (1e-5, 1.0, 1e-4)}),
            _tuned("nadam", nadam, _ADAM),
            _tuned("lion", lion, _LION),
            _tuned("rprop", rprop, _RPROP, linear=("eta_minus", "eta_plus"), full_batch=True),
        )
    }
)
