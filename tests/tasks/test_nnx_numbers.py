"""Numbers of NNX models may be traced, and the signatures of NNX's own classes are understood."""

import functools

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxopt_course.nnx import Dropout, Hyperparameter
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task, nnx_task
from jaxopt_course.training import Rows, make_population, make_train


REGRESSION = problem("regression")
X = jax.random.normal(jax.random.key(1), (12, 2), jnp.float32)
DATA = (X, X[:, :1])


class Net(nnx.Module):
    def __init__(self, rate=0.5, kind=Dropout, *, rngs):
        self.first, self.dropout = nnx.Linear(2, 8, rngs=rngs), kind(rate, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(self.first(x)))


def first_loss(task):
    key = jax.random.key(0)
    params, state = task.init(key)
    return task.loss(params, state, Batch(*DATA), key=key, train=True)[0].mean()


def test_a_class_and_functions_of_rngs_make_the_same_model():
    makers = [Net, functools.partial(Net, 0.5), lambda rngs: Net(rngs=rngs)]
    makers += [lambda streams: Net(rngs=streams), lambda *, rngs: Net(rngs=rngs)]
    found = [float(first_loss(nnx_task(make, REGRESSION))) for make in makers]
    assert found == found[:1] * 5


@pytest.mark.exhaustive
def test_a_population_over_traced_dropout_rates_is_its_members_one_by_one():
    build = lambda rate: (nnx_task(functools.partial(Net, 2 * rate), REGRESSION), sgd(0.1))
    train = make_train(build, DATA, steps=3, batch_size=4)
    loss = lambda key, rate, rows: train(key, rate, rows).history["validation_loss"][-1]
    rows, key = Rows(jnp.arange(8), None, jnp.arange(8, 12)), jax.random.key(0)
    rates = jnp.array([0.0, 0.1, 0.4], jnp.float32)
    together = jax.jit(make_population(loss, ("hyperparameters",)))(key, rates, rows)
    alone = jax.jit(lambda rate: loss(key, rate, rows))
    chex.assert_trees_all_equal(together, jnp.stack([alone(rate) for rate in rates]))
    assert len({*together.tolist()}) == 3


def test_a_hyperparameter_is_not_part_of_the_model_state():
    """Otherwise a rate that changes during a training would keep its first value."""
    losses = {}
    for rate in (0.1, 0.9):
        task = nnx_task(functools.partial(Net, jnp.array(rate, jnp.float32)), REGRESSION)
        _, state = task.init(jax.random.key(0))
        assert not jax.tree.leaves(state)
        losses[rate] = first_loss(task)
        chex.assert_trees_all_close(
            losses[rate], first_loss(nnx_task(functools.partial(Net, rate), REGRESSION)), rtol=1e-6
        )
    assert losses[0.1] != losses[0.9]


class Scaled(nnx.Module):
    def __init__(self, scale, *, rngs):
        self.linear, self.scale = nnx.Linear(2, 1, rngs=rngs), Hyperparameter(scale)

    def __call__(self, x):
        return self.scale[...] * self.linear(x)


def test_a_model_may_keep_a_number_that_was_computed_while_it_was_made():
    predict = lambda scale: nnx_task(lambda rngs: Scaled(2 * scale, rngs=rngs), REGRESSION)

    def outputs(scale):
        task = predict(scale)
        return task.predict(*task.init(jax.random.key(0)), X)

    scales = jnp.array([0.5, 3.0], jnp.float32)
    found = jax.jit(jax.vmap(outputs))(scales)
    chex.assert_trees_all_close(found[1], 6 * found[0], rtol=1e-5)
    slope = jax.grad(lambda scale: outputs(scale).sum())(jnp.float32(1.0))
    chex.assert_trees_all_close(slope, outputs(jnp.float32(1.0)).sum(), rtol=1e-4)


class LinenNet(linen.Module):
    rate: float

    @linen.compact
    def __call__(self, x, train):
        return linen.Dropout(self.rate, deterministic=not train)(linen.Dense(1)(x))


def flax_attention(rate, rngs):
    options = {"dropout_rate": rate, "decode": False, "rngs": rngs}
    return nnx.MultiHeadAttention(1, 2, 2, **options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda rate: nnx_task(functools.partial(Net, rate, nnx.Dropout), REGRESSION),
         "^nnx_task: `rate` of the flax.nnx.Dropout at 'dropout' must be .* jaxopt_course.nnx.D"),
        (lambda rate: nnx_task(functools.partial(flax_attention, rate), REGRESSION),
         "^nnx_task: a module .* flax.nnx.MultiHeadAttention .* jaxopt_course.nnx.Dropout after"),
        (lambda rate: linen_task(LinenNet(rate), X[:1], REGRESSION),
         "^linen_task: `rate` of the flax.linen.Dropout at 'Dropout_0' .* jaxopt_course.nn.Drop"),
    ],
)  # fmt: skip
def test_a_module_of_flax_that_takes_no_traced_number_is_named(make, sentence):
    with pytest.raises(TypeError, match=sentence):
        jax.jit(lambda rate: first_loss(make(rate)))(0.5)
