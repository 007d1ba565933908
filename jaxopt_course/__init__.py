"""Functional optimization in JAX: composable optimizers, and trainings that are one program.

The packages, and the everyday vocabulary, resolved on first use: ``__init__.pyi`` is the list.
"""

import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
