"""Caches of compiled programs that do not keep the functions alive for which they were compiled.

A cache that holds a user's functions keeps everything alive that they close over, models and data
sets included. The caches here hold functions weakly: a result is dropped with its functions.
"""

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh


Made = TypeVar("Made")
REMEMBERED = 64  # results of one function, whose arguments may all stay alive


def remembered(make: Callable[..., Made]) -> Callable[..., Made]:
    """``make``, which returns its previous result for equal arguments.

    Functions among its arguments, and in tuples among them, are replaced by proxies that call them
    as long as they are alive. A result is dropped with any of these functions, or after many
    others. With unhashable arguments, such as arrays, the result is never cached.

    ``make`` takes positional arguments. It must be fast, and its result must not be used after its
    functions are gone.

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
        try:
            hash(arguments)
        except TypeError:
            return make(*_standing_in(arguments))
        # The garbage collector may call `forget` at any moment, so it takes no lock.
        key = _held_weakly(arguments, forget=lambda _: results.pop(key, None))
        with lock:
            result = results.pop(key, None)
            if result is None:
                result = make(*_standing_in(arguments))
            results[key] = result  # the most recently used result comes last
            if len(results) > REMEMBERED:
                results.pop(next(iter(results)), None)
        return result

    return made


def compiled_for(*names: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function some of whose keyword arguments are static and contain a user's functions.

    It works like ``jax.jit(function, static_argnames=names)``. But a program is kept only as long
    as the functions in these arguments (see :func:`remembered`), which ``jax.jit`` would keep alive
    until the process ends.

    Args:
        *names: names of keyword arguments: functions, or tuples of functions and other objects.
        **options: for ``jax.jit``.

    Examples:
        >>> applied = compiled_for("function")(lambda x, *, function: function(x))
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
            functions = [keywords.pop(name) for name in names]  # alive until the program has run
            return program(*functions)(*arguments, **keywords)

        return call

    return decorate


def _held_weakly(part: Any, forget: Callable[[Any], Any]) -> Any:
    """``part`` with weak references in place of functions, also within tuples."""
    if isinstance(part, tuple):
        return type(part), *(_held_weakly(x, forget) for x in part)
    return weakref.ref(part, forget) if _is_function(part) else part


def _standing_in(part: Any) -> Any:
    """``part`` with proxies in place of functions, which call them without keeping them."""
    if isinstance(part, tuple):
        return tuple.__new__(type(part), map(_standing_in, part))
    if not _is_function(part):
        return part
    reference: Callable[[], Any] = weakref.ref(part)
    stand_in = lambda *arguments, **keywords: reference()(*arguments, **keywords)
    stand_in.__name__ = getattr(part, "__name__", type(part).__name__)
    return stand_in


def _is_function(part: Any) -> bool:
    """Whether ``part`` is a function that can be held weakly. Meshes are callable too."""
    if not callable(part) or isinstance(part, type | Mesh):
        return False
    return type(part).__weakrefoffset__ != 0
