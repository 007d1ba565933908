"""Floor 3: what is trained. A task is pure functions; adapters make one of any kind of model."""

from ._augmented import augmented, mixed
from ._function import function_task
from ._linen import linen_task
from ._losses_of import losses_of
from ._nnx import nnx_task
from ._precision import mixed_precision
from ._pytree import pytree_task
from ._targets import targets_check
from ._task import Batch, Task


__all__ = [
    "Batch",
    "Task",
    "augmented",
    "function_task",
    "linen_task",
    "losses_of",
    "mixed",
    "mixed_precision",
    "nnx_task",
    "pytree_task",
    "targets_check",
]
