"""Every driver compiles convolutions in canonical form, as the lowered programs show."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course import diagnostics, minimization, studies, training
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from tests.tiers import everyday


KEY = jax.random.key(0)
CANONICAL = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
INPUTS = jax.random.normal(KEY, (12, 2, 4, 4))
TARGETS = jnp.arange(12) % 3
ROWS = training.Rows(jnp.arange(8), None, jnp.arange(8, 12))


def init(key):
    return {"kernel": 0.1 * jax.random.normal(key, (3, 2, 3, 3))}


def outputs(params, x):
    """Images of features first, so that the outputs are not in canonical form either."""
    found = jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME")
    return found.mean((2, 3))


def task():
    return function_task(init, outputs, problem("multiclass"))  # a new one is compiled again


def loss(params):
    return jnp.mean(outputs(params, INPUTS) ** 2)


def train_of():
    build = lambda rate: (task(), sgd(rate))
    return training.make_train(build, (INPUTS, TARGETS), epochs=1, batch_size=4)


def population():
    run = training.make_population(train_of(), ["hyperparameters"])
    return run(KEY, jnp.array([0.1, 0.2]), ROWS)


def training_of():
    build = lambda h: (task(), sgd(h["rate"]))
    return training.make_training(build, (INPUTS, TARGETS), batch_size=4)


def staged():
    parts, numbers = training_of(), {"rate": 0.1}
    own = parts(numbers, ROWS)
    return own.evaluate(own.advance(own.start(KEY), 3))


def searched():
    space = {"rate": studies.Float(0.01, 0.1)}
    train = training.make_train(
        lambda h: (task(), sgd(h["rate"])), (INPUTS, TARGETS), epochs=1, batch_size=4
    )
    return studies.search(train, space, key=KEY, trials=2, seeds=1, folds=ROWS, strategy="map")


def halved():
    space = {"rate": studies.Float(0.01, 0.1)}
    return studies.successive_halving(
        training_of(), space, key=KEY, rungs=studies.Rungs((2, 1), (1, 2)), rows=ROWS
    )


def landscape():
    params = init(KEY)
    return diagnostics.loss_landscape(loss, params, (params, params), points=2)


PARAMS = init(KEY)
DRIVERS = {
    "make_train, not compiled": lambda: train_of()(KEY, 0.1, ROWS),
    "make_population": population,
    "make_training": staged,
    "fit": lambda: training.fit(
        task(), sgd(0.1), (INPUTS, TARGETS), rows=ROWS, key=KEY, epochs=2, batch_size=4
    ),
    "fit on a stream": lambda: training.fit(
        task(), sgd(0.1), [(INPUTS[:4], TARGETS[:4])], key=KEY, steps=2
    ),
    "evaluate": lambda: training.evaluate(task(), PARAMS, {}, INPUTS, TARGETS, 4),
    "predict": lambda: training.predict(task(), PARAMS, {}, INPUTS, 4),
    "minimize": lambda: minimization.minimize(loss, PARAMS, sgd(0.1), max_steps=3),
    "trajectory": lambda: minimization.trajectory(loss, PARAMS, sgd(0.1), 3),
    "search": searched,
    "successive_halving": halved,
    "loss_landscape": landscape,
}
EVERYDAY = ("make_train, not compiled", "fit")


@pytest.mark.parametrize(
    "name",
    everyday(DRIVERS, EVERYDAY),
)
def test_a_driver_compiles_convolutions_in_canonical_form(name, tmp_path):
    assert set(layouts(DRIVERS[name], tmp_path)) == {CANONICAL}


def test_a_loop_without_the_transformation_would_be_seen(tmp_path):
    descend = lambda _, params: jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params))
    found = layouts(lambda: jax.lax.fori_loop(0, 3, descend, PARAMS), tmp_path)
    assert found
    assert CANONICAL not in found


def layouts(run, folder):
    """The orders of dimensions of all convolutions that ``run`` compiles."""
    jax.config.update("jax_dump_ir_to", str(folder))
    try:
        jax.block_until_ready(run())
    finally:
        jax.config.update("jax_dump_ir_to", "")
    texts = [path.read_text() for path in folder.rglob("*.mlir")]
    return [x for text in texts for x in re.findall(r"dim_numbers = (\S.*?), window", text)]
