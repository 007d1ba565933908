"""The training of which ``fixtures/format-1`` is a checkpoint, after 6 of 12 steps."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.optimizers import adam
from jaxopt_course.training import fit

from .problems import Data, keeping, line_task


def data():
    """Drawn from no generator, whose numbers might change."""
    inputs = np.stack([np.arange(12) % 5, np.arange(12) % 3], 1) / 4
    return Data(jnp.asarray(inputs), jnp.asarray(inputs @ np.array([[2.0], [-1.0]])))


def train(directory, **options):
    return fit(
        *(line_task(), adam(0.05), data()),
        key=jax.random.key(0),
        steps=12,
        batch_size=4,
        segment=3,
        **keeping({"checkpoint": directory} | options),
    )
