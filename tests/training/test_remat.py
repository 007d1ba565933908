"""Derivatives that compute steps again: the same training, the same derivatives, less memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from jaxopt_course.training import Rows, make_train

# Private: which loop is split.
from jaxopt_course.training._memory import Segments, scan, segments_of

from .problems import line, line_task


START = {"rate": 0.05, "momentum": 0.7}


def build(hyperparameters):
    return line_task(), sgd(hyperparameters["rate"], momentum=hyperparameters["momentum"])


# Segments of at most 8 of 64 steps: 2 intervals of 3 steps, 2 stretches of 3 steps, 8 steps of 12.
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("options", "segments"),
    [
        ({"batch_size": 1}, Segments(steps=8)),
        ({"batch_size": 4}, Segments(intervals=2)),
        ({"batch_size": 4, "evaluate_every": 30}, Segments(stretches=2)),
    ],
)
def test_training_and_derivatives_are_the_same(options, segments):
    size = -(-12 // options["batch_size"])
    assert segments_of(64, options.get("evaluate_every", size), size) == segments
    found = []
    for remat in (False, True):
        train = make_train(build, line(), steps=64, remat=remat, **options)

        def end(hyperparameters, train=train):
            run = train(jax.random.key(0), hyperparameters)
            return run.history["loss"][-1], run

        found.append((jax.jit(jax.grad(end, has_aux=True))(START)[0], jax.jit(end)(START)))
    (gradient, run), (again, same) = found
    chex.assert_trees_all_equal(run, same)  # the training keeps its bits
    chex.assert_trees_all_close(gradient, again, rtol=1e-9)  # sums in another order


@pytest.mark.parametrize("size", [1, 4, 7, 30])
def test_a_scan_in_segments_is_the_scan(size):
    body = lambda carry, x: (0.9 * carry + x, carry * x)
    xs = jnp.arange(1.0, 22.0)
    expected = jax.lax.scan(body, jnp.zeros(()), xs)
    chex.assert_trees_all_equal(scan(body, jnp.zeros(()), xs, size), expected)


@pytest.mark.exhaustive
def test_memory_grows_with_the_root_of_the_number_of_steps():
    init = lambda key: {"w": jnp.zeros((500, 1))}
    task = function_task(init, lambda params, x: x @ params["w"], problem("regression"))
    x = jax.random.normal(jax.random.key(0), (32, 500))
    rows = Rows(jnp.arange(16), None, jnp.arange(16, 32))

    def temporaries(steps, remat):
        train = make_train(
            lambda rate: (task, sgd(rate, momentum=0.9)),
            (x, x[:, :1]),
            steps=steps,
            batch_size=4,
            remat=remat,
        )
        end = lambda rate: train(jax.random.key(0), rate, rows).history["validation_loss"][-1]
        return jax.jit(jax.grad(end)).lower(1e-3).compile().memory_analysis().temp_size_in_bytes

    plain, first, last = temporaries(1024, False), temporaries(256, True), temporaries(1024, True)
    assert last < plain / 8
    assert last < 2.5 * first  # 4 times the steps: twice the memory, and what does not grow


def test_what_is_not_a_flag_is_refused(as_users_run_it):
    with pytest.raises(TypeError, match="make_train: `remat` must be"):
        make_train(build, line(), steps=4, batch_size=4, remat=np.float64(1.0))
