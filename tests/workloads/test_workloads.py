"""The workloads: what they are made of is sound, their targets are frozen and can be reached."""

import functools
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import workloads
from jaxopt_course.tasks import Batch
from jaxopt_course.workloads import WORKLOADS, entry, workload
from tests.tiers import everyday_first

from .trainings import validation_losses


TARGETS = pathlib.Path(workloads.__file__).with_name("targets.json")
VARIANTS = ("base", "held_out")

# These compile soon; the others are for whoever changes a workload.
CHEAP = (("rosenbrock", "base"), ("logistic", "base"))
CASES = [
    pytest.param(*case, marks=() if case in CHEAP else pytest.mark.exhaustive)
    for case in itertools.product(WORKLOADS, VARIANTS)
]
# What came lowest by the worse of both seeds of `benchmarks.targets`.
RECORDED = {
    ("quadratic", "base"): ("momentum", {"learning_rate": 0.00237, "one_minus_momentum": 0.236}),
    ("quadratic", "held_out"): (
        "momentum",
        {"learning_rate": 0.00149, "one_minus_momentum": 0.116},
    ),
    ("rosenbrock", "base"): (
        "adam",
        {"learning_rate": 0.0216, "one_minus_b1": 0.0802, "one_minus_b2": 0.0877},
    ),
    ("rosenbrock", "held_out"): (
        "momentum",
        {"learning_rate": 0.0031, "one_minus_momentum": 0.0752},
    ),
    ("logistic", "base"): (
        "adam",
        {"learning_rate": 0.0372, "one_minus_b1": 0.286, "one_minus_b2": 0.000193},
    ),
    ("logistic", "held_out"): ("momentum", {"learning_rate": 0.2, "one_minus_momentum": 0.534}),
    ("diabetes", "base"): (
        "adam",
        {"learning_rate": 0.4, "one_minus_b1": 0.0184, "one_minus_b2": 0.0012},
    ),
    ("diabetes", "held_out"): ("momentum", {"learning_rate": 0.521, "one_minus_momentum": 0.852}),
    ("factorization", "base"): ("momentum", {"learning_rate": 0.178, "one_minus_momentum": 0.131}),
    ("factorization", "held_out"): (
        "momentum",
        {"learning_rate": 0.652, "one_minus_momentum": 0.314},
    ),
    ("spirals", "base"): ("momentum", {"learning_rate": 0.452, "one_minus_momentum": 0.0918}),
    ("spirals", "held_out"): (
        "adam",
        {"learning_rate": 0.0372, "one_minus_b1": 0.286, "one_minus_b2": 0.000193},
    ),
    ("mlp", "base"): (
        "adam",
        {"learning_rate": 0.0216, "one_minus_b1": 0.0802, "one_minus_b2": 0.0877},
    ),
    ("mlp", "held_out"): ("momentum", {"learning_rate": 0.178, "one_minus_momentum": 0.131}),
    ("batch_norm", "base"): (
        "adam",
        {"learning_rate": 0.0216, "one_minus_b1": 0.0802, "one_minus_b2": 0.0877},
    ),
    ("batch_norm", "held_out"): (
        "momentum",
        {"learning_rate": 0.0984, "one_minus_momentum": 0.0795},
    ),
    ("cnn", "base"): (
        "adam",
        {"learning_rate": 0.029, "one_minus_b1": 0.369, "one_minus_b2": 0.000936},
    ),
    ("cnn", "held_out"): ("momentum", {"learning_rate": 0.178, "one_minus_momentum": 0.131}),
    ("autoencoder", "base"): (
        "adam",
        {"learning_rate": 0.0186, "one_minus_b1": 0.269, "one_minus_b2": 0.0132},
    ),
    ("autoencoder", "held_out"): (
        "adam",
        {"learning_rate": 0.029, "one_minus_b1": 0.369, "one_minus_b2": 0.000936},
    ),
    ("deep_sigmoid", "base"): (
        "adam",
        {"learning_rate": 0.029, "one_minus_b1": 0.369, "one_minus_b2": 0.000936},
    ),
    ("deep_sigmoid", "held_out"): (
        "adam",
        {"learning_rate": 0.0262, "one_minus_b1": 0.111, "one_minus_b2": 0.0278},
    ),
    ("gru", "base"): (
        "adam",
        {"learning_rate": 0.0167, "one_minus_b1": 0.561, "one_minus_b2": 0.00789},
    ),
    ("gru", "held_out"): (
        "adam",
        {"learning_rate": 0.0167, "one_minus_b1": 0.561, "one_minus_b2": 0.00789},
    ),
    ("transformer", "base"): (
        "adam",
        {"learning_rate": 0.0123, "one_minus_b1": 0.714, "one_minus_b2": 0.0207},
    ),
    ("transformer", "held_out"): (
        "adam",
        {"learning_rate": 0.0186, "one_minus_b1": 0.269, "one_minus_b2": 0.0132},
    ),
}


@functools.cache
def parts_of(name, variant):
    task, (inputs, targets), rows = WORKLOADS[name].variants[variant]()
    return task, (np.asarray(inputs), np.asarray(targets)), jax.tree.map(np.asarray, rows)


def first_loss(name, variant):
    """The mean loss of the first rows that train, at the start."""
    task, (inputs, targets), rows = parts_of(name, variant)

    def loss(key):
        params, model_state = task.init(key)
        first = rows.train[:64]
        batch = Batch(jnp.asarray(inputs[first]), jnp.asarray(targets[first]))
        return task.loss(params, model_state, batch, key=None, train=False)[0].mean()

    return float(jax.jit(loss)(jax.random.key(0)))


def test_there_are_thirteen_and_a_wrong_name_is_helped():
    assert len(WORKLOADS) == 13
    assert all(name == own.name for name, own in WORKLOADS.items())
    with pytest.raises(ValueError, match="Did you mean 'spirals'"):
        workload("spiral")


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_start_is_finite_and_far_from_the_target(name, variant):
    loss = first_loss(name, variant)
    assert np.isfinite(loss)
    assert loss > 1.1 * WORKLOADS[name].targets[variant]


@pytest.mark.parametrize("name", everyday_first(4, WORKLOADS))
def test_rows_are_whole_batches_and_do_not_overlap(name):
    own = WORKLOADS[name]
    assert own.steps % own.evaluate_every == 0
    for variant in VARIANTS:
        _, data, rows = parts_of(name, variant)
        assert len(rows.train) % own.batch_size == 0
        assert {len(x) for x in data} == {max(rows.train[-1], rows.validation[-1]) + 1}
        if name != "rosenbrock":  # which has nothing random to hold apart
            assert not set(rows.train.tolist()) & set(rows.validation.tolist())
        for x in data:
            assert np.isfinite(x).all()


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_held_out_variant_is_another_problem(name):
    base, held_out = (parts_of(name, variant) for variant in VARIANTS)
    if name == "rosenbrock":  # it has no data, and starts elsewhere
        starts = [parts[0].init(jax.random.key(0))[0] for parts in (base, held_out)]
        assert np.abs(starts[0] - starts[1]).max() > 0.5
        return
    assert any(
        x.shape != y.shape or (x != y).any() for x, y in zip(base[1], held_out[1], strict=True)
    )


def test_data_do_not_depend_on_the_precision_of_the_process():
    for name in ("quadratic", "spirals"):
        here = parts_of(name, "base")[1]
        with jax.enable_x64(not jax.config.jax_enable_x64):
            there = WORKLOADS[name].variants["base"]()[1]
        for x, y in zip(here, there, strict=True):
            np.testing.assert_array_equal(x.astype(np.float32), np.asarray(y, np.float32))


def test_noise_has_mean_zero_so_that_the_full_batch_knows_the_slope():
    task, (draws, targets), rows = parts_of("quadratic", "base")
    np.testing.assert_allclose(draws[:-1].mean(0), 0, atol=1e-7)
    np.testing.assert_array_equal(draws[rows.validation], 0)

    @jax.jit
    def mean_slope(key, inputs, targets):
        batch = Batch(inputs, targets)
        loss = lambda x: task.loss(x, {}, batch, key=None, train=True)[0].mean()
        return jax.grad(loss)(task.init(key)[0])

    key = jax.random.key(0)
    exact, full = (mean_slope(key, draws[r], targets[r]) for r in (rows.validation, rows.train))
    np.testing.assert_allclose(full, exact, atol=1e-4)  # float32 sums of numbers near 100


def test_targets_are_read_and_not_computed():
    record = json.loads(TARGETS.read_text())
    assert set(record["targets"]) == set(WORKLOADS)
    for name, own in WORKLOADS.items():
        assert dict(own.targets) == record["targets"][name]
    origin = record["origin"]
    assert origin["baselines"] == ["momentum", "adam"]
    assert origin["trials"] == 100
    assert "median" in origin["rule"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_targets_lie_above_what_no_model_gets_below(name):
    own = WORKLOADS[name]
    for variant in VARIANTS:
        assert own.targets[variant] > own.floors[variant] >= 0
    if own.floors["base"] > 0.5:  # text: near its entropy, too, so that something must be learned
        assert own.targets["base"] < own.floors["base"] + 0.35


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_target_is_reached_by_what_once_reached_it(name, variant):
    """With another seed than those that it was found by."""
    own, (optimizer, numbers) = WORKLOADS[name], RECORDED[name, variant]
    assert set(numbers) == set(entry(optimizer).space)
    losses = validation_losses(entry(optimizer), own, variant)
    values = losses(jax.random.key(7), jax.tree.map(jnp.asarray, numbers))
    assert np.asarray(values).min() <= own.targets[variant]
