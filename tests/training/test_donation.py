"""A step writes its results where its arguments were: what the compiler says of its memory."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.optimizers import adamw
from jaxopt_course.tasks import Batch, Task
from jaxopt_course.training import Training, init_state, make_step

# Private names: no public function returns the compiled step of a stream, which holds the memory.
from jaxopt_course.training._arguments import make_timetable
from jaxopt_course.training._segments import _step as stream_step
from jaxopt_course.training._training import Setup
from jaxopt_course.transforms import apply_updates


SHAPE = (512, 512)
LEAF = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
OPTIMIZER = adamw(0.01)


def bytes_of(tree):
    leaves = jax.tree.leaves(tree)
    return sum(x.size * x.dtype.itemsize for x in leaves if x.size > 1)


def check_is_in_place(program, kept, besides=0):
    """All of ``kept`` is written over, and so many leaves lie beside it, apart from numbers."""
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= bytes_of(kept)
    assert memory.temp_size_in_bytes <= (besides + 0.05) * bytes_of(LEAF)


def update(params, state, grads):
    updates, state = OPTIMIZER.update(grads, state, params)
    return apply_updates(params, updates), state


def one_large_leaf():
    def init(key):
        return {"w": jnp.zeros(SHAPE, jnp.float32)}, {}

    def loss(params, model_state, batch, *, key, train):
        errors = (params["w"][None] - batch.targets) ** 2
        return jnp.mean(errors, axis=(1, 2)), (model_state, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


TASK = one_large_leaf()
BATCH = Batch(
    jax.ShapeDtypeStruct((1, 1), jnp.float32), jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
)
KEY = jax.eval_shape(lambda: jax.random.key(0))


def test_an_update_is_in_place_where_it_is_donated():
    state = jax.eval_shape(OPTIMIZER.init, LEAF)
    program = jax.jit(update, donate_argnums=(0, 1)).lower(LEAF, state, LEAF).compile()
    check_is_in_place(program, (LEAF, state))
    copying = jax.jit(update).lower(LEAF, state, LEAF).compile()
    with pytest.raises(AssertionError):
        check_is_in_place(copying, (LEAF, state))


def test_a_training_step_is_in_place_where_it_is_donated():
    state = jax.eval_shape(lambda key: init_state(TASK, OPTIMIZER, key), KEY)
    program = jax.jit(make_step(TASK, OPTIMIZER), donate_argnums=0).lower(state, BATCH).compile()
    check_is_in_place(program, (state.params, state.opt_state), besides=1)  # the gradient


def test_the_steps_of_fit_on_a_stream_are_in_place():
    timetable = make_timetable("fit", 4, epochs=None, steps=4, batch_size=1, evaluate_every=4)
    setup, given = Setup(TASK, OPTIMIZER, timetable), (None, None, None)
    progress = jax.eval_shape(Training(setup).start, KEY, BATCH)
    step = functools.partial(stream_step.__wrapped__, setup=setup)
    program = jax.jit(step, donate_argnames="progress").lower(given, progress, BATCH).compile()
    state = progress.state
    check_is_in_place(program, (state.params, progress.best_params, state.opt_state), besides=1)
