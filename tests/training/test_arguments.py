"""What is no task, optimizer, key, build or rows meets one sentence that says what to give."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxopt_course.data import split
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.training import fit, init_state, make_step, make_train, make_training

from .problems import line, line_task


TASK, OPTIMIZER, KEY = line_task(), adam(0.1), jax.random.key(0)
LENGTH = {"epochs": 1, "batch_size": 3}
OTHERS = [
    (
        {"task": adam},
        r"`task` must be a Task, got <.*>\. Was it meant to be called\?",
    ),
    ({"task": {"w": 1}}, r"`task` must be a Task, got {'w': 1}\."),
    ({"optimizer": sgd}, r"`optimizer` must be a gradient transformation, got <.*>\. Was it meant"),
    ({"optimizer": 0.1}, r"`optimizer` must be a gradient transformation, got 0\.1\."),
    ({"optimizer": jnp.ones(2)}, r"`optimizer` must be .*, got float\d+ of shape \(2,\)\."),
    ({"optimizer": list(range(99))}, r"`optimizer` must be .*, got a list\."),
]
KEYS = [
    (0, TypeError, r"`key` must be a typed key, such as jax\.random\.key\(0\), got 0\."),
    (None, TypeError, r"`key` must be a typed key, .*, got None\."),
    (
        jnp.zeros(2, jnp.uint32),
        TypeError,
        r"`key` must be a typed key, .*, got uint32 of shape \(2,\)\.",
    ),
    (
        jax.random.split(KEY, 3),
        ValueError,
        r"`key` must be one key, got an array of keys of shape \(3,\); give one of them, such as ",
    ),
]


@pytest.mark.parametrize(("given", "said"), OTHERS)
def test_what_is_no_task_or_no_optimizer_is_refused(given, said, as_users_run_it):
    task, optimizer = ({"task": TASK, "optimizer": OPTIMIZER} | given).values()
    with pytest.raises(TypeError, match="^fit: " + said):
        fit(task, optimizer, line(), key=KEY, **LENGTH)
    with pytest.raises(TypeError, match="^make_train: what `build` returns: " + said):
        make_train(lambda _: (task, optimizer), line(), **LENGTH)(KEY)
    with pytest.raises(TypeError, match="^init_state: " + said):
        init_state(task, optimizer, KEY)
    with pytest.raises(TypeError, match="^make_step: " + said):
        make_step(task, optimizer)


@pytest.mark.parametrize(("key", "error", "said"), KEYS)
def test_what_is_no_typed_key_is_refused(key, error, said, as_users_run_it):
    with pytest.raises(error, match="^fit: " + said):
        fit(TASK, OPTIMIZER, line(), key=key, **LENGTH)
    train = make_train(lambda _: (TASK, OPTIMIZER), line(), **LENGTH)
    rule = said.split(", got")[0]
    for call in (train, jax.jit(train)) if key is not None else (train,):
        with pytest.raises(error, match=f"^train: {rule}"):
            call(key)
    with pytest.raises(error, match="^init_state: " + said):
        init_state(TASK, OPTIMIZER, key)


@pytest.mark.parametrize("returned", [TASK, OPTIMIZER, None, (TASK, OPTIMIZER, KEY)])
def test_a_build_that_returns_no_pair_is_refused(returned, as_users_run_it):
    said = r"`build` must return a pair \(task, optimizer\), got "
    with pytest.raises(TypeError, match="^make_train: " + said):
        make_train(lambda _: returned, line(), **LENGTH)(KEY)
    with pytest.raises(TypeError, match="^make_training: " + said):
        make_training(lambda _: returned, line(), batch_size=3)()


def test_a_build_that_is_no_function_is_refused_at_once(as_users_run_it):
    with pytest.raises(TypeError, match=r"^make_train: `build` must be a function .*, got tuple\."):
        make_train((TASK, OPTIMIZER), line(), **LENGTH)


def test_transformations_of_optax_and_lists_are_taken():
    train = make_train(lambda _: [TASK, optax.sgd(0.1)], line(), **LENGTH)
    assert int(jax.eval_shape(train, KEY).outcome.code.ndim) == 0


def test_a_split_is_told_how_it_becomes_rows(as_users_run_it):
    parts = split(KEY, 12, validation=3, test=3)
    said = re.escape("`rows` must be Rows, got a Split: give Rows(parts.train, validation=")
    with pytest.raises(TypeError, match="^fit: " + said):
        fit(TASK, OPTIMIZER, line(), key=KEY, rows=parts, **LENGTH)
    with pytest.raises(TypeError, match="^train: " + said):
        make_train(lambda _: (TASK, OPTIMIZER), line(), **LENGTH)(KEY, None, parts)
