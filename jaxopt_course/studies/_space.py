"""Search spaces: pytrees in which some leaves are ranges, and their points in the unit cube.

A range maps u in [0, 1] to its values, so a design is a table of points in [0, 1]^d, one column for
each of d ranges. Numbers are traced: trials that differ in them share a program. The options of a
`Choice` are plain Python values: each combination of options is a program of its own. An option may
have a space of its own, whose ranges are dimensions of the cube too. A configuration holds only the
values of the option that it names, and the other coordinates of its point have no effect.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
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

    def place(self, value: Any) -> float:
        """The u in [0, 1] of a value; raise ValueError if the range does not hold it."""
        checks.number("Float", "value", value, f"[{self.low}, {self.high}]")
        if self.log:
            return min(math.log(value / self.low) / math.log(self.high / self.low), 1.0)
        return min((value - self.low) / (self.high - self.low), 1.0)


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

    def place(self, value: Any) -> float:
        """The u in [0, 1] of a value; raise ValueError if the range does not hold it."""
        checks.integer("Int", "value", value, f"[{self.low}, {self.high}]")
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(value) - low) / (high - low)
        return (value - self.low + 0.5) / (self.high - self.low + 1)


class Option(NamedTuple):
    """An option of a :class:`Choice` with values of its own; in a space, with ranges.

    A configuration holds the option that was chosen, so a training may begin with
    ``name, values = hyperparameters["optimizer"]``.

    name: name of the option.
    values: its values, a pytree.
    """

    name: str
    values: PyTree


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, which may set shapes and programs: widths, batch sizes, optimizers.

    Args:
        options: at least one value, all different; or a mapping from names to spaces. The
            configurations then hold an :class:`Option`, a name with values from the space of that
            name only.

    Examples:
        >>> Choice(["relu", "tanh"]).at(0.7)
        'tanh'
        >>> optimizer = Choice({"sgd": {"momentum": Float(0.0, 0.9)}, "lion": {}})
        >>> configuration_at({"optimizer": optimizer}, [0.2, 0.5])
        {'optimizer': Option(name='sgd', values={'momentum': 0.45})}
    """

    options: Any  # a sequence or a mapping; from then on a tuple

    def __post_init__(self) -> None:
        if isinstance(self.options, Mapping):
            object.__setattr__(self, "options", itertools.starmap(Option, self.options.items()))
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

    def place(self, value: Any) -> float:
        """The u in [0, 1] of an option; raise ValueError if there is no such option."""
        names = list(map(option_name, self.options))
        name = option_name(value)
        if name not in names:
            raise ValueError(f"Choice: `value` must be one of {names}, got {name!r}.")
        return (names.index(name) + 0.5) / len(names)


def option_name(value: Any) -> Any:
    """The name of an :class:`Option`, and any other value itself."""
    return value.name if isinstance(value, Option) else value


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
        """One for each dimension of the unit cube; those of an option follow its choice."""
        return tuple(kind for leaf in self.leaves for kind in _ranges_of(leaf))

    @property
    def choices(self) -> dict[int, Choice]:
        """The ranges that are choices, by dimension."""
        return {i: kind for i, kind in enumerate(self.ranges) if isinstance(kind, Choice)}

    @property
    def programs(self) -> int:
        """The number of combinations of options, each of which is a program of its own."""
        return math.prod(map(_programs, self.leaves))

    def fill(self, values: Sequence[Any]) -> PyTree:
        """The tree with one value in the place of each range."""
        rest = iter(values)
        return jax.tree.unflatten(self.structure, [_filled(leaf, rest) for leaf in self.leaves])

    def active(self, point: Sequence[float] | np.ndarray) -> list[bool]:
        """Which coordinates of a point have an effect: those of chosen options."""
        rest = iter(point)
        return [is_active for leaf in self.leaves for is_active in _active(leaf, rest)]

    def point(self, configuration: PyTree) -> list[float]:
        """The point of a configuration; coordinates of other options are 0.5.

        Raises:
            ValueError: if the configuration is not one of the space.
        """
        try:
            values = self.structure.flatten_up_to(configuration)
        except ValueError as error:
            raise ValueError(f"it must have the structure of `space`: {error}") from None
        pairs = zip(self.leaves, values, strict=True)
        return [u for leaf, value in pairs for u in _placed(leaf, value)]

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
    names = tuple(name for keys, leaf in pairs for name in _names_of(path(keys), leaf))
    return Space(leaves, structure, names, repr(leaves))


def _subspaces(leaf: Any) -> list[tuple[str, Space]]:
    """The spaces of the options of a choice, by name."""
    options = leaf.options if isinstance(leaf, Choice) else ()
    return [(option.name, space_of(option.values)) for option in options if type(option) is Option]


def _ranges_of(leaf: Any) -> tuple[Range, ...]:
    if not isinstance(leaf, Range):
        return ()
    return (leaf, *(kind for _, space in _subspaces(leaf) for kind in space.ranges))


def _programs(leaf: Any) -> int:
    if not isinstance(leaf, Choice):
        return 1
    spaces = [space for _, space in _subspaces(leaf)]
    return len(leaf.options) - len(spaces) + sum(space.programs for space in spaces)


def _names_of(path: str, leaf: Any) -> list[str]:
    if not isinstance(leaf, Range):
        return []
    spaces = _subspaces(leaf)
    return [path, *(f"{path}/{option}/{name}" for option, space in spaces for name in space.names)]


def _filled(leaf: Any, rest: Iterator[Any]) -> Any:
    """A leaf with the next values in the place of its ranges."""
    if not isinstance(leaf, Range):
        return leaf
    value = next(rest)
    for name, space in _subspaces(leaf):
        own = space.fill(list(itertools.islice(rest, len(space.ranges))))
        if option_name(value) == name:
            chosen = Option(name, own)
    return chosen if isinstance(value, Option) else value


def _active(leaf: Any, rest: Iterator[float]) -> list[bool]:
    if not isinstance(leaf, Range):
        return []
    chosen, found = option_name(leaf.at(next(rest))), [True]
    for name, space in _subspaces(leaf):
        inner = space.active(list(itertools.islice(rest, len(space.ranges))))
        found += [name == chosen and is_active for is_active in inner]
    return found


def _placed(leaf: Any, value: Any) -> list[float]:
    """The coordinates of the value of a leaf."""
    if not isinstance(leaf, Range):
        if not (value is leaf or bool(np.all(np.asarray(value) == np.asarray(leaf)))):
            raise ValueError(f"it must have the fixed value {leaf!r}, got {value!r}")
        return []
    spaces, options = _subspaces(leaf), leaf.options if isinstance(leaf, Choice) else ()
    bare = [option for option in options if type(option) is not Option]
    if spaces and isinstance(value, tuple) and len(value) == 2:
        value = Option(*value)
    elif spaces and value not in bare:
        raise ValueError(f"an option must be a pair (name, values), got {value!r}")
    found = [leaf.place(value)]
    for name, space in spaces:
        is_own = name == option_name(value)
        found += space.point(value.values) if is_own else [0.5] * len(space.ranges)
    return found


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
