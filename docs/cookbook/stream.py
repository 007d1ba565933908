"""A stream larger than memory, on four devices, interrupted and resumed."""

import os
import pathlib


os.environ["JAX_NUM_CPU_DEVICES"] = "4"  # before jax starts: a CPU as four devices

import jax
import numpy as np

import jaxopt_course as jc


BATCH, PER_SHARD, SHARDS, HELD_OUT = 1000, 40, 50, 3
WEIGHTS = np.random.default_rng(0).normal(size=(128, 2)).astype(np.float32)


def read(shard):
    """The rows of one shard; it stands for a file."""
    rng = np.random.default_rng(shard)
    x = rng.standard_normal((BATCH * PER_SHARD, 128), np.float32)
    return x, (np.prod(x @ WEIGHTS, -1) > 0).astype(np.int32)


def batches(skipped=0, shards=range(SHARDS)):
    """Batches of all shards, one shard in memory at a time; skipped shards are not read."""
    begin, within = divmod(skipped, PER_SHARD)
    for shard in shards[begin:]:
        x, y = read(shard)
        for i in range(within, PER_SHARD):
            yield x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH]
        within = 0


def held_out():
    return batches(shards=range(SHARDS, SHARDS + HELD_OUT))


def peak():
    """The most memory that the process has held, in MiB, as Linux counts it."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


mesh = jax.make_mesh((4,), ("data",))
like = jax.ShapeDtypeStruct((1, 128), np.float32)
task = jc.linen_task(jc.nn.MLP(1, (64, 64)), like, jc.problems.problem("binary"))
options = {"key": jax.random.key(0), "evaluate_every": 500, "mesh": mesh, "progress": False}
options["checkpoint"] = jc.training.Checkpointing("checkpoints", resume="auto")
stream = jc.training.Stream(batches, validation=held_out)
jc.fit(task, jc.adam(3e-3), stream, steps=700, **options)  # as if it had been interrupted
run = jc.fit(task, jc.adam(3e-3), stream, steps=SHARDS * PER_SHARD, **options)

whole = SHARDS * PER_SHARD * BATCH * 129 * 4 / 2**20
print(f"{jax.device_count()} devices; {whole:.0f} MiB of rows; peak memory {peak():.0f} MiB")
for step, accuracy in zip(run.history["step"], run.history["validation_accuracy"], strict=True):
    print(f"step {step}: {accuracy:.3f} of {HELD_OUT * PER_SHARD * BATCH} rows held out")
assert run.history["validation_accuracy"][-1] > 0.9
assert peak() < whole
