"""The default training of ``jaxopt-course train``: an MLP on the digits, by AdamW."""

import jax
import jax.numpy as jnp

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.data import Split, digits, split
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adamw
from jaxopt_course.problems import problem
from jaxopt_course.schedules import warmup_cosine_decay_schedule
from jaxopt_course.tasks import Task, linen_task


EPOCHS, BATCH_SIZE = 40, 64


def data() -> tuple[jax.Array, jax.Array]:
    """Pixels and classes of the digits."""
    return jnp.asarray(digits().inputs), jnp.asarray(digits().targets)


def split_of(seed: int) -> tuple[Split, jax.Array]:
    """The rows that train, validate and test with this seed, and the key of the training."""
    split_key, key = jax.random.split(jax.random.key(seed))
    targets = digits().targets
    return split(split_key, len(targets), validation=0.15, test=0.2, stratify=targets), key


def task_of() -> Task:
    """The classifier, with batch normalization and dropout."""
    model = MLP(10, (256, 256), normalization="batch", batch_momentum=0.9, dropout=0.4)
    return linen_task(model, jnp.zeros((1, 64), jnp.float32), problem("multiclass"))


def optimizer_of(epochs: int, n_train: int) -> GradientTransformationExtraArgs:
    """AdamW with warmup over a tenth of the steps, then a cosine decay."""
    steps = epochs * -(-n_train // BATCH_SIZE)
    rate = warmup_cosine_decay_schedule(0.0, 3e-3, round(0.1 * steps), steps)
    return adamw(rate, weight_decay=1e-2)
