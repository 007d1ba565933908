"""The tests, and the checker that executes the package's annotations in them.

Functions inside of functions are not checked: they are made again whenever JAX traces the outer
one, and building their checks took a quarter of the time of the contracts.
"""

import functools
import inspect

import beartype
import jaxtyping


check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # an int is a float
_jaxtyped = jaxtyping.jaxtyped


def outermost(fn=None, **options):
    """``jaxtyping.jaxtyped`` for functions and classes that no function encloses."""
    if fn is None:
        return functools.partial(outermost, **options)
    is_inner = inspect.isfunction(fn) and "<locals>" in fn.__qualname__
    return fn if is_inner else _jaxtyped(fn, **options)


jaxtyping.jaxtyped = outermost
