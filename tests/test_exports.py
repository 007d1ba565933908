"""Optimizers and trainings are lowered for GPUs and TPUs, on a machine that has neither.

``jax.export`` lowers a program for the named platforms and raises where an operation has no
lowering there. It compiles nothing and runs nothing: these tests do not say what a device computes,
or how fast.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import pytest
from jax import export

from jaxopt_course.minimization import (
    minimize,
)
from jaxopt_course.nn import CNN, GRU, MLP, Transformer
from jaxopt_course.optimizers import adam, adamw, lbfgs, muon, newton_cg, schedule_free, soap
from jaxopt_course.problems import problem
from jaxopt_course.surfaces import rosenbrock
from jaxopt_course.tasks import Batch, linen_task, mixed_precision
from jaxopt_course.training import (
    EarlyStopping,
    Rows,
    init_state,
    make_population,
    make_step,
    make_train,
    make_training,
)
from jaxopt_course.transforms import MultiSteps, dynamic_loss_scale, packed, quantized_state
from tests.catalogue import TRANSFORMATIONS
from tests.contracts.trees import TREES
from tests.lowered import without_places


PLATFORMS = ("cuda", "tpu")
N, CLASSES = 12, 3
KEY = jax.random.key(0)
ROWS = Rows(jnp.arange(8), jnp.ones(8), jnp.arange(8, N))


def exported(function, *args):
    """``function`` lowered for both platforms; of ``args`` only shapes and dtypes count."""
    function = function if hasattr(function, "lower") else jax.jit(function)
    shapes = jax.eval_shape(lambda *args: args, *args)
    found = export.export(function, platforms=PLATFORMS)(*shapes)
    assert found.platforms == PLATFORMS
    assert len(found.out_avals) == len(jax.tree.leaves(jax.eval_shape(function, *shapes)))
    return found


def test_an_everyday_update_is_lowered_for_gpus_and_tpus():
    for name in ("adamw", "muon", "soap", "shampoo", "quantized_state"):
        check_update(name, "nested")


@pytest.mark.exhaustive
@pytest.mark.parametrize("tree", ["nested", "mixed"])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_an_update_is_lowered_for_gpus_and_tpus(name, tree):
    check_update(name, tree)


def check_update(name, tree):
    tx = TRANSFORMATIONS[name].build()
    exported(lambda grads, params: tx.update(grads, tx.init(params), params), *2 * [TREES[tree]])


def images(model, optimizer, narrow=False):
    """``build`` and data of a model that reads images, or takes them as flat."""
    x = jnp.ones((N, 8, 8, 1), jnp.float32)
    task = linen_task(model, x[:1], problem("multiclass"))
    task = mixed_precision(task, jnp.float16) if narrow else task
    return lambda rate: (task, optimizer(rate)), (x, jnp.arange(N) % CLASSES)


def text(model, optimizer):
    """``build`` and data of a model that reads tokens."""
    tokens = jnp.zeros((N, 6), jnp.int32)
    task = linen_task(model, tokens[:1, :-1], problem("multiclass"))
    return lambda rate: (task, optimizer(rate)), (tokens[:, :-1], tokens[:, 1:])


SMALL = MLP(CLASSES, (4,), dropout=0.1)
NORMALIZED = CNN(CLASSES, (2,), (4,), normalization="batch")
KINDS = {
    "MLP": images(SMALL, adam),
    "CNN with batch normalization": images(NORMALIZED, adamw),
    "GRU": text(GRU(5, 4), adam),
    "transformer": text(Transformer(5, 5, width=4, heads=2, blocks=1), muon),
    "float16": images(SMALL, lambda rate: dynamic_loss_scale(adam(rate)), narrow=True),
    "accumulated": images(SMALL, lambda rate: MultiSteps(adam(rate), 2)),
    "averaged": images(SMALL, lambda rate: schedule_free(adam(rate), rate)),
    "line search": images(MLP(CLASSES, (4,)), lambda rate: lbfgs()),
    "packed": images(SMALL, lambda rate: packed(adam(rate))),
    "quantized": images(SMALL, lambda rate: quantized_state(adam(rate), min_size=2)),
    "soap": images(SMALL, soap),
}
EVERYDAY = ("MLP", "CNN with batch normalization")
CASES = [
    pytest.param(kind, marks=() if kind in EVERYDAY else pytest.mark.exhaustive) for kind in KINDS
]


@pytest.mark.parametrize("kind", CASES)
def test_a_training_is_lowered_for_gpus_and_tpus(kind):
    build, data = KINDS[kind]
    train = make_train(
        build, data, epochs=2, batch_size=3, early_stopping=EarlyStopping(patience=2)
    )
    exported(train, KEY, jnp.float32(0.1), ROWS)


@pytest.mark.exhaustive
def test_a_meta_gradient_is_lowered_for_gpus_and_tpus():
    train = make_train(*KINDS["CNN with batch normalization"], steps=2, batch_size=3)
    loss = lambda rate, key: train(key, rate, ROWS).history["validation_loss"][-1]
    exported(jax.grad(loss), jnp.float32(0.1), KEY)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "how",
    [{"strategy": "map"}, {"strategy": "chunk", "chunk_size": 2}, {"strategy": "vmap"}],
    ids=str,
)
def test_a_population_is_lowered_for_gpus_and_tpus(how):
    train = make_train(*KINDS["CNN with batch normalization"], steps=3, batch_size=3)
    population = make_population(train, ("hyperparameters", "key"), **how)
    exported(population, jax.random.split(KEY, 2), jnp.full(3, 0.1, jnp.float32), ROWS)


@pytest.mark.exhaustive
def test_the_programs_of_gpus_and_tpus_hold_convolutions_as_they_were_written(monkeypatch):
    build, data = KINDS["CNN with batch normalization"]

    def program():
        train = make_train(build, data, steps=3, batch_size=3)
        population = make_population(train, ("key",))
        found = exported(population, jax.random.split(KEY, 2), jnp.float32(0.1), ROWS)
        return without_places(found.mlir_module())

    found = program()
    for name in ("_train", "_population", "_evaluate"):
        module = importlib.import_module(f"jaxopt_course.training.{name}")
        monkeypatch.setattr(module, "canonical_convolutions", lambda function: function)
    assert found == program()
    assert found.count("stablehlo.convolution") > 3


def test_the_parts_of_a_training_are_lowered_for_gpus_and_tpus():
    rate = jnp.float32(0.1)
    training = make_training(*KINDS["CNN with batch normalization"], batch_size=3)
    start = lambda key, rate, rows: training(rate, rows).start(key)
    advance = lambda progress, rate, rows, until: training(rate, rows).advance(progress, until)
    evaluate = lambda progress, rate, rows: training(rate, rows).evaluate(progress)
    progress = jax.eval_shape(start, KEY, rate, ROWS)
    exported(start, KEY, rate, ROWS)
    exported(advance, progress, rate, ROWS, jnp.int32(7))
    exported(evaluate, progress, rate, ROWS)


@pytest.mark.parametrize("kind", CASES)
def test_the_step_that_fit_compiles_is_lowered_for_gpus_and_tpus(kind):
    build, (inputs, targets) = KINDS[kind]
    task, optimizer = build(0.1)
    step = jax.jit(make_step(task, optimizer), donate_argnums=0)
    batch = Batch(inputs[:3], targets[:3], jnp.ones(3))
    exported(step, init_state(task, optimizer, KEY), batch)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "optimizer", [adam(0.1), lbfgs(), newton_cg()], ids=["adam", "lbfgs", "cg"]
)
def test_a_minimization_is_lowered_for_gpus_and_tpus(optimizer):
    solve = functools.partial(minimize, rosenbrock, optimizer=optimizer, history_size=3)
    exported(lambda start: solve(start), jnp.array([-1.2, 1.0]))


def test_an_operation_that_only_cpus_have_is_found():
    """The tests above can fail: the Schur decomposition has a lowering for CPUs only."""
    schur = lambda matrix: jax.scipy.linalg.schur(matrix)[0]
    with pytest.raises(NotImplementedError, match="schur"):
        exported(schur, jnp.eye(3))
