"""Real comparisons of small things: what is stored, what goes on after a failure, who wins."""

import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.studies import Float
from jaxopt_course.workloads import (
    Entry,
    Workload,
    compare,
    entry,
    load_comparison,
    pairwise_differences,
    tuning_studies,
    workload,
)

from .trainings import bowl_parts, validation_losses


SPACE = {"learning_rate": Float(1e-3, 1.0, log=True)}
SGD = Entry("sgd", lambda h: sgd(h["learning_rate"]), SPACE, {"learning_rate": 0.1})
ADAM = Entry("adam", lambda h: adam(h["learning_rate"]), SPACE, {"learning_rate": 0.001})
FULL = Entry("full", SGD.build, SPACE, {"learning_rate": 0.5}, full_batch=True)
BOWL = Workload(
    name="bowl",
    summary="A quadratic in two dimensions.",
    variants={
        "base": lambda: bowl_parts([1.0, 4.0]),
        "held_out": lambda: bowl_parts([1.0, 9.0]),
    },
    steps=12,
    batch_size=1,
    evaluate_every=4,
    targets={"base": 0.05, "held_out": 0.1},
)


def run(optimizers, key, **options):
    given = {"trials": 3, "progress": False, **options}
    return compare(optimizers, [BOWL], key=key, **given)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("comparison")
    return run([SGD, FULL], jax.random.key(0), resume=directory), directory


def same(a, b):
    assert a.optimizers == b.optimizers
    assert a.targets == b.targets
    for cell, trials in a.trials.items():
        np.testing.assert_array_equal(trials.values, b.trials[cell].values)
        np.testing.assert_array_equal(trials.costs, b.trials[cell].costs)
    for own in a.optimizers:
        np.testing.assert_array_equal(a.points[own], b.points[own])
        for name, values in a.numbers[own].items():
            np.testing.assert_array_equal(values, b.numbers[own][name])


@pytest.mark.exhaustive
def test_a_cell_holds_what_single_trainings_give(stored):
    comparison, _ = stored
    trials = comparison.trials["sgd", "bowl", "base"]
    assert trials.values.shape == (1 + 3, 2, 3)
    assert comparison.trials["sgd", "bowl", "held_out"].values.shape == (1 + 3, 1, 3)
    assert trials.costs.tolist() == [4, 8, 12]
    assert trials.seconds_per_step > 0
    rates = comparison.numbers["sgd"]["learning_rate"]
    assert rates[0] == pytest.approx(0.1)
    loss = validation_losses(SGD, BOWL, "base")
    seed_key = jax.random.split(jax.random.key(0))[1]
    for trial, seed in ((0, 1), (2, 0)):
        key = jax.random.fold_in(seed_key, jnp.uint32(seed))
        alone = loss(key, {"learning_rate": jnp.asarray(rates[trial])})
        np.testing.assert_allclose(trials.values[trial, seed], alone, rtol=1e-6)


@pytest.mark.exhaustive
def test_the_full_batch_gets_as_many_epochs_and_pays_for_its_examples():
    variants = dict.fromkeys(BOWL.variants, lambda: bowl_parts([1.0, 4.0], 0.1, examples=8))
    noisy = BOWL._replace(variants=variants, batch_size=2)
    found = compare([FULL], [noisy], key=jax.random.key(0), trials=1, progress=False)
    # 8 examples are 4 batches of 2: a step costs 4, and 12 steps of examples are 3 of them
    trials = found.trials["full", "bowl", "base"]
    assert trials.costs.tolist() == [4, 8, 12]
    assert trials.values.shape == (1 + 1, 2, 3)


def test_designs_of_two_names_are_independent_and_defaults_come_first(stored):
    points = stored[0].points
    assert (points["sgd"][1:] != points["full"][1:]).all()
    np.testing.assert_allclose(stored[0].numbers["full"]["learning_rate"][0], 0.5, rtol=1e-6)


def test_what_is_on_disk_is_what_was_returned(stored):
    comparison, directory = stored
    same(comparison, load_comparison(directory))
    assert sorted(path.name for path in directory.iterdir()) == [
        *("bowl.base.full.npz", "bowl.base.sgd.npz"),
        *("bowl.held_out.full.npz", "bowl.held_out.sgd.npz"),
        "index.json",
    ]


def noting(cells):
    """SGD, FULL and BOWL, of which every cell that is trained is appended to ``cells``."""
    here = threading.local()  # a cell is trained in one thread

    def parts(variant):
        here.cell = variant
        return BOWL.variants[variant]()

    def build(own, numbers):
        cell = (own.name, BOWL.name, here.cell)
        if cell not in cells:
            cells.append(cell)
        return own.build(numbers)

    optimizers = [own._replace(build=lambda h, own=own: build(own, h)) for own in (SGD, FULL)]
    variants = {variant: lambda variant=variant: parts(variant) for variant in BOWL.variants}
    return optimizers, [BOWL._replace(variants=variants)]


def unfinished(directory, copy, *missing):
    """``copy`` holds the comparison of ``directory`` as before these cells were trained."""
    shutil.copytree(directory, copy)
    for name in ("index.json", *missing):
        (copy / name).unlink()
    return copy


ARGUMENTS = {"key": jax.random.key(0), "trials": 3, "progress": False}


def test_after_a_failure_only_what_was_not_done_is_trained(stored, tmp_path, monkeypatch):
    cells, left = [], ("bowl.held_out.full.npz", "bowl.held_out.sgd.npz")
    directory, designs = unfinished(stored[1], tmp_path / "copy", *left), noting(cells)
    real = np.savez_compressed

    def write_one(*arguments, **arrays):
        if len(cells) > 1:
            raise OSError("no space left")
        real(*arguments, **arrays)

    with monkeypatch.context() as context:
        context.setattr(np, "savez_compressed", write_one)
        with pytest.raises(OSError, match="no space left"):
            compare(*designs, **ARGUMENTS, resume=directory)
    assert len(list(directory.glob("*.npz"))) == 3
    with pytest.raises(ValueError, match="must hold a finished comparison"):
        load_comparison(directory)
    failed = cells.pop()
    assert len(cells) == 1
    same(compare(*designs, **ARGUMENTS, resume=directory), stored[0])
    assert cells[1:] == [failed]
    same(load_comparison(directory), stored[0])


def test_a_failure_ends_it_before_the_next_cell_begins():
    begun = []

    def fail():
        begun.append("a cell")
        raise OSError("no space left")

    broken = BOWL._replace(variants=dict.fromkeys(BOWL.variants, fail))
    with pytest.raises(OSError, match="no space left"):
        compare([SGD, FULL], [broken], **ARGUMENTS)
    assert len(begun) == 1


def test_other_trials_are_refused_and_a_damaged_cell_is_named(stored, tmp_path):
    _, directory = stored
    with pytest.raises(ValueError, match=r"trials of sgd on bowl \(base\) with another `key`"):
        run([SGD], jax.random.key(1), resume=directory)
    with pytest.raises(ValueError, match="with another `trials`"):
        run([SGD], jax.random.key(0), trials=4, resume=directory)
    wider = SGD._replace(space={"learning_rate": Float(1e-4, 1.0, log=True)})
    with pytest.raises(ValueError, match="with another `space`"):
        run([wider], jax.random.key(0), resume=directory)
    path = tmp_path / "bowl.base.sgd.npz"
    path.write_bytes((directory / path.name).read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"base\.sgd\.npz is damaged"):
        run([SGD], jax.random.key(0), resume=tmp_path)


def test_a_new_target_needs_no_new_training(stored, tmp_path):
    comparison, directory, cells = stored[0], tmp_path / "copy", []
    shutil.copytree(stored[1], directory)
    optimizers, (bowl,) = noting(cells)
    harder = bowl._replace(targets={"base": 1e-6, "held_out": 1e-6})
    again = compare(optimizers, [harder], **ARGUMENTS, resume=directory)
    assert cells == []
    assert set(again.targets.values()) == {1e-6}
    same(load_comparison(directory), again)
    np.testing.assert_array_equal(
        again.trials["sgd", "bowl", "base"].values, comparison.trials["sgd", "bowl", "base"].values
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, r"compare: `seeds` must lie in \[2, inf\)"),
        ({"trials": 0}, r"compare: `trials` must lie in \[1, inf\)"),
        ({"strategy": "auto"}, "compare: `strategy` must be one of map, chunk, vmap"),
        ({"optimizers": []}, "compare: `optimizers` must be at least one, with different names"),
        ({"optimizers": [SGD, SGD]}, "with different names"),
        (
            {"optimizers": [SGD._replace(name="../sgd")]},
            "a name in `optimizers` must consist of",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        run(**{"optimizers": [SGD], "key": jax.random.key(0)} | change)


@pytest.mark.exhaustive
def test_adam_is_no_worse_than_momentum_where_both_are_tuned():
    """On two workloads that compile soon, at the largest budget."""
    ravine = BOWL._replace(
        name="ravine",
        variants={
            "base": lambda: bowl_parts(np.logspace(0, 2, 8)),
            "held_out": lambda: bowl_parts(np.logspace(-1, 1, 8)),
        },
        steps=100,
        batch_size=1,
    )
    comparison = compare(
        [entry("momentum"), entry("adam")],
        [workload("rosenbrock"), ravine],
        key=jax.random.key(0),
        trials=40,
        progress=False,
    )
    pairs = pairwise_differences(tuning_studies(comparison, 40, studies=200))
    assert pairs.low[1, 0] <= 0  # the interval of adam over momentum is not wholly above 1
    assert pairs.wins_high[1, 0] >= 0.5


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["chunk", "vmap"])
def test_a_strategy_changes_rounding_only(strategy, stored):
    found = run([SGD, FULL], jax.random.key(0), strategy=strategy)
    for cell, trials in stored[0].trials.items():
        np.testing.assert_allclose(trials.values, found.trials[cell].values, rtol=1e-4, atol=1e-6)


def test_progress_is_lines_on_stderr(stored, tmp_path, capsys):
    last = "bowl.held_out.full.npz"
    arguments = ARGUMENTS | {"resume": unfinished(stored[1], tmp_path / "copy", last)}
    compare([SGD, FULL], [BOWL], **arguments | {"progress": True})
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == "cell 4/4: full on bowl, held_out"
    compare([SGD, FULL], [BOWL], **arguments | {"progress": True})
    assert capsys.readouterr().err == ""  # nothing was left to do


@pytest.mark.exhaustive
def test_cells_are_shared_out_over_devices_and_come_back_in_order(stored, tmp_path):
    cells, left = [], ("bowl.base.sgd.npz", "bowl.base.full.npz", "bowl.held_out.sgd.npz")
    directory = unfinished(stored[1], tmp_path / "copy", *left)
    found = compare(*noting(cells), **ARGUMENTS, resume=directory, devices=jax.devices() * 2)
    same(found, stored[0])
    assert sorted(cells) == [
        *(("full", "bowl", "base"), ("sgd", "bowl", "base"), ("sgd", "bowl", "held_out"))
    ]
