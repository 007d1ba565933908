"""What the catalogue says of a member, and the arguments that several members share."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_course.core import GradientTransformationExtraArgs, numerics


class Member(NamedTuple):
    """A factory and its arguments.

    factory: builds the transformation.
    numbers: every numeric hyperparameter, at a value that matters (eps = 1e-3, not 1e-8).
    fixed: the other arguments.
    exempt: check or tree -> the reason why this member does not keep it.
    rtol: how near a population must come to its members alone, in float64.
    offers: the extra arguments that ``update`` needs, as a function of updates and params.
    """

    factory: Callable[..., GradientTransformationExtraArgs]
    numbers: dict[str, float] = {}  # noqa: RUF012 - never changed
    fixed: dict[str, Any] = {}  # noqa: RUF012
    exempt: dict[str, str] = {}  # noqa: RUF012
    rtol: float = 1e-9
    offers: Callable[[Any, Any], dict[str, Any]] | None = None

    def build(self, **numbers: Any) -> GradientTransformationExtraArgs:
        tx = self.factory(**self.fixed, **(self.numbers | numbers))
        return tx if self.offers is None else offering(tx, self.offers)


def offering(
    tx: GradientTransformationExtraArgs, offers: Callable[[Any, Any], dict[str, Any]]
) -> GradientTransformationExtraArgs:
    """``tx`` with the extra arguments that a caller leaves out."""

    def update(updates, state, params=None, **extra_args):
        return tx.update(updates, state, params, **(offers(updates, params) | extra_args))

    return GradientTransformationExtraArgs(tx.init, update)


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


def decay(t):
    """A schedule of learning rates."""
    return 0.1 * 0.9 ** (t / 10)


def matrices(tree):
    """A mask that any tree has: everything but vectors."""
    return jax.tree.map(lambda x: jnp.ndim(x) != 1, tree)


def bowl(params):
    """``sum (|x|^2 + |x|^4) / 2`` over everything: curvature that depends on the place."""
    squares = [numerics.abs_sq(x).astype(jnp.float32) for x in jax.tree.leaves(params)]
    return sum((jnp.sum(s + s**2) / 2 for s in squares), start=jnp.zeros((), jnp.float32))


def offers(updates, params):
    """The loss that a training offers; the contracts' gradients need not be its own."""
    return {"value": bowl(params), "grad": updates, "value_fn": bowl}


def factory_name(name: str) -> str:
    return name.split(":")[0]


def is_factory(thing: Any) -> bool:
    """Whether calling ``thing`` builds a transformation: a function, or MultiSteps, a class."""
    return not inspect.isclass(thing) or issubclass(thing, GradientTransformationExtraArgs)


def numeric_arguments(function: Callable) -> list[str]:
    """The arguments of ``function`` that take real numbers, by their annotations."""
    hints = typing.get_type_hints(function.__new__ if inspect.isclass(function) else function)
    hints.pop("return", None)
    return [
        name for name in inspect.signature(function).parameters if float in kinds_of(hints[name])
    ]


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) or (annotation,)
