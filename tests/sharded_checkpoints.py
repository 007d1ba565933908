"""A state that is spread over devices is restored on more, on fewer, and on one.

Run by ``tests/training/test_checkpoint_failures.py`` as a program, for the number of devices is
fixed at the start. ``DIRECTORY 1`` is one process of eight devices, ``DIRECTORY 2`` two processes
of two.
"""

import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxopt_course.checkpoints import (
    CheckpointCorruptError,
    CheckpointStore,
)


VALUES = {"w": np.arange(32.0, dtype=np.float32).reshape(8, 4), "b": np.arange(4, dtype=np.float16)}


def on(devices):
    """The state spread over ``devices`` by rows; keys too; one number on all of them."""
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    sharding, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    spread = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
    keys = jax.jit(lambda: jax.random.split(jax.random.key(0), 4), out_shardings=sharding)()
    step = jax.make_array_from_callback((), everywhere, lambda _: np.int32(7))
    return jax.tree.map(spread, VALUES) | {"keys": keys, "step": step}


def check(tree, like):
    """Every part that lies here is right, and lies where it should."""
    keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(0), 4)))
    wanted = VALUES | {"keys": keys, "step": np.int32(7)}
    for name, leaf in tree.items():
        assert leaf.sharding.is_equivalent_to(like[name].sharding, leaf.ndim), name
        data = jax.random.key_data(leaf) if name == "keys" else leaf
        for shard in data.addressable_shards:
            np.testing.assert_array_equal(shard.data, wanted[name][shard.index])


def one_process(directory):
    jax.config.update("jax_num_cpu_devices", 8)
    devices = jax.devices()
    with CheckpointStore(directory) as store:
        for number, few in enumerate((devices[2:6], devices[:1], devices[:2], devices[::2])):
            store.save(number, on(few))
            for others in (devices[:1], devices[1:2], devices[4:], devices[:4]):
                check(store.restore(on(others)).tree, on(others))
                check(store.restore(jax.tree.map(shape_of, on(others))).tree, on(others))
        plain = {**VALUES, "keys": jax.random.split(jax.random.key(0), 4), "step": np.int32(0)}
        np.testing.assert_array_equal(store.restore(plain).tree["w"], VALUES["w"])
    print("restored on other devices")  # noqa: T201


def shape_of(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def two_processes(directory):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.sharded_checkpoints", directory, address]
    running = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    try:
        assert [process.wait(timeout=240) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    # What two processes wrote, one reads.
    with CheckpointStore(directory) as store:
        like = {**VALUES, "keys": jax.random.split(jax.random.key(0), 4), "step": jnp.int32(0)}
        step, tree, loss, _ = store.restore(like)
        assert (step, loss, int(tree["step"])) == (3, 1.0, 7)
        np.testing.assert_array_equal(tree["w"], VALUES["w"])
    print("two processes restored what they saved")  # noqa: T201


def one_of_two(directory, address, number):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=number)
    state = on(jax.devices())
    assert not state["w"].is_fully_addressable
    with CheckpointStore(directory, keep_latest=1, keep_best=1) as store:
        for step in range(4):
            store.save(step, state, loss=float(4 - step))
        check(store.restore(state).tree, state)
        assert [info.step for info in store.list()] == [3]
        store.save(4, state)
        if number == 0:
            for file in (store.directory / "4" / "arrays").rglob("*"):
                if file.is_file():
                    file.write_bytes(b"")
        try:
            store.restore(state, 4)
        except CheckpointCorruptError:
            pass
        else:
            raise AssertionError("restored what was corrupt")
        store.save(3, state, loss=1.0)  # over a sound one and a corrupt one
        check(store.restore(state).tree, state)


def main():
    directory, how, *rest = sys.argv[1:]
    if rest:
        one_of_two(directory, how, int(rest[0]))
    else:
        {"1": one_process, "2": two_processes}[how](directory)


if __name__ == "__main__":
    main()
