"""The names of ``optax.contrib``: this library's version where it has one, otherwise optax's."""

from typing import Any

import optax

from jaxopt_course import optimizers, transforms


def __getattr__(name: str) -> Any:
    theirs = getattr(optax.contrib, name)
    return getattr(optimizers, name, None) or getattr(transforms, name, theirs)


def __dir__() -> list[str]:
    return dir(optax.contrib)
