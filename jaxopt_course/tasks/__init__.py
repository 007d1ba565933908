"""Floor 3: what is trained. A task is pure functions; adapters make one of any kind of model."""

from ._augmented import augmented as augmented
from ._augmented import mixed as mixed
from ._function import function_task as function_task
from ._linen import linen_task as linen_task
from ._losses_of import losses_of as losses_of
from ._nnx import nnx_task as nnx_task
from ._precision import mixed_precision as mixed_precision
from ._pytree import pytree_task as pytree_task
from ._targets import targets_check as targets_check
from ._task import Batch as Batch
from ._task import Task as Task
