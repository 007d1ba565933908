"""Functional optimization in JAX: composable optimizers, and trainings that are one program.

Packages and common names are imported on first use; ``__init__.pyi`` lists them. The other names of
optax are re-exported; ``core/_handed_on.py`` lists them.
"""

from typing import Any

import lazy_loader


_ours, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _ours(name)
    except AttributeError:
        if name.startswith("_"):  # asked for by tools that look at modules
            raise
        from jaxopt_course.core import ALIASES, handed_on

        return _ours(ALIASES[name]) if name in ALIASES else handed_on("")(name)
