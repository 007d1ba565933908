"""The problems whose numbers are tuned by gradients and by searches."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.hypergradients import EPOCHS, PROBLEMS, TRAINED, VALIDATED, final_loss
from jaxopt_course.tasks import Batch


@pytest.fixture(autouse=True)
def _as_in_the_benchmark():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(params=PROBLEMS)
def own(request):
    return PROBLEMS[request.param]()


def test_a_problem_trains_with_the_middle_of_all_ranges(own):
    assert len(jax.tree.leaves(own.middle)) >= 25
    run = jax.eval_shape(own.train(), jax.random.key(0), own.middle, own.rows_of(0)[0])
    assert run.history["validation_loss"].shape == (EPOCHS,)
    assert jax.eval_shape(final_loss, run).shape == ()


def test_training_validation_and_test_rows_are_disjoint(own):
    with_validation, with_test = own.rows_of(0)
    parts = with_validation.train, with_validation.validation, with_test.validation
    assert sorted(jnp.concatenate(parts).tolist()) == list(range(len(own.data[0])))
    assert list(map(len, parts[:2])) == [TRAINED, VALIDATED]


@pytest.mark.exhaustive
def test_the_code_of_the_autoencoder_is_penalized_in_training_only():
    own = PROBLEMS["autoencoder"]()
    batch = Batch(own.data[0][:5], own.data[1][:5], jnp.ones(5))
    params, state = own.task_of(0.0).init(jax.random.key(0))
    loss = lambda weight, train: own.task_of(weight).loss(
        params, state, batch, key=jax.random.key(1), train=train
    )[0]
    kernel = params["encoder"]["Dense_0"]["kernel"]
    penalty = jnp.abs(batch.inputs @ kernel).mean(-1)
    assert jnp.array_equal(loss(0.5, False), loss(0.0, True))
    assert jnp.allclose(loss(0.5, True) - loss(0.0, True), 0.5 * penalty, rtol=1e-5)
