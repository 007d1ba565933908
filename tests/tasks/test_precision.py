"""Mixed precision: what is computed narrow, and what stays wide."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import (
    Batch,
    Task,
    function_task,
    linen_task,
    mixed_precision,
    nnx_task,
    pytree_task,
)
from jaxopt_course.training import init_state, make_step


N, FEATURES, CLASSES = 96, 6, 3
MULTICLASS = problem("multiclass")


def clouds() -> Batch:
    targets = jnp.arange(N) % CLASSES
    noise = jax.random.normal(jax.random.key(7), (N, FEATURES), jnp.float32)
    return Batch(noise + 2 * jax.nn.one_hot(targets, FEATURES, dtype=jnp.float32), targets)


def linen_network() -> Task:
    """What mixed precision gets wrong first: batch statistics and dropout."""
    model = MLP(CLASSES, (8,), normalization="batch", batch_momentum=0.8, dropout=0.1)
    return linen_task(model, jnp.zeros((1, FEATURES), jnp.float32), MULTICLASS)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(FEATURES, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs, dtype=jnp.bfloat16)  # its default is to promote
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(jax.nn.relu(self.norm(self.hidden(x)))))


def nnx_network() -> Task:
    return nnx_task(lambda rngs: Network(rngs), MULTICLASS)


def weights(key):
    hidden, last = jax.random.split(key)
    draw = lambda key, shape: jax.random.normal(key, shape, jnp.float32)
    return {"hidden": draw(hidden, (FEATURES, 8)), "last": draw(last, (8, CLASSES))}


def apply(params, x):
    return jax.nn.relu(x @ params["hidden"]) @ params["last"]


def function_network() -> Task:
    return function_task(weights, apply, MULTICLASS)


def pytree_network() -> Task:
    return pytree_task(lambda key: jax.tree_util.Partial(apply, weights(key)), MULTICLASS)


NETWORKS = (linen_network, nnx_network, function_network, pytree_network)


def gradients(task, params, model_state, batch, key):
    def mean_loss(params):
        losses, more = task.loss(params, model_state, batch, key=key, train=True)
        return losses.mean(), (losses, more)

    return jax.grad(mean_loss, has_aux=True)(params)


def multiplied(jaxpr):
    """The dtypes of all factors of matrix products, in a program and in what it calls."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found |= {factor.aval.dtype.name for factor in equation.invars}
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            found |= multiplied(inner) if hasattr(inner, "eqns") else set()
    return found


@pytest.mark.parametrize("make", NETWORKS)
def test_products_are_narrow_and_everything_that_stays_is_wide(make, key, standard_promotion):
    plain, batch = make(), clouds()
    task = mixed_precision(plain)
    params, model_state = jax.eval_shape(task.init, key)
    args = (params, model_state, batch, key)
    for own, expected in ((plain, "float32"), (task, "bfloat16")):
        program = jax.make_jaxpr(lambda *args, own=own: gradients(own, *args))(*args)
        assert multiplied(program.jaxpr) == {expected}
    grads, (losses, (new_state, metrics)) = jax.eval_shape(lambda *a: gradients(task, *a), *args)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, model_state)
    predictions = jax.eval_shape(task.predict, params, model_state, batch.inputs)
    for leaf in (losses, *metrics.values(), predictions):
        assert leaf.dtype == jnp.float32


def test_activations_come_out_wide(key):
    task, batch = mixed_precision(linen_network()), clouds()
    args = (*jax.eval_shape(task.init, key), batch.inputs)
    assert {x.dtype.name for x in jax.eval_shape(task.activations, *args).values()} == {"float32"}
    assert mixed_precision(function_network()).activations is None


@pytest.mark.exhaustive
def test_a_training_in_bfloat16_ends_near_that_in_float32(key):
    @functools.partial(jax.jit, static_argnums=1)
    def run(key, dtype):
        task, tx = mixed_precision(linen_network(), dtype), adam(0.02)
        step = make_step(task, tx)

        def body(state, index):
            quarter = lambda x: x.reshape(4, N // 4, *x.shape[1:])[index % 4]
            state, metrics = step(state, jax.tree.map(quarter, clouds()))
            return state, metrics["loss"]

        return jax.lax.scan(body, init_state(task, tx, key), jnp.arange(60))

    (_, wide), (state, narrow) = run(key, jnp.float32), run(key, jnp.bfloat16)
    wide, narrow = (losses.reshape(-1, 4).mean(1) for losses in (wide, narrow))
    # Both have the same dropout; one rounding to 8 bits is 0.4 %, and 60 steps add some of them up.
    np.testing.assert_allclose(narrow[-1], wide[-1], rtol=0.03)
    assert narrow[-1] < 0.4 * narrow[0]
    for leaf in jax.tree.leaves((state.params, state.model_state)):
        assert leaf.dtype == jnp.float32
        assert (leaf != leaf.astype(jnp.bfloat16).astype(jnp.float32)).any()  # and not rounded
    assert {x.dtype.name for x in jax.tree.leaves(state.opt_state)} <= {"float32", "int32"}


def test_a_dtype_that_everything_has_already_changes_no_bit(key):
    plain, batch = linen_network(), clouds()
    run = lambda task: jax.jit(lambda key: gradients(task, *task.init(key), batch, key))(key)
    chex.assert_trees_all_equal(run(mixed_precision(plain, jnp.float32)), run(plain))


def test_a_loss_of_ones_own_is_given_wide_outputs():
    seen = []

    def loss(outputs, targets):
        seen.append(outputs.dtype)
        return MULTICLASS.loss(outputs, targets)

    problem = dataclasses.replace(MULTICLASS, loss=loss, metrics={"again": loss})
    batch = Batch(jnp.ones((2, 3), jnp.float16), jnp.array([0, 2]))
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.result_type(float)):
        task = function_task(lambda key: {}, lambda params, x, d=dtype: x.astype(d), problem)
        losses = jax.eval_shape(lambda t=task: t.loss({}, {}, batch, key=None, train=True)[0])
        wide = np.promote_types(dtype, jnp.float32)
        assert losses.dtype == wide
        assert seen[-2:] == [wide, wide]


def test_integer_inputs_and_targets_are_left_alone():
    seen = {}

    def look_up(params, inputs):
        seen.update(inputs=inputs["row"].dtype, shift=inputs["shift"].dtype)
        return params["table"][inputs["row"]] + inputs["shift"][:, None]

    regression = problem("regression")
    table = {"table": jnp.ones((4, 1), jnp.float32)}
    task = mixed_precision(function_task(lambda key: table, look_up, regression), "float16")
    inputs = {"row": jnp.array([1, 3], jnp.int32), "shift": jnp.zeros(2, jnp.float32)}
    targets = jnp.full((2, 1), 1 + 2.0**-20, jnp.float32)  # float16 has no such number
    losses, _ = task.loss(table, {}, Batch(inputs, targets), key=None, train=True)
    assert seen == {"inputs": jnp.int32, "shift": jnp.float16}
    np.testing.assert_array_equal(losses, np.full(2, 2.0**-40, np.float32))


def test_a_dtype_that_is_not_floating_is_refused():
    with pytest.raises(TypeError, match="must be a floating dtype, got int8"):
        mixed_precision(function_network(), jnp.int8)
