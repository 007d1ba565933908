"""Course 2, data augmentation in a training: seen by its steps, by nothing else."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.data import gaussian_noise, random_affine
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, Task, augmented, function_task, mixed
from jaxopt_course.training import make_train


N = 12


def sees(problem_name="regression") -> Task:
    """A task whose outputs are its inputs: losses tell what it was given."""
    return function_task(lambda key: {}, lambda params, x: x, problem(problem_name))


def line() -> Batch:
    values = jnp.arange(float(N))[:, None]
    return Batch(values, values)


def losses_of(task, batch, key, train=True):
    return task.loss({}, {}, batch, key=key, train=train)[0]


def test_training_sees_augmented_inputs_and_evaluation_does_not(key):
    task = augmented(sees(), lambda key, x: x + jax.random.normal(key, x.shape))
    batch = line()
    drawn = jnp.square(jax.random.normal(jax.random.split(key)[0], (N, 1)))[:, 0]
    chex.assert_trees_all_close(losses_of(task, batch, key), drawn, rtol=1e-12)
    assert not losses_of(task, batch, None, train=False).any()
    chex.assert_trees_all_equal(task.predict({}, {}, batch.inputs), batch.inputs)
    assert (losses_of(task, batch, key) != losses_of(task, batch, jax.random.key(1))).all()


def test_one_wrapper_in_another_draws_other_numbers(key):
    noise = gaussian_noise(1.0)
    inner = losses_of(augmented(sees(), noise), line(), jax.random.split(key)[1]) ** 0.5
    outer = losses_of(augmented(sees(), noise), line(), key) ** 0.5
    both = losses_of(augmented(augmented(sees(), noise), noise), line(), key) ** 0.5
    sums = jnp.minimum(abs(both - abs(inner - outer)), abs(both - (inner + outer)))
    np.testing.assert_allclose(sums, 0, atol=1e-12)
    assert (abs(inner - outer) > 1e-6).all()


def test_mixtures_have_mixed_targets_and_leave_out_rows_of_weight_0(key):
    counts = jnp.arange(N) < 6
    batch = line()._replace(weights=counts.astype(float))
    compiled = jax.jit(lambda alpha, batch: losses_of(mixed(sees(), alpha), batch, key))
    # Targets that are the inputs stay so.
    np.testing.assert_allclose(compiled(1.0, batch), 0, atol=1e-20)
    # Targets that are wrong in rows of weight 0 would be noticed wherever these are mixed in.
    wrong = batch._replace(targets=jnp.where(counts[:, None], batch.targets, 1e3))
    losses = compiled(1.0, wrong)
    assert (losses[:6] < 1e-20).all()
    assert (losses[6:] > 1).any()
    assert (compiled(1.0, wrong._replace(weights=jnp.ones(N)))[:6] > 1).any()
    np.testing.assert_array_equal(compiled(0.0, wrong), losses_of(sees(), wrong, key))


def test_class_numbers_become_rows_of_probabilities(key):
    batch = Batch(jnp.zeros((N, 3)), jnp.arange(N) % 3)
    task = mixed(sees("multiclass"), 0.4, n_classes=3)
    chex.assert_shape(jax.eval_shape(lambda: losses_of(task, batch, key)), (N,))
    # In evaluation they stay what they are: outputs are equal, so the loss is log 3.
    losses = losses_of(task, batch, None, train=False)
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-12)


def test_means_of_class_numbers_are_refused(key, as_users_run_it):
    batch = Batch(jnp.zeros((N, 3)), jnp.arange(N) % 3)
    with pytest.raises((TypeError, ValueError)):
        jax.eval_shape(lambda: losses_of(mixed(sees("multiclass"), 0.4), batch, key))
    with pytest.raises(ValueError, match=r"mixed: `alpha` must lie in \[0, inf\), got -1"):
        mixed(sees(), -1)


@pytest.mark.exhaustive
def test_numbers_of_an_augmentation_are_hyperparameters_of_one_program():
    """Course 2, data augmentation, as part of a compiled training."""
    images = jax.random.normal(jax.random.key(3), (9, 4, 4))
    data = (images, images[:, 1, 1:2])
    traces = []

    def build(strength):
        traces.append(strength)
        task = function_task(
            lambda key: {"w": jnp.zeros((16, 1))},
            lambda params, x: x.reshape(-1, 16) @ params["w"],
            problem("regression"),
        )
        return augmented(task, random_affine(rotation=90 * strength)), optax.sgd(0.01)

    train = make_train(build, data, epochs=3, batch_size=4)
    weights = lambda strength: train(jax.random.key(0), strength).state.params["w"]
    run = jax.jit(jax.vmap(weights))
    nothing, something = run(jnp.array([0.0, 0.5]))
    run(jnp.array([0.1, 0.7]))
    assert len(traces) == 1
    assert abs(something - nothing).max() > 1e-3


def test_mixtures_need_targets():
    task = mixed(function_task(lambda key: {}, lambda p, x: x, loss=lambda y, batch: y[:, 0]), 0.3)
    with pytest.raises(ValueError, match="mixed: the batches must have targets, got None"):
        losses_of(task, Batch(jnp.ones((2, 1))), jax.random.key(0))
