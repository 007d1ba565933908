"""What is searched: a pytree in which some leaves are ranges, and its points in the unit cube.

A range maps u in [0, 1] to its values; with d ranges a design is a table of points u in [0, 1]^d,
whatever the ranges are. Numbers are traced, so that trials which differ in them share a program.
The options of a `Choice` are plain Python values: each combination of them is a program.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import checks


@dataclasses.dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, evenly spread, or evenly in their logarithm.

    Args:
        low: the smallest, in (-inf, high); above 0 where ``log``.
        high: the largest.
        log: whether to spread the logarithm: for rates, penalties, and all that spans decades.

    Examples:
        >>> round(Float(1e-4, 1.0, log=True).at(0.5), 6)
        0.01
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        checks.number("Float", "low", self.low, "(0, inf)" if self.log else "(-inf, inf)")
        checks.number("Float", "high", self.high, f"({self.low}, inf)")

    def at(self, u: float) -> float:
        """The value at ``u`` in [0, 1]."""
        if u == 1:  # exactly, which rounding would miss
            return float(self.high)
        if self.log:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + u * (self.high - self.low))


@dataclasses.dataclass(frozen=True)
class Int:
    """Whole numbers from ``low`` to ``high``, both included; traced, so they set no shapes.

    For widths, depths and batch sizes, which do, there is :class:`Choice`.

    Args:
        low: the smallest; above 0 where ``log``.
        high: the largest.
        log: whether to spread the logarithm.

    Examples:
        >>> [Int(1, 3).at(u) for u in (0.0, 0.5, 1.0)]
        [1, 2, 3]
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        checks.integer("Int", "low", self.low, "[1, inf)" if self.log else "(-inf, inf)")
        checks.integer("Int", "high", self.high, f"({self.low}, inf)")

    def at(self, u: float) -> int:
        """The value at ``u`` in [0, 1]: each has a share, of the logarithm where ``log``."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + u * (high - low)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values, which may set shapes and programs: widths, batch sizes, optimizers.

    Args:
        options: at least one, all different; numbers and strings above all.

    Examples:
        >>> Choice(["relu", "tanh"]).at(0.7)
        'tanh'
    """

    options: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        repeated = any(o in self.options[:i] for i, o in enumerate(self.options))
        if not self.options or repeated:
            raise ValueError(
                f"Choice: `options` must be at least one value, all different, got {self.options}."
            )

    def index(self, u: float) -> int:
        """Which option is at ``u`` in [0, 1]."""
        return min(math.floor(u * len(self.options)), len(self.options) - 1)

    def at(self, u: float) -> Any:
        """The option at ``u`` in [0, 1]."""
        return self.options[self.index(u)]


Range = Float | Int | Choice


class Dimensions(NamedTuple):
    """A space, taken apart.

    names: of the ranges: their paths in the space, such as ``"optimizer/learning_rate"``.
    ranges: one for each dimension of the unit cube.
    places: which leaf of the space each of them is.
    leaves: of the space, in order.
    structure: of the space.
    spelled: the leaves as text, for 1 and 1.0 are equal and not the same program.
    """

    names: tuple[str, ...]
    ranges: tuple[Range, ...]
    places: tuple[int, ...]
    leaves: tuple[Any, ...]
    structure: Any
    spelled: str

    def fill(self, values: Sequence[Any]) -> PyTree:
        """The space with values instead of the ranges, one for each."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        return jax.tree.unflatten(self.structure, leaves)


def dimensions_of(space: PyTree) -> Dimensions:
    """Take ``space`` apart. Its ranges may lie anywhere in it; all other leaves are fixed."""
    pairs, structure = jax.tree.flatten_with_path(space)
    leaves = tuple(leaf for _, leaf in pairs)
    places = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, Range))
    return Dimensions(
        names=tuple(jax.tree_util.keystr(pairs[i][0], simple=True, separator="/") for i in places),
        ranges=tuple(leaves[i] for i in places),
        places=places,
        leaves=leaves,
        structure=structure,
        spelled=repr(leaves),
    )


def values_at(dimensions: Dimensions, points: np.ndarray) -> list[np.ndarray]:
    """The numbers at points of the unit cube: a column for each range that is no choice."""
    return [
        np.array(
            [kind.at(u) for u in column],
            np.int32 if isinstance(kind, Int) else jnp.result_type(float),
        )
        for kind, column in zip(dimensions.ranges, points.T.tolist(), strict=True)
        if not isinstance(kind, Choice)
    ]


def configuration_at(space: PyTree, point: Sequence[float] | np.ndarray) -> PyTree:
    """The configuration at a point of the unit cube: ``space`` with values instead of ranges.

    Args:
        space: a pytree of ranges and fixed values.
        point: one number in [0, 1] for each range, in the order of the pytree's leaves.

    Raises:
        ValueError: if there are more numbers or fewer.

    Examples:
        >>> space = {"rate": Float(0.0, 4.0), "width": Choice([8, 16]), "steps": 100}
        >>> configuration_at(space, [0.5, 0.9])
        {'rate': 2.0, 'steps': 100, 'width': 16}
    """
    dimensions = dimensions_of(space)
    if len(point) != len(dimensions.ranges):
        raise ValueError(
            f"configuration_at: `point` must have {len(dimensions.ranges)} numbers, "
            f"got {len(point)}."
        )
    return dimensions.fill([r.at(float(u)) for r, u in zip(dimensions.ranges, point, strict=True)])
