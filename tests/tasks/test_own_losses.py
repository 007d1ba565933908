"""Losses of a user in place of a problem, without targets or with dicts, and named RNG streams."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_equal
from flax import nnx

from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task, linen_task, nnx_task, pytree_task
from jaxopt_course.training import fit


X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
KEY = jax.random.key(0)


class Noisy(nn.Module):
    """Draws from two streams in training."""

    @nn.compact
    def __call__(self, x, train):
        drawn = [jax.random.normal(self.make_rng(s), (2,)) for s in STREAMS] if train else []
        self.param("w", nn.initializers.ones, (3,))
        return {"out": x, "drawn": drawn}


STREAMS = ("dropout", "sample")


def reconstruction(outputs, batch):
    squares = (outputs - batch.inputs) ** 2
    return squares.mean(-1), {"largest": squares.max(-1)}


def tasks():
    ones = lambda key: jax.tree_util.Partial(lambda w, x: w * x, 2 * jnp.ones(3, jnp.float32))
    return {
        "linen": linen_task(nn.Dense(3), X[:1], loss=reconstruction),
        "nnx": nnx_task(lambda rngs: nnx.Linear(3, 3, rngs=rngs), loss=reconstruction),
        "function": function_task(
            lambda key: {"w": jnp.eye(3, dtype=jnp.float32) * 2},
            lambda p, x: x @ p["w"],
            loss=reconstruction,
        ),
        "pytree": pytree_task(ones, loss=reconstruction),
    }


@pytest.mark.parametrize("name", ["linen", "nnx", "function", "pytree"])
def test_a_loss_of_outputs_and_batch_is_minimized_without_targets(name):
    task = tasks()[name]
    params, state = task.init(KEY)
    outputs = task.predict(params, state, jnp.asarray(X))
    for train in (True, False):
        losses, (_, metrics) = task.loss(
            params, state, Batch(jnp.asarray(X), None), key=KEY, train=train
        )
        assert_trees_all_equal((losses, metrics), reconstruction(outputs, Batch(X, None)))
    run = fit(task, adam(0.05), X, key=KEY, epochs=30, batch_size=6, progress=False)
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]
    assert "largest" in run.history


def test_half_precision_outputs_are_widened_for_the_loss():
    seen = []
    loss = lambda outputs, batch: seen.append(outputs.dtype) or outputs.mean(-1)
    task = linen_task(nn.Dense(3, dtype=jnp.bfloat16), X[:1], loss=loss)
    task.loss(*task.init(KEY), Batch(jnp.asarray(X), None), key=KEY, train=True)
    assert seen == [jnp.float32]


def test_each_stream_has_numbers_of_its_own_and_the_first_keeps_its_own():
    loss = lambda outputs, batch: jnp.zeros(12)

    def drawn(rngs):
        found = []
        keep = lambda outputs, batch: found.append(outputs["drawn"]) or loss(outputs, batch)
        task = linen_task(Noisy(), X[:1], loss=keep, rngs=rngs)
        task.loss(*task.init(KEY), Batch(jnp.asarray(X), None), key=KEY, train=True)
        return np.array(found[0])

    dropout, sample = drawn(STREAMS)
    assert not np.any(dropout == sample)
    assert_trees_all_equal(drawn((*STREAMS, "other")), np.array([dropout, sample]))
    with pytest.raises(Exception, match="sample"):
        drawn(("dropout",))


def test_a_task_has_a_problem_or_a_loss(as_users_run_it):
    for given in ({}, {"problem": problem("regression"), "loss": reconstruction}):
        with pytest.raises(
            ValueError, match=r"^linen_task: give exactly one of `problem` and `loss`"
        ):
            linen_task(nn.Dense(3), X[:1], **given)
    for make in (linen_task, nnx_task, function_task, pytree_task):
        first = {linen_task: (nn.Dense(3), X[:1]), function_task: (lambda k: {}, lambda p, x: x)}
        with pytest.raises(TypeError, match=f"^{make.__name__}: `loss` must be a function"):
            make(*first.get(make, (lambda k: nnx.Linear(1, 1, rngs=k),)), loss=3)
    with pytest.raises(TypeError, match="`rngs` must be a tuple of names"):
        linen_task(nn.Dense(3), X[:1], problem("regression"), rngs="sample")


@pytest.mark.parametrize(
    ("loss", "error", "said"),
    [
        (lambda o, b: (o.mean(-1), {}, 3), TypeError, "must return losses"),
        (lambda o, b: (o.mean(-1), 3), TypeError, "must return losses"),
        (lambda o, b: o.mean(), ValueError, r"must have the shape \[batch\]"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused(loss, error, said):
    task = linen_task(nn.Dense(3), X[:1], loss=loss)
    with pytest.raises(error, match=said):
        fit(task, sgd(0.1), X, key=KEY, epochs=1, batch_size=6, progress=False)


def test_a_problem_without_targets_is_refused():
    task = linen_task(nn.Dense(3), X[:1], problem("regression"))
    with pytest.raises(ValueError, match="regression: the loss of this problem needs targets"):
        fit(task, sgd(0.1), X, key=KEY, epochs=1, batch_size=6, progress=False)
