"""Shardings and memory of shapes alone; real devices are those of ``tests/sharded_training.py``."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from jaxopt_course.optimizers import adamw, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task
from jaxopt_course.training import Stream, batch_sharding, fit, plan, state_shardings

from .problems import line_task


def mesh_of(*sizes, names=("data",), kind=AxisType.Auto):
    return AbstractMesh(sizes, names, axis_types=(kind,) * len(sizes))


def test_the_largest_axis_that_the_devices_divide_is_sharded_and_the_first_of_several():
    shapes = {
        (): (),
        (7,): (),
        (16,): ("data",),
        (8, 16): (None, "data"),
        (16, 16): ("data",),
        (8, 17): ("data",),
        (3, 24, 25, 24): (None, "data"),
        (0, 5): (),
    }
    tree = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    for mesh in (mesh_of(8), mesh_of(8, 2, names=("data", "model"))):
        found = state_shardings(tree, mesh, "fsdp")
        assert [tuple(s.spec) for s in found] == list(shapes.values())
        assert all(tuple(s.spec) == () for s in state_shardings(tree, mesh, "replicated"))
        assert tuple(batch_sharding(mesh).spec) == ("data",)


@pytest.mark.parametrize(
    ("mesh", "kind", "message"),
    [
        (mesh_of(8, names=("pop",)), "fsdp", "must have an axis 'data', got"),
        (mesh_of(8), "fdsp", "`kind` must be one of replicated, fsdp, got 'fdsp'. Did you"),
    ],
)
def test_meshes_and_kinds_that_do_not_fit_are_refused(mesh, kind, message, as_users_run_it):
    with pytest.raises(ValueError, match=f"state_shardings: .*{message}"):
        state_shardings({}, mesh, kind)


def test_a_batch_that_the_mesh_does_not_divide_is_refused(as_users_run_it):
    data = (jnp.ones((24, 1)), jnp.ones((24, 1)))
    options = {"key": jax.random.key(0), "epochs": 1, "mesh": mesh_of(8), "progress": False}
    with pytest.raises(ValueError, match=r"batch size must be a multiple of 8, .*'data'.*, got 12"):
        fit(line_task(), sgd(0.1), data, batch_size=12, **options)


def test_a_validation_batch_that_the_mesh_does_not_divide_is_refused_at_once(as_users_run_it):
    whole, short = [(np.ones((rows, 1)), np.ones((rows, 1))) for rows in (24, 12)]
    stream = Stream([whole], [short])
    options = {"key": jax.random.key(0), "epochs": 1, "mesh": mesh_of(8), "progress": False}
    said = r"the rows of batch 0 of `validation` \(`batch_size=` pads .*\) must be a multiple of 8"
    with pytest.raises(ValueError, match=said):
        fit(line_task(), sgd(0.1), stream, **options)


LAYERS, WIDTH, HIDDEN, SHARED, WORDS = 80, 8192, 28672, 1024, 128256


def transformer(key):
    """The parameters of a decoder of 70 billion, its layers stacked."""
    shapes = {
        "queries": (LAYERS, WIDTH, WIDTH),
        "keys": (LAYERS, WIDTH, SHARED),
        "values": (LAYERS, WIDTH, SHARED),
        "outputs": (LAYERS, WIDTH, WIDTH),
        "gate": (LAYERS, WIDTH, HIDDEN),
        "up": (LAYERS, WIDTH, HIDDEN),
        "down": (LAYERS, HIDDEN, WIDTH),
        "norms": (LAYERS, 2, WIDTH),
        "words": (WORDS, WIDTH),
        "logits": (WIDTH, WORDS),
    }
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(k, shape, jnp.float32)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


COUNT = LAYERS * WIDTH * (2 * WIDTH + 2 * SHARED + 3 * HIDDEN + 2) + 2 * WORDS * WIDTH


def test_seventy_billion_parameters_on_devices_that_do_not_exist():
    task = function_task(transformer, lambda params, x: x, problem("regression"))
    tokens = jax.ShapeDtypeStruct((8192, 4096), jnp.int32)
    held = len(jax.live_arrays())
    begin = time.process_time()
    found = plan(task, adamw(1e-4), mesh_of(4096), Batch(tokens, tokens))
    seconds = time.process_time() - begin
    print(f"{COUNT / 1e9:.1f}e9 parameters planned in {seconds:.2f} s")  # noqa: T201
    assert seconds < 2
    assert len(jax.live_arrays()) <= held
    assert COUNT > 70e9
    share = 4 * COUNT // 4096
    assert (found.devices, found.params, found.gradients) == (4096, share, share)
    assert 0 <= found.optimizer_state - 2 * share < 100  # and the counts of steps
    assert (found.model_state, found.batch) == (0, 2 * 2 * 4096 * 4)
    whole = plan(task, sgd(0.1), mesh_of(4096), tokens, sharding="replicated")
    assert (whole.params, whole.batch) == (4 * COUNT, 2 * 4096 * 4)
    assert found.total == sum(found[1:-1])


def test_a_plan_is_told_in_gibibytes():
    task = function_task(
        lambda key: {"w": jnp.zeros((2**14, 2**14), jnp.float32)}, lambda p, x: x, problem("binary")
    )
    found = plan(task, sgd(0.1), mesh_of(1), jax.ShapeDtypeStruct((2**20, 2**7), jnp.float32))
    assert str(found).splitlines() == [
        "GiB on each of 1 device",
        "params              1.000",
        "gradients           1.000",
        "optimizer_state     0.000",
        "model_state         0.000",
        "batch               0.500",
        "total               2.500",
    ]


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    task = function_task(lambda key: {}, lambda p, x: x, problem("regression"))
    rows = jax.ShapeDtypeStruct((12, 2), jnp.float32)
    with pytest.raises(ValueError, match=r"plan: `batch\['x'\]` must have a number of rows"):
        plan(task, sgd(0.1), mesh_of(8), {"x": rows})
