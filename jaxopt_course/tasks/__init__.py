"""Tasks: what is trained, as pure functions, and adapters that make one of any kind of model."""

from ._flax import linen_task as linen_task
from ._flax import nnx_task as nnx_task
from ._functions import function_task as function_task
from ._functions import pytree_task as pytree_task
from ._given import lora as lora
from ._given import starting_from as starting_from
from ._task import Batch as Batch
from ._task import Task as Task
from ._task import losses_of as losses_of
from ._task import targets_check as targets_check
from ._wrappers import augmented as augmented
from ._wrappers import mixed as mixed
from ._wrappers import mixed_precision as mixed_precision
from ._wrappers import with_metrics as with_metrics
