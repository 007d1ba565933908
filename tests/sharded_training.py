"""On eight forced devices: a sharded training is that of one device, and as large as planned.

Run by ``tests/test_own_process.py`` as a program, for the device count is fixed at the start.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType

from jaxopt_course import optimizers
from jaxopt_course.nn import MLP
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import (
    batch_sharding,
    init_state,
    make_step,
    plan,
    state_shardings,
)
from jaxopt_course.transforms import dynamic_loss_scale


DEVICES, ROWS, WIDTH = 8, 32, 16
OPTIMIZERS = {
    "sgd": optimizers.sgd(0.1, 0.9),
    "adamw": optimizers.adamw(0.01),
    "adafactor": optimizers.adafactor(0.01, min_dim_size_to_factor=8),
    "muon": optimizers.muon(0.01),
    "shampoo": optimizers.shampoo(0.01),
    "soap": optimizers.soap(0.01),
    "lion": optimizers.lion(0.01),
    "schedule_free": optimizers.schedule_free(optimizers.sgd(0.1), 0.1),
    "scaled": dynamic_loss_scale(optimizers.adamw(0.01)),
}
STEPS = 3


def network():
    """Its gradients are square matrices of full rank, for which the bases of SOAP are unique."""
    model = MLP(
        WIDTH, (WIDTH,), "tanh", normalization="batch", dropout=0.1, param_dtype=jnp.float64
    )
    return linen_task(model, jnp.zeros((1, WIDTH)), problem("regression"))


def rows():
    """Their last ones only fill the shape: statistics of a device alone would be others."""
    inputs, targets = jax.random.normal(jax.random.key(1), (2, ROWS, WIDTH))
    weights = (jnp.arange(ROWS) < ROWS - 3).astype(float)
    return Batch(inputs + jnp.arange(ROWS)[:, None] / 10, targets, weights)


def programs(tx, shardings=None, rows_sharding=None):
    """The initial state and the step, compiled; with shardings, for where arrays are to lie."""
    init, step = functools.partial(init_state, network(), tx), make_step(network(), tx)
    if shardings is None:
        return jax.jit(init), jax.jit(step)
    return (
        jax.jit(init, out_shardings=shardings),
        jax.jit(step, in_shardings=(shardings, rows_sharding), out_shardings=(shardings, None)),
    )


def check_places(state, shardings):
    """Each array lies where it should; each of the form of a parameter lies where that one does."""
    jax.tree.map(
        lambda x, s: chex.assert_equal(x.sharding.is_equivalent_to(s, x.ndim), True),
        state,
        shardings,
    )
    places = {p.shape: p.sharding for p in jax.tree.leaves(state.params)}
    assert all(len(place.device_set) == DEVICES for place in places.values())
    assert not any(place.is_fully_replicated for place in places.values())
    found = [x for x in jax.tree.leaves(state.opt_state) if x.shape in places]
    for x in found:
        assert x.sharding.is_equivalent_to(places[x.shape], x.ndim), x.sharding
    assert len(found) >= len(jax.tree.leaves(state.params))


def check_plan(name, tx, state, batch, mesh):
    """The plan, of devices that need not exist, is what the arrays take up on each real one."""
    planned = plan(
        network(), tx, AbstractMesh((DEVICES,), ("data",), axis_types=mesh.axis_types), batch
    )
    for device in mesh.devices:
        parts = {
            "params": state.params,
            "optimizer_state": state.opt_state,
            "model_state": state.model_state,
            "batch": batch,
        }
        for part, tree in parts.items():
            held = sum(
                shard.data.nbytes
                for x in jax.tree.leaves(tree)
                for shard in x.addressable_shards
                if shard.device == device
            )
            assert held == getattr(planned, part), f"{name}: {part} holds {held}, not {planned}"


def check(name, tx, mesh):
    """One training on one device, and the same one over all."""
    init, step = programs(tx)
    expected, batch = init(jax.random.key(0)), rows()
    shardings = state_shardings(expected, mesh, "fsdp")
    sharded_init, sharded_step = programs(tx, shardings, batch_sharding(mesh))
    state = sharded_init(jax.random.key(0))
    dealt = jax.device_put(batch, batch_sharding(mesh))
    check_places(state, shardings)
    check_plan(name, tx, state, dealt, mesh)
    for _ in range(STEPS):
        expected, means = step(expected, batch)
        state, sharded_means = sharded_step(state, dealt)
    check_places(state, shardings)
    assert means["loss"] > 0.1
    if name == "soap":  # an eigenvector may as well have the other sign, and the moments with it
        state, expected = state._replace(opt_state=None), expected._replace(opt_state=None)
    # Sums over 8 devices are rounded in another order, which eigenvectors enlarge: 1e-10 in soap,
    # 1e-15 in the others.
    chex.assert_trees_all_close(state._replace(key=None), expected._replace(key=None), rtol=1e-8)
    chex.assert_trees_all_close(sharded_means, means, rtol=1e-8)


def main():
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)  # most of the time is compilation
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    for name, tx in OPTIMIZERS.items():
        check(name, tx, mesh)
    print(f"{len(OPTIMIZERS)} sharded trainings are those of one device, and as planned")  # noqa: T201


if __name__ == "__main__":
    main()
