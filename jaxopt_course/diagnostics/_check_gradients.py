"""Compare gradients from automatic differentiation with central differences, leaf by leaf.

    g . d   against   D(h) = (f(w + h d) - f(w - h d)) / 2h

in float64, along every axis of a small leaf and along random directions of a large one. The error
of D(h) is h^2 / 6 times the third derivative f_3, plus rounding, eps |f| / h. Their sum is least
near h = (3 eps |f| / f_3)^(1/3), which is 6e-6 where f and its derivatives are about 1, and unknown
in general. So h runs through 1e-2, 1e-3, ..., 1e-7. Each pair of neighbors is extrapolated to h = 0
(Richardson), and the pair with the smallest uncertainty u is used:

    d = D(h/10) + (D(h/10) - D(h)) / 99      u = |D(h/10) - D(h)| + 8 eps |f| / (h/10)

A leaf is wrong if a slope differs from its difference by more than u and the tolerance together. It
is unclear if u is above the tolerance: where the value is large or the slopes are small, the
differences are mostly rounding. At a kink, such as that of a ReLU at 0, a correct slope may differ
from its difference.

References: Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 11.5; Press et al.,
"Numerical Recipes", 3rd edition, section 5.7.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jaxopt_course.core import Params, checks


EVERY_AXIS = 32  # the largest leaf that is checked along each of its axes
DIRECTIONS = 16  # along which a larger leaf is checked
STEPS = 10.0 ** -np.arange(2, 8)  # h, as a share of 1 + |w|
ROUNDING = 8 * float(np.finfo(np.float64).eps)  # of a value that is a sum of many terms


class GradientCheckReport(NamedTuple):
    """How far slopes are from differences; ``print`` it.

    errors: {path of a leaf: the largest distance of a slope from its difference, minus the
        uncertainty of that difference, as a share of the leaf's largest slope or difference}. It
        is 0 if no distance exceeds its uncertainty.
    tolerance: the largest error of a correct leaf.
    uncertainties: {path of a leaf: the largest uncertainty of a difference, as the same share}.
    """

    errors: dict[str, float]
    tolerance: float
    uncertainties: dict[str, float]

    @property
    def worst(self) -> str:
        """The path of the leaf with the largest error; NaN is the largest."""
        return max(self.errors, key=lambda path: np.nan_to_num(self.errors[path], nan=np.inf))

    @property
    def wrong(self) -> list[str]:
        """The paths of the leaves whose error is above the tolerance, or NaN."""
        return [path for path, error in self.errors.items() if not error <= self.tolerance]

    @property
    def unclear(self) -> list[str]:
        """The paths of the other leaves whose uncertainty is above the tolerance."""
        unsure = [path for path, u in self.uncertainties.items() if not u <= self.tolerance]
        return [path for path in unsure if path not in self.wrong]

    def __str__(self) -> str:
        width, total = max(map(len, self.errors)), len(self.errors)
        lines = [f"{path:{width}}  {self._said_of(path)}" for path in self.errors]
        if self.wrong:
            have = "leaf has" if total == 1 else "leaves have"
            lines.append(
                f"{len(self.wrong)} of {total} {have} a wrong gradient, worst at {self.worst}: "
                "look at its derivative rule, or for a kink at this point."
            )
        if self.unclear:
            lines.append(
                f"The differences cannot tell whether {', '.join(self.unclear)} is correct: the "
                "value is too large, the slopes are too small, or a kink is near. Subtract a "
                "constant from the value, or check at other parameters."
            )
        if not self.wrong and not self.unclear:
            have = "The leaf has" if total == 1 else f"All {total} leaves have"
            lines.append(f"{have} a correct gradient.")
        return "\n".join(lines)

    def _said_of(self, path: str) -> str:
        """The error of a leaf, or the uncertainty where the error is below it."""
        error, uncertainty = self.errors[path], self.uncertainties[path]
        if path in self.unclear:
            return f"cannot tell: uncertain by {uncertainty:.1e}"
        if error == 0 and uncertainty == 0:
            return "all slopes and differences are 0"
        if error == 0:
            return f"below the uncertainty of {uncertainty:.1e}"
        return f"{error:.1e}" + ("  WRONG" if path in self.wrong else "")


def check_gradients(
    fn: Callable[[Params], Float[Array, ""]],
    params: Params,
    *,
    key: Key[Array, ""],
    tolerance: float = 1e-5,
) -> GradientCheckReport:
    """Compare the gradient of ``fn`` with central differences, leaf by leaf, in float64.

    A leaf is also flagged if ``params`` lie at a kink, where a correct slope may differ from the
    difference. A ReLU is at its kink for blank pixels and a bias of 0, with which most initializers
    begin. In that case check at trained parameters, or add a little noise, such as 0.01 times a
    normal number to each entry.

    Args:
        fn: a deterministic function that maps float64 parameters to a float64 scalar.
        params: where to check; the leaves are real.
        key: PRNG key of the directions in large leaves.
        tolerance: the largest relative error of a correct leaf, in (0, inf).

    Examples:
        >>> import jax.numpy as jnp
        >>> @jax.custom_vjp
        ... def square(x):
        ...     return x**2
        >>> square.defvjp(lambda x: (x**2, x), lambda x, slope: (3 * x * slope,))
        >>> fn = lambda p: jnp.sum(square(p["a"])) + jnp.sum(jnp.sin(p["b"]))
        >>> params = {"a": jnp.ones(2), "b": jnp.ones(3)}
        >>> check_gradients(fn, params, key=jax.random.key(0)).wrong
        ["['a']"]
    """
    checks.number("check_gradients", "tolerance", tolerance, "(0, inf)")
    if not jax.tree.leaves(params):
        raise ValueError("check_gradients: `params` must have at least one leaf, got none.")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        point = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        judged = _judge_leaves(jax.jit(fn), point, rng)
    return GradientCheckReport(
        {path: error for path, (error, _) in judged.items()},
        tolerance,
        {path: uncertainty for path, (_, uncertainty) in judged.items()},
    )


def _judge_leaves(
    value_at: Callable[[Params], Array], point: Params, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """The error and the uncertainty of each leaf; the function is compiled once for all leaves."""
    pairs, structure = jax.tree.flatten_with_path(point)
    leaves = [leaf for _, leaf in pairs]
    gradient = jax.tree.leaves(jax.jit(jax.grad(value_at))(point))

    def moved(i: int, leaf: np.ndarray | np.floating) -> float:
        return float(value_at(jax.tree.unflatten(structure, [*leaves[:i], leaf, *leaves[i + 1 :]])))

    judged = {}
    for i, ((keys, leaf), slope) in enumerate(zip(pairs, gradient, strict=True)):
        along, steps = _directions(leaf, rng), STEPS * (1 + np.linalg.norm(leaf))
        slopes = np.tensordot(along, np.asarray(slope), leaf.ndim)
        ends = [
            [(moved(i, leaf + h * d), moved(i, leaf - h * d)) for h in steps.tolist()]
            for d in along
        ]
        values = np.array(ends, float).reshape(len(along), len(steps), 2)
        judged[jax.tree_util.keystr(keys)] = _judge(slopes, *_extrapolated(values, steps))
    return judged


def _directions(leaf: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "directions ..."]:
    """Unit vectors of the shape of the leaf."""
    if leaf.size <= EVERY_AXIS:
        return np.eye(leaf.size).reshape(leaf.size, *leaf.shape)
    drawn = rng.normal(size=(DIRECTIONS, leaf.size))
    drawn = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.reshape(-1, *leaf.shape)


def _extrapolated(
    values: Float[np.ndarray, "directions steps 2"], steps: Float[np.ndarray, "steps"]
) -> tuple[Float[np.ndarray, "directions"], Float[np.ndarray, "directions"]]:
    """The best difference of each direction, and its uncertainty; infinite where there is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        differences = (values[..., 0] - values[..., 1]) / (2 * steps)
        rounding = ROUNDING * np.abs(values).max(-1) / steps
        change = np.diff(differences, axis=1)
        uncertainty = np.abs(change) + rounding[:, 1:]
        found = differences[:, 1:] + change / 99
    uncertainty = np.where(np.isfinite(uncertainty), uncertainty, np.inf)
    best = np.arange(len(values)), uncertainty.argmin(1)
    still = (values == values[:, :1, :1]).all((1, 2))  # no step changes the value at all
    return np.where(still, 0.0, found[best]), np.where(still, rounding[:, 0], uncertainty[best])


def _judge(
    slopes: Float[np.ndarray, "directions"],
    differences: Float[np.ndarray, "directions"],
    uncertainty: Float[np.ndarray, "directions"],
) -> tuple[float, float]:
    """The error and the uncertainty of a leaf, as shares of its largest slope or difference."""
    if not np.isfinite(slopes).all():
        return float("nan"), 0.0
    known = np.isfinite(uncertainty)
    largest = float(np.max(np.abs([slopes, np.where(known, differences, 0)]), initial=0))
    if largest == 0:
        return 0.0, 0.0 if known.all() else float("inf")
    apart = np.where(known, np.abs(slopes - differences) - uncertainty, 0)
    error, unsure = (float(np.max(x, initial=0) / largest) for x in (apart, uncertainty))
    return error, unsure
