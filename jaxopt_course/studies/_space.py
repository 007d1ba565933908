"""Search spaces: pytrees in which some leaves are ranges, and their points in the unit cube.

A range maps u in [0, 1] to its values, so a design is a table of points in [0, 1]^d, one column for
each of d ranges. Numbers are traced: trials that differ in them share a program. The options of a
`Choice` are plain Python values: each combination of options is a program of its own.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, PyTree

from jaxopt_course.core import checks


Points = Float64[np.ndarray, "trials d"]


@dataclasses.dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, spread evenly on a linear or logarithmic scale.

    Args:
        low: the smallest value, in (-inf, high); with ``log``, in (0, high).
        high: the largest value.
        log: whether to spread the logarithm evenly. Use it for learning rates, penalties and other
            numbers that span decades.

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
    """Whole numbers from ``low`` to ``high``, both included.

    They are traced, so they cannot set shapes. Use :class:`Choice` for widths, depths and batch
    sizes.

    Args:
        low: the smallest value; with ``log``, in [1, high).
        high: the largest value.
        log: whether to spread the logarithm evenly.

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
        """The value at ``u`` in [0, 1]; every value has an equal share of the (log) scale."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + u * (high - low)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, which may set shapes and programs: widths, batch sizes, optimizers.

    Args:
        options: at least one value, all different.

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
        """The number of the option at ``u`` in [0, 1]."""
        return min(math.floor(u * len(self.options)), len(self.options) - 1)

    def at(self, u: float) -> Any:
        """The option at ``u`` in [0, 1]."""
        return self.options[self.index(u)]


Range = Float | Int | Choice


class Space(NamedTuple):
    """A search space that was taken apart by :func:`space_of`.

    leaves: leaves of the tree, ranges and fixed values in order.
    structure: structure of the tree.
    names: the path of each range in the tree, such as ``"optimizer/learning_rate"``.
    spelled: the leaves as text. The numbers 1 and 1.0 are equal, but their programs differ.
    """

    leaves: tuple[Any, ...]
    structure: Any
    names: tuple[str, ...]
    spelled: str

    @property
    def ranges(self) -> tuple[Range, ...]:
        """One for each dimension of the unit cube."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Range))

    @property
    def choices(self) -> dict[int, Choice]:
        """The ranges that are choices, by dimension."""
        return {i: kind for i, kind in enumerate(self.ranges) if isinstance(kind, Choice)}

    def fill(self, values: Sequence[Any]) -> PyTree:
        """The tree with one value in the place of each range."""
        rest = iter(values)
        leaves = [next(rest) if isinstance(leaf, Range) else leaf for leaf in self.leaves]
        return jax.tree.unflatten(self.structure, leaves)

    def configuration(self, point: Sequence[float] | np.ndarray) -> PyTree:
        """The tree with plain Python values: those at ``point``."""
        return self.fill([r.at(float(u)) for r, u in zip(self.ranges, point, strict=True)])

    def numbers(self, points: Points) -> list[np.ndarray]:
        """The values at ``points``, one column for each range that is not a choice."""
        return [
            np.array(
                [kind.at(u) for u in column],
                np.int32 if isinstance(kind, Int) else jnp.result_type(float),
            )
            for kind, column in zip(self.ranges, points.T.tolist(), strict=True)
            if not isinstance(kind, Choice)
        ]


def space_of(tree: PyTree) -> Space:
    """Take a space apart. Leaves that are not ranges are fixed values."""
    pairs, structure = jax.tree.flatten_with_path(tree)
    leaves = tuple(leaf for _, leaf in pairs)
    path = lambda keys: jax.tree_util.keystr(keys, simple=True, separator="/")
    names = tuple(path(keys) for keys, leaf in pairs if isinstance(leaf, Range))
    return Space(leaves, structure, names, repr(leaves))


def configuration_at(space: PyTree, point: Sequence[float] | np.ndarray) -> PyTree:
    """The configuration at a point of the unit cube: ``space`` with values instead of ranges.

    Args:
        space: a pytree of ranges and fixed values.
        point: one number in [0, 1] for each range, in the order of the pytree's leaves.

    Examples:
        >>> space = {"rate": Float(0.0, 4.0), "width": Choice([8, 16]), "steps": 100}
        >>> configuration_at(space, [0.5, 0.9])
        {'rate': 2.0, 'steps': 100, 'width': 16}
    """
    apart = space_of(space)
    if len(point) != len(apart.ranges):
        raise ValueError(
            f"configuration_at: `point` must have {len(apart.ranges)} numbers, got {len(point)}."
        )
    return apart.configuration(point)
