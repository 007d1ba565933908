"""On 1, 2 and 4 forced devices, and in 2 processes, studies give the same, to the bit.

``python -m tests.sharded_search``: on forced devices; the programs that train hold no collectives.
``python -m tests.sharded_search RANK PORT DIRECTORY``: one of two processes with two devices each.
Run by ``tests/studies/test_devices.py`` as a program, for the device count is fixed at the start.
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from jaxopt_course.data import k_fold
from jaxopt_course.optimizers import sgd
from jaxopt_course.studies import (
    Float,
    halving_rungs,
    population_based_training,
    search,
    successive_halving,
)
from jaxopt_course.training import Rows, make_train, make_training
from tests.training.problems import line, line_task


# Private names: no public function returns the compiled programs of a study.
from jaxopt_course.studies import _cohort, _program  # isort: skip


COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter")
SPACE = {"rate": Float(0.01, 0.3)}
ROWS = Rows(np.arange(8), None, np.arange(8, 12))


def build(hyperparameters):
    return line_task(), sgd(hyperparameters["rate"])


@functools.cache
def parts():
    """Of the search, and of the others."""
    return (
        make_train(build, line(), epochs=2, batch_size=4),
        make_training(build, line(), batch_size=4),
    )


def searched(mesh, strategy="map", **options):
    """15 trainings, which neither 2 nor 4 divides."""
    return search(
        parts()[0],
        SPACE,
        key=jax.random.key(0),
        trials=5,
        folds=k_fold(jax.random.key(1), np.arange(12), 3),
        strategy=strategy,
        chunk_size=2 if strategy == "chunk" else None,
        mesh=mesh,
        progress=False,
        **options,
    )


def halved(mesh, **options):
    """9, 3, 1 configurations."""
    return successive_halving(
        parts()[1],
        SPACE,
        key=jax.random.key(0),
        rungs=halving_rungs(9, min_steps=2, max_steps=18),
        rows=ROWS,
        mesh=mesh,
        progress=False,
        **options,
    )


def population(mesh, **options):
    """Nine members, of which two are replaced in each round."""
    return population_based_training(
        parts()[1],
        SPACE,
        key=jax.random.key(0),
        members=9,
        rounds=4,
        interval=3,
        rows=ROWS,
        mesh=mesh,
        progress=False,
        **options,
    )


def mesh_of(devices):
    return jax.sharding.Mesh(np.array(devices), ("pop",), axis_types=(AxisType.Auto,))


def arrays(result):
    """What two studies are compared by."""
    names = ("points", "scores", "parents", "correlations", "outcomes", "history")
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


def same(result, other):
    jax.tree.map(np.testing.assert_array_equal, arrays(result), arrays(other))


def on_several_devices():
    jax.config.update("jax_num_cpu_devices", 4)
    texts, moves = texts_of_programs()
    meshes = [mesh_of(jax.devices()[:count]) for count in (1, 2, 4)]
    alone = searched(None)
    assert jnp.isfinite(alone.scores).all()
    for mesh in meshes:
        same(searched(mesh), alone)
        for strategy in ("chunk", "vmap", "auto"):  # vectorized sums round differently
            scores = searched(mesh, strategy).scores
            np.testing.assert_allclose(scores, alone.scores, rtol=1e-5)
    for study in (halved, population):
        expected = study(None)
        for mesh in meshes:
            same(study(mesh), expected)
            assert study(mesh).best == expected.best
    assert len(texts) > 12
    for text in texts:
        assert not any(name in text for name in COLLECTIVES)
    assert any(name in text for text in moves for name in COLLECTIVES)  # so it would be seen
    print("studies on 2 and 4 devices are those on 1")  # noqa: T201


def texts_of_programs():
    """What is compiled from now on for trainings, and to move them."""
    texts, moves, call, make = [], [], _program.Program.call, _cohort.programs_of.__wrapped__

    def noted_call(self, *arguments):
        found = call(self, *arguments)
        texts.extend(compiled.as_text() for compiled in self.calls.values())
        return found

    def noted_make(*arguments):
        start, advance, take = make(*arguments)

        def noted(program, texts=texts):
            def run(*arguments):
                texts.append(program.lower(*arguments).compile().as_text())
                return program(*arguments)

            return run

        return noted(start), noted(advance), noted(take, moves)

    _program.Program.call = noted_call
    _cohort.programs_of = lambda *arguments: kept(noted_make, *arguments)
    return texts, moves


@functools.cache
def kept(make, training, metric, space, mesh):
    return make(training, metric, space, mesh)


def as_one_of_two(rank, port, directory):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)
    everyone, own = mesh_of(jax.devices()), mesh_of(jax.local_devices()[:1])
    for name, study in {"search": searched, "halving": halved, "population": population}.items():
        # One device: of its own, and without what is agreed upon among processes.
        alone = study(own)
        same(study(everyone), alone)
        same(study(everyone, resume=directory / name), alone)
        same(study(everyone, resume=directory / name), alone)  # read back
    auto = searched(everyone, "auto", resume=directory / "auto")  # by the first one's clock
    np.testing.assert_allclose(auto.scores, searched(own).scores, rtol=1e-5)
    print("two processes study as one")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) == 1:
        on_several_devices()
    else:
        as_one_of_two(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
