"""Argument checks, whose messages name the owner, the argument, the rule and the value.

They run when an object is built. A traced or vmapped number has no value yet, and passes.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from ._protocols import GradientTransformation, GradientTransformationExtraArgs


def is_traced(value: Any) -> bool:
    """Whether ``value`` is a tracer, the abstract value that JAX passes through a function."""
    return isinstance(value, jax.core.Tracer)


def are_known(*values: Any) -> bool:
    """Whether all ``values`` are concrete numbers: neither traced, nor abstract, nor batched."""
    kinds = (int, float, np.generic, np.ndarray, jax.Array)
    return all(isinstance(x, kinds) and not is_traced(x) and np.ndim(x) == 0 for x in values)


def shown(value: Any) -> str:
    """``value`` as part of a message: its text, or its type where the text is long."""
    if not is_traced(value) and isinstance(value, jax.Array | np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, int) and abs(value) > 10**30:
        return f"an int of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except ValueError:  # an int in it has more digits than Python prints
        text = ""
    is_short = 0 < len(text) <= 60 and "\n" not in text
    return text if is_short else f"a {type(value).__name__}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, for messages. ``plural`` is ``noun`` with an s by default.

    Examples:
        >>> counted(1, "step"), counted(2, "step"), counted(0, "leaf", "leaves")
        ('1 step', '2 steps', '0 leaves')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def number(owner: str, name: str, value: Any, interval: str = "(-inf, inf)") -> None:
    """Raise unless ``value`` is one real number in ``interval``, written as in mathematics.

    Raises:
        TypeError: if ``value`` is not a number, such as None, a bool or an array with axes.
        ValueError: if it is NaN or outside the interval.

    Examples:
        >>> number("adam", "b1", 1.0, "[0, 1)")
        Traceback (most recent call last):
        ValueError: adam: `b1` must lie in [0, 1), got 1.0.
    """
    _require_scalar(owner, name, value, f"a number in {interval}")
    if not is_traced(value) and not _contains(interval, _as_float(owner, name, value)):
        raise ValueError(f"{owner}: `{name}` must lie in {interval}, got {value!r}.")


def numbers(owner: str, interval: str, **values: Any) -> None:
    """Raise unless each of ``values``, given by name, is a number in ``interval``."""
    for name, value in values.items():
        number(owner, name, value, interval)


def integers(owner: str, interval: str, **values: Any) -> None:
    """Raise unless each of ``values``, given by name, is a static integer in ``interval``."""
    for name, value in values.items():
        integer(owner, name, value, interval)


def beside(owner: str, needed: str, *, present: bool, **given: Any) -> None:
    """Raise ValueError if an argument is given, but what it needs is not ``present``.

    None, False and empty values count as not given.
    """
    for name, value in given.items():
        if value and not present:
            raise ValueError(f"{owner}: `{name}` needs {needed}, got {value!r}.")


def integer(owner: str, name: str, value: Any, interval: str) -> None:
    """Raise unless ``value`` is a static integer in ``interval``, which sets shapes or programs."""
    if is_traced(value):
        raise TypeError(
            f"{owner}: `{name}` is static, because it sets the shape of the program: "
            f"it must be an int in {interval}, got a traced value."
        )
    if isinstance(value, bool | np.bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{owner}: `{name}` must be an int in {interval}, got {shown(value)}.")
    if not _contains(interval, _as_float(owner, name, value)):
        raise ValueError(f"{owner}: `{name}` must lie in {interval}, got {value!r}.")


def learning_rate(owner: str, value: Any, name: str = "learning_rate", hint: str = "") -> None:
    """Raise unless ``value`` is a number in [0, inf) or a schedule.

    ``hint`` is a sentence that is added to the message for negative numbers.
    """
    if callable(value):
        schedule(owner, name, value)
        return
    _require_scalar(owner, name, value, "a number in [0, inf) or a schedule")
    if not is_traced(value) and not _contains("[0, inf)", _as_float(owner, name, value)):
        hint = f" {hint}" if hint and float(value) < 0 else ""
        raise ValueError(f"{owner}: `{name}` must lie in [0, inf), got {value!r}.{hint}")


def schedule(owner: str, name: str, value: Any) -> None:
    """Raise TypeError unless ``value`` is a function of a step count that returns a number.

    A function that fails on a traced count passes: it may be used outside of ``jit``.
    """
    rule = f"{owner}: `{name}` must be a schedule, a function from a step count to a number"
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{rule}, got {shown(value)}.")
    try:
        result: Any = jax.eval_shape(value, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception:  # it will be raised again when the schedule is used
        return
    is_number = isinstance(result, jax.ShapeDtypeStruct) and result.shape == ()
    if not is_number or not jnp.issubdtype(result.dtype, np.number):
        raise TypeError(f"{rule}, got a function that returns {shown(result)}.")


def flag(owner: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is True or False, not merely truthy or falsy."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{owner}: `{name}` must be True or False, got {shown(value)}.")


def flags(owner: str, **values: Any) -> None:
    """Raise unless each of ``values``, given by name, is True or False."""
    for name, value in values.items():
        flag(owner, name, value)


def dtype(owner: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is None, or a float or complex dtype or its name."""
    if value is None:
        return
    try:
        is_inexact = jnp.issubdtype(jnp.dtype(value), jnp.inexact)
    except (TypeError, ValueError):
        is_inexact = False
    if not is_inexact:
        raise TypeError(
            f"{owner}: `{name}` must be a float or complex dtype, such as 'float32', or None, "
            f"got {shown(value)}."
        )


def as_array(owner: str, name: str, value: Any) -> Array:
    """``value`` as an array; TypeError if it does not consist of numbers."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"{owner}: `{name}` must be an array of numbers, got {shown(value)}."
        ) from None


def array(owner: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is an array of floats or complex numbers, which may be traced."""
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic)
    if not is_array or not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(
            f"{owner}: `{name}` must be an array of floats or complex numbers, got {shown(value)}."
        )


def rank(owner: str, name: str, value: Any, least: int) -> None:
    """Raise unless ``value`` is an array of numbers with at least ``least`` axes."""
    if not isinstance(value, jax.Array | np.ndarray) or not jnp.issubdtype(value.dtype, np.number):
        raise TypeError(f"{owner}: `{name}` must be an array of numbers, got {shown(value)}.")
    if value.ndim < least:
        raise ValueError(
            f"{owner}: `{name}` must have at least {least} axes, got shape {value.shape}."
        )


def function(owner: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is callable and not a class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{owner}: `{name}` must be a function, got {shown(value)}.")


def axes(owner: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is an axis, several axes, or None for all."""
    is_axis = lambda axis: isinstance(axis, int | np.integer) and not isinstance(axis, bool)
    several = value if isinstance(value, tuple | list) else (value,)
    if isinstance(value, int) and abs(value) > 2**31:
        several = ()
    if value is not None and not (several and all(map(is_axis, several))):
        raise TypeError(
            f"{owner}: `{name}` must be an int, a tuple of ints or None, got {shown(value)}."
        )


def choice(owner: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless ``value`` is one of ``choices``; the message suggests the nearest one."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{owner}: `{name}` must be one of {', '.join(choices)}, got {shown(value)}.{hint}"
        )


def _require_scalar(owner: str, name: str, value: Any, rule: str) -> None:
    is_number = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
    dtype = getattr(value, "dtype", type(value))
    if not (is_number and jnp.issubdtype(dtype, np.number)):
        got = shown(value)
    elif jnp.issubdtype(dtype, np.complexfloating):
        got = f"the complex {value!r}"
    elif jnp.shape(value) != ():
        got = f"an array of shape {jnp.shape(value)}"
    else:
        return
    raise TypeError(f"{owner}: `{name}` must be {rule}, got {got}.")


def _as_float(owner: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{owner}: `{name}` must be a number that fits into a float, got {shown(value)}."
        ) from None


def _contains(interval: str, value: float) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and not math.isnan(value)


def transformation(owner: str, name: str, value: Any) -> GradientTransformationExtraArgs:
    """``value`` as a gradient transformation whose update takes extra arguments.

    Raises:
        TypeError: if it is not a transformation, such as an optimizer that was not called.
    """
    if not isinstance(value, GradientTransformation):
        hint = " Was it meant to be called?" if callable(value) else ""
        raise TypeError(
            f"{owner}: `{name}` must be a gradient transformation, got {shown(value)}.{hint}"
        )
    return optax.with_extra_args_support(value)


def like(owner: str, what: str, tree: PyTree, like: PyTree, than: str = "parameter") -> None:
    """Raise unless ``tree`` has the structure and shapes of ``like``; dtypes may differ.

    Args:
        owner: the function, for the message.
        what: what the leaves of ``tree`` are called. A ``"gradient"`` must also have a float or
            complex dtype.
        tree: the tree to check.
        like: the tree to compare with.
        than: what the leaves of ``like`` are called.
    """
    if what == "gradient":
        floats(owner, what, tree)
    structure: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(like)
    if structure != wanted:
        paths, others = (
            {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(t)}
            for t in (tree, like)
        )
        sides = ((what, paths - others), (than, others - paths))
        lonely = [f"only the {of} tree has {', '.join(sorted(ps)[:10])}" for of, ps in sides if ps]
        where = "".join(f"; {side}" for side in lonely)
        raise ValueError(
            f"{owner}: the {what} tree must have the structure of the {than} tree{where}; "
            f"got {structure} and {wanted}."
        )
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True
    ):
        if jnp.shape(leaf) != jnp.shape(other):
            raise ValueError(
                f"{owner}: {what}{at(path)} has shape {jnp.shape(leaf)}, "
                f"{than} has {jnp.shape(other)}."
            )


def at(path: Any) -> str:
    """The place of a leaf, for messages: ``" at ['w']"``; empty if the leaf is the whole tree."""
    return f" at {jax.tree_util.keystr(path)}" if path else ""


def floats(owner: str, what: str, tree: PyTree) -> None:
    """Raise TypeError unless all leaves are floats or complex: integers would be rounded."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{owner}: {what}{at(path)} must have a float or complex dtype, got {dtype.name}; "
                "parameters that are not trained are best left out by `partition` or `masked`."
            )


def state(owner: str, state: Any, kind: type) -> None:
    """Raise TypeError unless ``state`` is a ``kind``, and not the state of another optimizer."""
    if not isinstance(state, kind):
        raise TypeError(
            f"{owner}: the state must be the {kind.__name__} that the `init` of the same "
            f"transformation returned, got {_kind_of(state)}."
        )


def step(owner: str, updates: PyTree, own: Any, kind: type, field: str) -> None:
    """Raise unless the state ``own`` is a ``kind``, and the gradients are like its ``field``."""
    state(owner, own, kind)
    like(owner, "gradient", updates, getattr(own, field))


def empty_state(owner: str, state: Any) -> None:
    """Raise TypeError if ``state`` has leaves, so that it belongs to another transformation."""
    if jax.tree.leaves(state):
        raise TypeError(
            f"{owner}: the state must be the EmptyState that `init` of the same transformation "
            f"returned, got {_kind_of(state)}."
        )


def parts(owner: str, what: str, parts: Any, names: Iterable[Any]) -> None:
    """Raise ValueError unless ``parts``, a dictionary in a state, has exactly these names."""
    wanted = list(names)
    if not isinstance(parts, Mapping) or set(parts) != set(wanted):
        got = list(parts) if isinstance(parts, Mapping) else _kind_of(parts)
        raise ValueError(
            f"{owner}: {what} must have the names {wanted}, as the `init` of the same "
            f"transformation returned it, got {got}."
        )


def params(owner: str, params: Any, updates: PyTree = None) -> None:
    """Raise ValueError unless the parameters are given, shaped like ``updates`` if these are."""
    if params is None:
        raise ValueError(
            f"{owner} reads the parameters: call `update(updates, state, params)`, "
            "not `update(updates, state)`."
        )
    if updates is not None:
        like(owner, "gradient", updates, params)


def _kind_of(state: Any) -> str:
    is_plain = type(state) in (tuple, list)
    return f"a {type(state).__name__} of {len(state)}" if is_plain else f"a {type(state).__name__}"
