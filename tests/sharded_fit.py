"""A training over a mesh of devices, or of processes, gives what it gives on one.

``python -m tests.sharded_fit``: on eight forced devices; saved on four, gone on with on one.
``python -m tests.sharded_fit RANK PORT DIRECTORY``: one of two processes with one device each,
which train some steps and save; the test goes on with them on one.
Run by ``tests/test_own_process.py`` as a program, for the device count is fixed at the start.
"""

import functools
import pathlib
import sys
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from jaxopt_course.metrics import f1
from jaxopt_course.optimizers import adamw
from jaxopt_course.tasks import with_metrics
from jaxopt_course.training import Checkpointing, EarlyStopping, Rows, Stream, fit
from jaxopt_course.transforms import ema_params
from tests.training.problems import Data, build, keeping


HALF, STEPS = 7, 20


@functools.cache
def parts():
    return build(None)[0], ema_params(adamw(0.02), 0.9)


@functools.cache
def data():
    """Three clouds of points, drawn where no compiler can round otherwise."""
    targets = np.arange(48) % 3
    noise = np.random.default_rng(7).normal(size=(48, 4))
    return Data(jnp.asarray(noise + 2 * np.eye(4)[targets]), jnp.asarray(targets))


def train(steps=STEPS, **options):
    """BatchNorm, dropout, ragged batches, validation: 40 rows in batches of 16."""
    return fit(
        *(*parts(), data()),
        key=jax.random.key(0),
        steps=steps,
        batch_size=16,
        rows=Rows(jnp.arange(40), None, jnp.arange(40, 48)),
        evaluate_every=4,
        early_stopping=EarlyStopping(100),
        progress=False,
        **keeping(options),
    )


def train_on_streams(rank=0, processes=1, **options):
    """Both streams in four batches of 12 rows, of which each process reads its part."""
    task = with_metrics(parts()[0], {"f1": f1})
    own = lambda x: np.split(np.asarray(x), processes)[rank]
    batches = [
        tuple(map(own, batch)) for batch in zip(*[np.split(x, 4) for x in data()], strict=True)
    ]
    stream = Stream(batches, validation=lambda: batches)
    return fit(task, parts()[1], stream, key=jax.random.key(1), epochs=2, progress=False, **options)


def mesh_of(devices):
    return jax.sharding.Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def assert_close(run, other):
    """To rounding: sums over devices come in another order."""
    tree = lambda run: (run.state._replace(key=None), run.best_params, run.history)
    chex.assert_trees_all_close(
        *map(jax.device_get, map(tree, (run, other))), rtol=1e-9, atol=1e-12
    )


def on_eight_devices():
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_enable_x64", True)
    whole = train()
    for kind in ("replicated", "fsdp"):
        run = train(mesh=mesh_of(jax.devices()), sharding=kind)
        assert_close(run, whole)
        kernel = run.state.params["Dense_1"]["kernel"]
        assert len(kernel.sharding.device_set) == 8
        assert kernel.sharding.is_fully_replicated == (kind == "replicated")
        averages = jax.tree.leaves(run.state.opt_state)
        assert any(x.shape == kernel.shape and x.sharding == kernel.sharding for x in averages)

    batches = [tuple(b) for b in zip(*[np.split(np.asarray(x), 3) for x in data()], strict=True)]
    stream = Stream(batches, validation=data())
    options = {"key": jax.random.key(1), "epochs": 2, "progress": False}
    one = fit(*parts(), stream, **options)
    assert_close(fit(*parts(), stream, mesh=mesh_of(jax.devices()), **options), one)

    with tempfile.TemporaryDirectory() as directory:
        for count, kind in ((4, "fsdp"), (1, "replicated"), (8, "fsdp")):
            path = pathlib.Path(directory, f"to-{count}")
            train(HALF, mesh=mesh_of(jax.devices()[:4]), sharding="fsdp", checkpoint=path)
            other = None if count == 1 else mesh_of(jax.devices()[:count])
            run = train(mesh=other, sharding=kind, checkpoint=Checkpointing(path, resume="auto"))
            # The end of the first part was evaluated: at step 7 there is a row besides.
            assert run.history["step"].tolist() == [4, 7, 8, 12, 16, 20]
            chex.assert_trees_all_close(
                *(jax.device_get(r.state.params) for r in (run, whole)), rtol=1e-9, atol=1e-12
            )
    print("a training on 8 devices is that of one")  # noqa: T201


def as_one_of_two(rank, port, directory):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)
    mesh = mesh_of(jax.devices())
    path = Checkpointing(directory / "checkpoints", every_steps=5)
    log = directory / "log"
    for kind in ("replicated", "fsdp"):
        run = train(mesh=mesh, sharding=kind)
        expected = np.load(directory / "whole.npy")
        np.testing.assert_allclose(np.asarray(run.history["loss"]), expected, rtol=1e-9)
    streamed, expected = train_on_streams(rank, 2, mesh=mesh), np.load(directory / "streamed.npy")
    found = [streamed.history[name] for name in ("validation_loss", "validation_f1")]
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9)
    train(12, mesh=mesh, sharding="fsdp", checkpoint=path, log=log, segment=3)
    print("two processes train as one")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) == 1:
        on_eight_devices()
    else:
        as_one_of_two(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
