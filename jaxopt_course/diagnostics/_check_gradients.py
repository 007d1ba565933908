"""Are the gradients right? Slopes from automatic differentiation against central differences.

    g . d   against   (f(w + h d) - f(w - h d)) / 2h

leaf by leaf, in float64: along every axis of a small leaf, along random directions of a large one.
The difference is off by h^2 f'''/6 and by rounding, eps |f| / h; h = 1e-7 (1 + |w|) keeps both
below 1e-8 of their scale. At a kink (of a ReLU at 0, say) the two may differ, and rightly so: the
smaller h is, the fewer kinks lie between w - h d and w + h d.

Reference: Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 11.5.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jaxopt_course.core import Params, check_number


__all__ = ["GradientCheckReport", "check_gradients"]

EVERY_AXIS = 32  # entries of a leaf that is checked along each of its axes
DIRECTIONS = 16  # of a larger one


class GradientCheckReport(NamedTuple):
    """How far slopes are from differences.

    errors: path of a leaf -> the largest |slope - difference| over its directions, as a share of
        the largest of both; differences of pure rounding count as 0.
    tolerance: the error up to which a leaf counts as right.
    """

    errors: dict[str, float]
    tolerance: float

    @property
    def worst(self) -> str:
        """The path of the leaf with the largest error; one that is no number is larger than all."""
        return max(self.errors, key=lambda path: np.nan_to_num(self.errors[path], nan=np.inf))

    @property
    def wrong(self) -> list[str]:
        """The paths of the leaves above the tolerance, or with an error that is no number."""
        return [path for path, error in self.errors.items() if not error <= self.tolerance]

    def __str__(self) -> str:
        width = max(map(len, self.errors))
        lines = [
            f"{path:{width}}  {error:.1e}{'  WRONG' if path in self.wrong else ''}"
            for path, error in self.errors.items()
        ]
        verdict = (
            f"{len(self.wrong)} of {len(self.errors)} leaves have a wrong gradient, worst at "
            f"{self.worst}: look at its derivative rule, or for a kink at this point."
            if self.wrong
            else f"All {len(self.errors)} leaves have the gradient of the differences."
        )
        return "\n".join([*lines, verdict])


def check_gradients(
    fn: Callable[[Params], Float[Array, ""]],
    params: Params,
    *,
    key: Key[Array, ""],
    tolerance: float = 1e-5,
) -> GradientCheckReport:
    """Compare the gradient of ``fn`` with central differences, leaf by leaf, in float64.

    A leaf is flagged as well where ``params`` lie at a kink, though slope and difference rightly
    differ there: a ReLU gets exactly 0 from blank pixels and a bias of 0, as most initializers
    make it. Then look at trained parameters, or at ones that are slightly moved, such as by 0.01
    times a normal number each.

    Args:
        fn: a scalar function of the parameters, deterministic, which works in float64 when it is
            given float64.
        params: where to look; its leaves are real.
        key: for the directions in large leaves.
        tolerance: the relative error up to which a leaf counts as right, in (0, inf).

    Returns:
        The report; ``print`` it.

    Raises:
        ValueError: if there is no leaf, or ``tolerance`` is not positive.

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
    check_number("check_gradients", "tolerance", tolerance, "(0, inf)")
    if not jax.tree.leaves(params):
        raise ValueError("check_gradients: `params` must have at least one leaf, got none.")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        point = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        value_at = jax.jit(fn)
        value = float(value_at(point))
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        slopes, differences = _both(value_at, point, rng)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    # What rounding of the value makes of a difference is no error: 1e-16 |f| / 1e-7, with room.
    # Of what is finite: an infinite slope would excuse all others.
    rounding = 1e-8 * max(
        float(np.max(np.abs(x), initial=0, where=np.isfinite(x)))
        for x in map(np.asarray, (value, *slopes, *differences))
    )
    errors = {
        path: _error(slope, difference, rounding)
        for path, slope, difference in zip(paths, slopes, differences, strict=True)
    }
    return GradientCheckReport(errors, tolerance)


def _both(
    value_at: Callable[[Params], Array], point: Params, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each leaf: the slopes along its directions, and the differences.

    The loop is on the host: the function compiles once, and not once for each leaf.
    """
    leaves, structure = jax.tree.flatten(point)
    gradient = jax.tree.leaves(jax.jit(jax.grad(value_at))(point))

    def moved(i: int, leaf: np.ndarray | np.floating) -> float:
        return float(value_at(jax.tree.unflatten(structure, [*leaves[:i], leaf, *leaves[i + 1 :]])))

    slopes, differences = [], []
    for i, (leaf, slope) in enumerate(zip(leaves, gradient, strict=True)):
        h = 1e-7 * (1 + np.linalg.norm(leaf))
        along = _directions(leaf, rng)
        slopes.append(np.tensordot(along, np.asarray(slope), leaf.ndim))
        ends = [(moved(i, leaf + h * d), moved(i, leaf - h * d)) for d in along]
        differences.append(np.array([(ahead - behind) / (2 * h) for ahead, behind in ends]))
    return slopes, differences


def _directions(leaf: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "directions ..."]:
    """Unit vectors, shaped like the leaf."""
    if leaf.size <= EVERY_AXIS:
        return np.eye(leaf.size).reshape(leaf.size, *leaf.shape)
    drawn = rng.normal(size=(DIRECTIONS, leaf.size))
    drawn = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.reshape(-1, *leaf.shape)


def _error(slope: np.ndarray, difference: np.ndarray, rounding: float) -> float:
    largest = float(np.max(np.abs([slope, difference]), initial=0))
    worst = float(np.max(np.abs(slope - difference), initial=0))
    return 0.0 if worst <= rounding else worst / largest
