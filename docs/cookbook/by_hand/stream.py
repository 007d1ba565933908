"""A stream larger than memory on four devices, with Flax, optax and Orbax."""

import os
import pathlib


os.environ["JAX_NUM_CPU_DEVICES"] = "4"  # before jax starts: a CPU as four devices

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec


BATCH, PER_SHARD, SHARDS, HELD_OUT = 1000, 40, 50, 3
WEIGHTS = np.random.default_rng(0).normal(size=(128, 2)).astype(np.float32)


def read(shard):
    rng = np.random.default_rng(shard)
    x = rng.standard_normal((BATCH * PER_SHARD, 128), np.float32)
    return x, (np.prod(x @ WEIGHTS, -1) > 0).astype(np.int32)


def batches(skipped=0, shards=range(SHARDS)):
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


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (64, 64):
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal())(x))
        return nn.Dense(1)(x)[..., 0]


model, optimizer = MLP(), optax.adam(3e-3)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
split, whole_copy = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))


def loss_of(params, x, y):
    outputs = model.apply({"params": params}, x)
    return optax.sigmoid_binary_cross_entropy(outputs, y).mean(), ((outputs > 0) == y).mean()


@jax.jit
def step(state, x, y):
    params, opt_state = state
    (loss, _), grads = jax.value_and_grad(loss_of, has_aux=True)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


evaluate = jax.jit(loss_of)


def start():
    params = model.init(jax.random.key(0), jnp.zeros((1, 128)))["params"]
    return jax.device_put((params, optimizer.init(params)), whole_copy)


def validate(params):
    """Means over the held-out rows; all batches have the same size."""
    found = [evaluate(params, *jax.device_put(batch, split)) for batch in held_out()]
    return tuple(float(np.mean(values)) for values in zip(*found, strict=True))


def fit(steps):
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    folder = pathlib.Path("checkpoints").absolute()
    with ocp.CheckpointManager(folder, options=options) as manager:
        state, done, history = start(), 0, []
        if (latest := manager.latest_step()) is not None:
            like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            parts = ocp.args.Composite(
                state=ocp.args.StandardRestore(like), about=ocp.args.JsonRestore()
            )
            restored = manager.restore(latest, args=parts)
            state, done, history = restored.state, latest, restored.about["history"]
        for batch in batches(done):
            if done == steps:
                break
            state, loss = step(state, *jax.device_put(batch, split))
            done += 1
            if done % 500 == 0 or done == steps:
                if not np.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss} at step {done}")
                history.append([done, *validate(state[0])])
                about = ocp.args.JsonSave({"history": history})
                parts = ocp.args.Composite(state=ocp.args.StandardSave(state), about=about)
                manager.save(done, args=parts)
    return state, history


fit(700)  # as if it had been interrupted
state, history = fit(SHARDS * PER_SHARD)
whole = SHARDS * PER_SHARD * BATCH * 129 * 4 / 2**20
print(f"{jax.device_count()} devices; {whole:.0f} MiB of rows; peak memory {peak():.0f} MiB")
for done, _, accuracy in history:
    print(f"step {done}: {accuracy:.3f} of {HELD_OUT * PER_SHARD * BATCH} rows held out")
assert history[-1][2] > 0.9
assert peak() < whole
