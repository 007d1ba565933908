"""Results that are kept as long as the functions they were made for: compiled programs, mostly.

A cache that holds the functions of its users keeps alive whatever these close over, models and data
sets included. The caches here hold functions weakly: what was made for a function is forgotten with
it.
"""

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh


Made = TypeVar("Made")
REMEMBERED = 64  # results of one maker; a function that lives on may be used with many others


def remembered(make: Callable[..., Made]) -> Callable[..., Made]:
    """``make``, which returns what it made before for equal arguments.

    The functions among its arguments, and in tuples among them, are replaced by stand-ins that call
    them as long as they are alive. A result is forgotten with any of these functions, or when many
    others have been made since. Where an argument cannot be hashed, such as an array, the result
    is made each time.

    Args:
        make: a function of positional arguments. It must be quick, and its result must not be
            used when the functions that it was made for are gone.

    Examples:
        >>> twice = lambda x: 2 * x
        >>> made = remembered(lambda function: lambda x: function(x))
        >>> made(twice) is made(twice), made(twice)(3)
        (True, 6)
    """
    results: dict[Any, Made] = {}
    lock = threading.RLock()

    @functools.wraps(make)
    def made(*arguments: Any) -> Made:
        # `forget` is called by the collector of garbage, at any moment: it takes no lock.
        key = _held_weakly(arguments, forget=lambda _: results.pop(key, None))
        try:
            hash(key)
        except TypeError:
            return make(*_standing_in(arguments))
        with lock:
            result = results.pop(key, None)
            if result is None:
                result = make(*_standing_in(arguments))
            results[key] = result  # the last one used comes last
            if len(results) > REMEMBERED:
                results.pop(next(iter(results)), None)
        return result

    return made


def compiled_for(*names: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function some of whose keyword arguments are static and hold a user's functions.

    It does what ``jax.jit(function, static_argnames=names)`` does, but a program is kept only as
    long as the functions in these arguments (see :func:`remembered`), where ``jax.jit`` keeps the
    functions for the life of the process.

    Args:
        *names: of the keyword arguments, each a function, or a tuple of functions and other things.
        **options: for ``jax.jit``.

    Examples:
        >>> @compiled_for("function")
        ... def applied(x, *, function):
        ...     return function(x)
        >>> applied(3, function=lambda x: 2 * x).item()
        6
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @remembered
        def program(*values: Any) -> Callable[..., Any]:
            static = dict(zip(names, values, strict=True))
            return jax.jit(functools.partial(function, **static), **options)

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            return program(*map(keywords.pop, names))(*arguments, **keywords)

        return call

    return decorate


def _held_weakly(part: Any, forget: Callable[[Any], Any]) -> Any:
    """``part`` with weak references in the place of functions; tuples are looked into."""
    if isinstance(part, tuple):
        return type(part), *(_held_weakly(x, forget) for x in part)
    return weakref.ref(part, forget) if _is_function(part) else part


def _standing_in(part: Any) -> Any:
    """``part`` with stand-ins in the place of functions, which call these and do not keep them."""
    if isinstance(part, tuple):
        return tuple.__new__(type(part), map(_standing_in, part))
    if not _is_function(part):
        return part
    reference: Callable[[], Any] = weakref.ref(part)
    stand_in = lambda *arguments, **keywords: reference()(*arguments, **keywords)
    stand_in.__name__ = getattr(part, "__name__", type(part).__name__)
    return stand_in


def _is_function(part: Any) -> bool:
    """Whether ``part`` is called, and can be held weakly. A mesh is callable as a decorator."""
    if not callable(part) or isinstance(part, type | Mesh):
        return False
    return type(part).__weakrefoffset__ != 0
