"""On eight forced devices: packed leaves cost no exchange of data between devices.

Run by ``tests/test_own_process.py`` as a program, for the device count is fixed at the start.
"""

import functools
import pathlib
import re
import tempfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxopt_course.optimizers import adamw
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, function_task
from jaxopt_course.training import Checkpointing, fit, plan, state_shardings
from jaxopt_course.transforms import (
    LookaheadParams,
    lookahead,
    packed,
    unpack,
)


# A private name: no public function returns the compiled program of a segment.
from jaxopt_course.training import _segments  # isort: skip

DEVICES, WIDTH, LAYERS = 8, 16, 4
EXCHANGES = ("all-to-all", "all-gather", "collective-permute")
PLAIN = adamw(0.01)
PACKED = packed(PLAIN)


def init(key):
    """FSDP splits kernels and biases; of the gains and shifts, each device holds all."""
    number = jnp.asarray(1.0)
    return [
        {
            "bias": jnp.zeros(WIDTH),
            "gain": number,
            "kernel": jax.random.normal(k, (WIDTH, WIDTH)) / 4,
            "shift": number / 4,
        }
        for k in jax.random.split(key, LAYERS)
    ]


def apply(params, x):
    for layer in params:
        x = jnp.tanh(x @ layer["kernel"] * layer["gain"] + layer["bias"][None] + layer["shift"])
    return x


TASK = function_task(init, apply, problem("regression"))


def mesh_of(devices):
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def exchanges(text):
    """The operations of a compiled program that move data between devices, without sums."""
    return re.findall(rf" ({'|'.join(EXCHANGES)})(?:-start)?\(", text)


def text_of(function, *args):
    return jax.jit(function).lower(*args).compile().as_text()


def check_update(mesh):
    whole = init(jax.random.key(0))
    split = jax.device_put(whole, state_shardings(whole, mesh, "fsdp"))
    state, plain = PACKED.init(split), PLAIN.init(split)
    assert len(state.layout.groups) == 1  # the numbers
    assert len(state.layout.whole) == 2 * LAYERS
    for tx, own in ((PLAIN, plain), (PACKED, state)):
        assert exchanges(text_of(tx.update, split, own, split)) == []
    assert exchanges(text_of(lambda x: x + jnp.roll(x, 1), split[0]["bias"]))  # so it would be seen

    # What a traced array does not tell is not guessed: nothing is joined.
    for traced in (jax.jit(PACKED.init)(split), jax.eval_shape(PACKED.init, split)):
        assert traced.layout.groups == ()
    assert exchanges(text_of(PACKED.update, split, jax.jit(PACKED.init)(split), split)) == []

    copies = jax.device_put(whole, NamedSharding(mesh, PartitionSpec()))
    for tree in (
        whole,
        copies,
        jax.device_put(whole, NamedSharding(mesh_of(mesh.devices[:1]), PartitionSpec())),
    ):
        assert PACKED.init(tree).layout.whole == ()
    assert exchanges(text_of(PACKED.update, copies, PACKED.init(copies), copies)) == []

    for _ in range(3):
        grads = jax.tree.map(jnp.cos, split)
        updates, plain = jax.jit(PLAIN.update)(grads, plain, split)
        found, state = jax.jit(PACKED.update)(grads, state, split)
        chex.assert_trees_all_close(found, updates, rtol=1e-12)
        chex.assert_trees_all_close(unpack(state), plain, rtol=1e-12)
        split = jax.tree.map(jnp.add, split, found)
        for p, u in zip(jax.tree.leaves(split), jax.tree.leaves(found), strict=True):
            assert u.sharding.is_equivalent_to(p.sharding, p.ndim)


def check_wrappers_that_start_again(mesh):
    """A traced ``init`` inside of ``update`` gives the layout of the state that is there."""
    whole = init(jax.random.key(0))
    split = jax.device_put(whole, state_shardings(whole, mesh, "fsdp"))
    ends = []
    for tx in (lookahead(own, 2, 0.5, reset_state=True) for own in (PACKED, PLAIN)):
        params = LookaheadParams.init_synced(split)
        state = tx.init(params)
        for _ in range(3):
            updates, state = jax.jit(tx.update)(params.fast, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        ends.append(params)
    chex.assert_trees_all_close(*ends, rtol=1e-12)


def data():
    inputs = np.random.default_rng(0).normal(size=(48, WIDTH))
    return inputs, np.tanh(inputs[:, ::-1])


def train(optimizer, steps=12, **options):
    return fit(
        *(TASK, optimizer, data()),
        key=jax.random.key(1),
        steps=steps,
        batch_size=16,
        evaluate_every=4,
        progress=False,
        **options,
    )


def trained(optimizer, **options):
    """The run, and the program of its segments."""
    calls, own = [], _segments._advance

    def noted(*args, setup):
        calls.append((args, setup))
        return own(*args, setup=setup)

    with mock.patch.object(_segments, "_advance", noted):
        run = train(optimizer, **options)
    args, setup = calls[0]
    return run, text_of(functools.partial(own.__wrapped__, setup=setup), *args)


def check_fit(mesh):
    plain, text = trained(PLAIN, mesh=mesh, sharding="fsdp")
    run, packed_text = trained(PACKED, mesh=mesh, sharding="fsdp")
    for each in (text, packed_text):
        assert "all-to-all" not in each
    assert len(exchanges(packed_text)) <= len(exchanges(text))
    assert_same(run, plain)
    state = run.state.opt_state
    assert len(state.layout.whole) == 2 * LAYERS
    moments = [x for x in jax.tree.leaves(state) if x.shape == (2 * LAYERS,)]  # 8 devices divide it
    assert len(moments) == 2
    assert all(x.sharding.is_fully_replicated for x in moments)
    assert not run.state.params[0]["kernel"].sharding.is_fully_replicated
    batch = jax.tree.map(lambda x: x[:16], Batch(*data(), None))
    for optimizer, of in ((PLAIN, plain), (PACKED, run)):
        leaves = jax.tree.leaves(of.state.opt_state)
        held = sum(x.addressable_shards[0].data.nbytes for x in leaves)
        assert plan(TASK, optimizer, mesh, batch).optimizer_state == held

    copied = train(PACKED, mesh=mesh, sharding="replicated")
    assert copied.state.opt_state.layout.whole == ()
    assert_same(copied, plain)
    batches = [tuple(b) for b in zip(*(np.split(x, 3) for x in data()), strict=True)]
    streams = [
        fit(
            *(TASK, tx, batches),
            key=jax.random.key(1),
            epochs=2,
            mesh=mesh,
            sharding="fsdp",
            progress=False,
        )
        for tx in (PACKED, PLAIN)
    ]
    assert_same(*streams)


def check_checkpoints(mesh):
    """Two parts of a training may join different leaves: on disk every leaf is by itself."""
    whole = train(PACKED)
    sharded = {"mesh": mesh, "sharding": "fsdp"}
    with tempfile.TemporaryDirectory() as directory:
        for first, second in ((sharded, {}), ({}, sharded)):
            path = pathlib.Path(directory, str(len(first)))
            train(PACKED, 8, checkpoint=path, **first)
            assert_same(
                train(PACKED, checkpoint=Checkpointing(path, resume="auto"), **second), whole
            )


def assert_same(run, other):
    """To rounding: sums over devices come in another order."""
    parts = lambda run: (run.state.params, unpack(run.state.opt_state), run.best_params)
    chex.assert_trees_all_close(*map(jax.device_get, map(parts, (run, other))), rtol=1e-9)


def main():
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    mesh = mesh_of(jax.devices())
    for check in (check_update, check_wrappers_that_start_again, check_fit, check_checkpoints):
        check(mesh)
    print("packed leaves cost no exchange between devices")  # noqa: T201


if __name__ == "__main__":
    main()
