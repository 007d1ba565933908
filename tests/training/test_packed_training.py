"""Trainings of packed optimizers: what is packed stays inside, on disk and towards callers."""

import json

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from jaxopt_course.training import Rows, evaluate, fit, make_training, optimizer_fingerprint
from jaxopt_course.transforms import (
    PackedState,
    chain,
    clip_by_global_norm,
    ema_params,
    packed,
    packed_state,
    quantized_state,
    unpack,
)

from .problems import keeping, line


def init(key):
    keys = jax.random.split(key, 3)
    matrix, *vectors = (jax.random.normal(k, s) for k, s in zip(keys, ((2, 3), 3, 3), strict=True))
    return {"hidden": {"k": matrix, "b": vectors[0]}, "last": {"k": vectors[1], "b": jnp.ones(())}}


def apply(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["k"] + params["hidden"]["b"][None])
    return (hidden @ params["last"]["k"] + params["last"]["b"])[:, None]


TASK = function_task(init, apply, problem("regression"))
PARAMS = {"hidden": {"k": (2, 3), "b": (3,)}, "last": {"k": (3,), "b": ()}}
PLAIN = adam(0.02)
PACKED = packed(PLAIN)  # three of the four leaves in one buffer
ROWS = Rows(jnp.arange(9), None, jnp.arange(9, 12))


class PulledPlugError(Exception):
    """Not one that the library raises."""


def pull_the_plug(record):
    if record.step == 6:
        raise PulledPlugError


def train(optimizer, directory=None, **options):
    """3 steps an epoch, 12 steps."""
    given = {"steps": 12, "batch_size": 3, "segment": 2, "rows": ROWS, "key": jax.random.key(3)}
    return fit(TASK, optimizer, line(), **keeping({"checkpoint": directory} | given | options))


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


@pytest.fixture(scope="module")
def undisturbed():
    records = []
    run = train(PACKED, callbacks=[records.append])
    return run, records


@pytest.fixture
def broken_off(tmp_path):
    def at_step_6(optimizer, name):
        with pytest.raises(PulledPlugError):
            train(optimizer, tmp_path / name, callbacks=[pull_the_plug])
        return tmp_path / name

    return at_step_6


def test_callers_see_the_tree(undisturbed):
    run, records = undisturbed
    assert isinstance(run.state.opt_state, PackedState)
    assert shapes(run.best_params) == shapes(run.state.params) == PARAMS
    assert all(shapes(record.state.params) == PARAMS for record in records)
    assert jax.tree.all(jax.tree.map(lambda x: not x.is_deleted(), records[0].state))
    data = line()
    last = evaluate(TASK, run.state.params, {}, data.inputs[9:], data.targets[9:])["loss"]
    assert last == pytest.approx(float(run.history["validation_loss"][-1]), rel=1e-12)


def test_a_packed_training_goes_on_bit_for_bit(broken_off, undisturbed):
    directory = broken_off(PACKED, "packed")
    chex.assert_trees_all_equal(train(PACKED, directory, resume="auto"), undisturbed[0])


@pytest.mark.exhaustive
def test_packing_may_come_and_go_between_two_parts_of_a_training(broken_off, undisturbed):
    """Without a word: a warning would be an error here."""
    ended = undisturbed[0]
    for first, second, name in ((PLAIN, PACKED, "to_packed"), (PACKED, PLAIN, "to_plain")):
        run = train(second, broken_off(first, name), resume="auto")
        chex.assert_trees_all_close(run.state.params, ended.state.params, rtol=1e-12)
        state = unpack(run.state.opt_state)
        chex.assert_trees_all_close(state, unpack(ended.state.opt_state), rtol=1e-12)


@pytest.mark.exhaustive
def test_on_disk_is_the_tree_wherever_it_is_packed(tmp_path):
    inside = ema_params(chain(clip_by_global_norm(1e3), packed(PLAIN)), 0.9)
    train(inside, tmp_path / "it", steps=2)
    manifest = json.loads((tmp_path / "it" / "2" / "manifest" / "metadata").read_text())
    found = {record["path"]: tuple(record["shape"]) for record in manifest["leaves"]}
    assert found[".state.params['hidden']['b']"] == (3,)
    assert [shape for path, shape in found.items() if path.endswith(".mu['last']['b']")] == [()]
    assert not any("buffers" in path for path in found), found


def test_a_fingerprint_tells_what_is_done_and_not_where():
    params = init(jax.random.key(0))
    inside = chain(clip_by_global_norm(1.0), PACKED)
    assert optimizer_fingerprint(PACKED, params) == optimizer_fingerprint(PLAIN, params)
    assert optimizer_fingerprint(inside, params) == optimizer_fingerprint(
        chain(clip_by_global_norm(1.0), PLAIN), params
    )
    others = optimizer_fingerprint(packed(adam(0.03)), params)
    assert others["digest"] != optimizer_fingerprint(PLAIN, params)["digest"]


def test_blocks_of_joined_leaves_stay_as_they_are():
    params = {f"w{i}": jnp.ones((8, 8), jnp.float32) for i in range(4)}
    tx = packed(quantized_state(PLAIN, min_size=128, block=32, chunk=None))
    state = jax.eval_shape(tx.init, params)
    assert jax.eval_shape(unpack, state) == state
    assert packed_state(state, state) == state
    assert optimizer_fingerprint(tx, params) != optimizer_fingerprint(PLAIN, params)


def batches(n):
    data = line()
    for i in range(n):
        start = 3 * (i % 4)
        yield data.inputs[start : start + 3], data.targets[start : start + 3]


@pytest.mark.exhaustive
def test_a_stream_holds_them_packed_too():
    records = []
    runs = [
        fit(
            *(TASK, optimizer, batches(8)),
            key=jax.random.key(3),
            evaluate_every=4,
            segment=4,
            callbacks=[records.append],
        )
        for optimizer in (PACKED, PLAIN)
    ]
    chex.assert_trees_all_close(runs[0].state.params, runs[1].state.params, rtol=1e-12)
    chex.assert_trees_all_close(runs[0].best_params, runs[1].best_params, rtol=1e-12)
    assert all(shapes(record.state.params) == PARAMS for record in records)
    alive = jax.tree.map(lambda x: not x.is_deleted(), [record.state for record in records])
    assert jax.tree.all(alive)  # though each step takes the arrays of the one before


def carried(optimizer):
    """How many arrays the loop over steps carries from one to the next."""
    training = make_training(lambda _: (TASK, optimizer), line(), batch_size=3)
    progress = jax.eval_shape(lambda key: training().start(key), jax.random.key(0))
    program = jax.make_jaxpr(lambda progress: training().advance(progress, 5))(progress)
    loops = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name in ("while", "scan")]
    return max(len(loop.outvars) for loop in loops)


@pytest.mark.exhaustive
def test_advancing_holds_them_packed_too(key):
    # Params, both moments, and the params of the last loss: 2 less of each.
    assert carried(PACKED) == carried(PLAIN) - 4 * 2
    ends = []
    for optimizer in (PACKED, PLAIN):
        training = make_training(
            lambda _, optimizer=optimizer: (TASK, optimizer), line(), batch_size=3
        )
        run = lambda key, t=training: t().advance(t().start(key), 5).state.params
        ends.append(jax.jit(run)(key))
    chex.assert_trees_all_close(*ends, rtol=1e-12)
