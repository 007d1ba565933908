"""Gradients that are accumulated over several batches: one large batch in small pieces."""

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.tasks import Batch
from jaxopt_course.training import init_state, make_step

from .problems import line, line_task


def recording():
    """A transformation whose state is the weight that its last ``update`` was offered."""

    def update(updates, state, params=None, *, weight, **extra_args):
        return updates, {"weight": jnp.asarray(weight)}

    return GradientTransformationExtraArgs(lambda params: {"weight": jnp.zeros(())}, update)


@pytest.mark.parametrize(
    ("weights", "total"), [(None, 4.0), (jnp.array([1.0, 0.5, 0.0, 2.0]), 3.5), (jnp.zeros(4), 0.0)]
)
def test_a_step_offers_the_total_weight_of_its_batch(weights, total, key):
    inputs, targets = line(4)
    step = jax.jit(make_step(line_task(), recording()))
    state, _ = step(init_state(line_task(), recording(), key), Batch(inputs, targets, weights))
    weight = state.opt_state["weight"]
    assert float(weight) == total
    assert jnp.issubdtype(weight.dtype, jnp.floating)
