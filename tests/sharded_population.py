"""On eight forced devices: a population gives what it gives on one, whatever its size.

Run by ``tests/test_own_process.py`` as a program, for the device count is fixed at the start.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from jaxopt_course.optimizers import sgd
from jaxopt_course.training import make_population, make_train
from tests.training.problems import line, line_task


def main():
    jax.config.update("jax_num_cpu_devices", 8)
    mesh = jax.make_mesh((8,), ("pop",), axis_types=(AxisType.Auto,))
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["learning_rate"]))
    train = make_train(build, line(), epochs=2, batch_size=4)
    keys = jax.random.split(jax.random.key(0), 7)
    rates = {"learning_rate": jnp.linspace(0.01, 0.2, 3)}
    axes = ("hyperparameters", "key")  # 21 members, which 8 does not divide
    expected = jax.jit(make_population(train, axes))(keys, rates)
    for strategy, size in (("map", None), ("chunk", 2), ("vmap", None)):
        run = jax.jit(make_population(train, axes, strategy=strategy, chunk_size=size, mesh=mesh))
        runs = run(keys, rates)
        assert len(runs.history["loss"].sharding.device_set) == 8
        if strategy == "map":
            chex.assert_trees_all_equal(runs, expected)
        else:  # vectorized sums round differently
            close = functools.partial(chex.assert_trees_all_close, rtol=1e-5, atol=1e-6)
            close(runs.history, expected.history)
            close(runs.best_params, expected.best_params)
    print("a population on 8 devices is that of one")  # noqa: T201


if __name__ == "__main__":
    main()
