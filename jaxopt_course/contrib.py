"""The names of ``optax.contrib``: this library's version where it has one, otherwise optax's.

:func:`muon` has optax's default here: Muon for every leaf with two axes.
"""

import functools
from typing import Any

import optax

from jaxopt_course import optimizers, transforms


@functools.wraps(optimizers.muon)
def muon(*args: Any, muon_weight_dimension_numbers: Any = None, **options: Any) -> Any:
    if muon_weight_dimension_numbers is None:
        muon_weight_dimension_numbers = optimizers.two_axis_dimensions
    options["muon_weight_dimension_numbers"] = muon_weight_dimension_numbers
    return optimizers.muon(*args, **options)


def __getattr__(name: str) -> Any:
    theirs = getattr(optax.contrib, name)
    return getattr(optimizers, name, None) or getattr(transforms, name, theirs)


def __dir__() -> list[str]:
    return dir(optax.contrib)
