"""What belongs to a task lives as long as the task: programs are used again, and then forgotten."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_course as jc
from jaxopt_course import diagnostics, studies
from jaxopt_course.core import compiled_for, remembered
from jaxopt_course.data import k_fold
from jaxopt_course.minimization import (
    minimize,
)
from jaxopt_course.training import (
    init_state,
    make_training,
)
from tests.tiers import everyday


SIZE = 300_007  # entries of the array by which a task that is still alive is found
KEY = jax.random.key(0)
X, Y = np.ones((12, 4), "float32"), np.arange(12, dtype="int32") % 3


def new_task(traced=lambda: None):
    """A task whose model closes over a large array; ``traced`` is called by every trace of it."""
    table = jnp.ones(SIZE, "float32")

    def apply(params, x):
        traced()
        return x @ params + table[None, :3]

    init = lambda key: jnp.zeros((4, 3), "float32")
    return jc.function_task(init, apply, jc.problems.problem("multiclass"))


def new_train(task=None):
    task = task or new_task()
    return jc.make_train(lambda rate: (task, jc.sgd(rate)), (X, Y), epochs=1, batch_size=6)


def parts(task):
    return task, *task.init(KEY)


class Stream:
    def __iter__(self):
        return iter([(X[:6], Y[:6]), (X[6:], Y[6:])])

    def __len__(self):
        return 2


def fit(task, data=(X, Y)):
    size = None if isinstance(data, Stream) else 6
    jc.fit(task, OPTIMIZER, data, key=KEY, epochs=1, batch_size=size, progress=False)


OPTIMIZER = jc.sgd(0.1)  # it outlives all tasks
SPACE = studies.Float(0.1, 0.2)
OF_A_TASK = {
    "fit": fit,
    "fit of a stream": functools.partial(fit, data=Stream()),
    "evaluate": lambda task: jc.evaluate(*parts(task), X, Y),
    "predict": lambda task: jc.predict(*parts(task), X),
}
OF_NEW_FUNCTIONS = {
    "make_train": lambda: jax.jit(new_train())(KEY, 0.1),
    "search": lambda: studies.search(new_train(), SPACE, key=KEY, trials=2, progress=False),
    "cross_validate": lambda: studies.cross_validate(
        new_train(), k_fold(KEY, np.arange(12), 2), key=KEY, hyperparameters=0.1
    ),
    "successive_halving": lambda: studies.successive_halving(
        make_training(lambda rate: (new_task(), jc.sgd(rate)), (X, Y), batch_size=6),
        SPACE,
        key=KEY,
        rungs=studies.Rungs((4, 2), (1, 2)),
        progress=False,
    ),
    "minimize": lambda: minimize(
        functools.partial(lambda table, p: p**2 + table[0], jnp.ones(SIZE)), 1.0, jc.sgd(0.1)
    ),
    "gradient_flow": lambda: (
        lambda task: diagnostics.gradient_flow(
            task, init_state(task, OPTIMIZER, KEY), jc.Batch(jnp.asarray(X), jnp.asarray(Y))
        )
    )(new_task()),
    "check_gradients": lambda: diagnostics.check_gradients(
        functools.partial(lambda table, p: p**2 + table[0], jnp.ones(SIZE)), jnp.ones(()), key=KEY
    ),
    "variance_through_depth": lambda: diagnostics.variance_through_depth(
        "glorot_normal",
        functools.partial(lambda table, h: h * table[0].astype(h.dtype), jnp.ones(SIZE)),
        2,
        key=KEY,
        widths=(4, 4),
    ),
}


def alive() -> int:
    gc.collect()
    return sum(array.size == SIZE for array in jax.live_arrays())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*OF_A_TASK, *OF_NEW_FUNCTIONS])
def test_nothing_of_what_was_trained_outlives_it(name):
    once = OF_NEW_FUNCTIONS.get(name) or (lambda: OF_A_TASK[name](new_task()))
    before = alive()
    for _ in range(2):
        once()
    assert alive() == before


@pytest.mark.parametrize("name", everyday(OF_A_TASK, {"fit"}))
def test_the_same_task_is_traced_once(name):
    traces = []
    task = new_task(lambda: traces.append(None))
    OF_A_TASK[name](task)
    first = len(traces)
    OF_A_TASK[name](task)
    assert 0 < first == len(traces)


def test_the_same_search_is_traced_once():
    traces = []
    train = new_train(new_task(lambda: traces.append(None)))
    run = lambda: (
        studies.search(train, SPACE, key=KEY, trials=2, strategy="map", progress=False).scores
    )
    first = run(), len(traces)
    np.testing.assert_array_equal(run(), first[0])
    assert 0 < first[1] == len(traces)


def test_a_task_made_again_of_the_same_functions_is_the_same():
    task, traces = new_task(), []

    def loss(*arguments, **keywords):
        traces.append(None)
        return task.loss(*arguments, **keywords)

    for _ in range(2):
        made_again = jc.Task(task.init, loss, task.predict)
        OF_A_TASK["evaluate"](made_again)
    assert len(traces) == 1


def test_a_result_is_forgotten_with_the_first_function_that_dies():
    made = []
    maker = remembered(lambda *functions: made.append(functions) or functions)
    lasting = lambda: 1
    for _ in range(2):  # the second is another function, whatever its address
        maker((lasting, lambda: 2), 3)
    assert len(made) == 2
    assert [f() for f in maker((lasting, lasting), 3)[0]] == [1, 1]


def test_what_cannot_be_hashed_is_made_each_time():
    maker = remembered(lambda array: [array])
    array = np.ones(2)
    assert maker(array) is not maker(array)


def test_errors_of_the_function_are_not_swallowed():
    @compiled_for("function")
    def applied(x, *, function):
        return function(x)

    def wrong(x):
        raise TypeError("not this one")

    with pytest.raises(TypeError, match="not this one"):
        applied(1.0, function=wrong)
