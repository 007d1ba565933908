"""On eight forced devices: meshes with explicit axes give what one device gives.

Run by ``tests/test_explicit_mesh.py`` as a program, for the device count is fixed at the start.
"""

import functools
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxopt_course.core import automatic
from jaxopt_course.diagnostics import gradient_flow
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, muon
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float, search
from jaxopt_course.tasks import Batch, function_task, linen_task, lora, starting_from
from jaxopt_course.training import (
    batch_sharding,
    evaluate,
    fit,
    init_state,
    make_population,
    make_step,
    make_train,
    predict,
    sample_tokens,
    state_shardings,
)
from jaxopt_course.transforms import apply_updates, outer
from tests.catalogue import RECIPES, TRANSFORMATIONS


DEVICES = 8
DIFFER = {  # reason why a member's numbers on several devices are not those on one
    "add_noise": "random numbers",
    "set_to_zero": "its program has no argument that says which devices: JAX wants `set_mesh`",
    "noisy_sgd": "random numbers",
    "stochastic_rounding": "random numbers",
    "hutchinson_estimator_diag_hessian": "random numbers",
    "scale_by_sophia": "random numbers",
    "sophia": "random numbers",
    "splus": "the basis of the null space of a factor is arbitrary, and so are the signs in it",
}
SPECS = {
    "kernel": ((16, 8), PartitionSpec("a", "b")),
    "cube": ((4, 16, 24), PartitionSpec(None, "b", "a")),
    "vector": ((40,), PartitionSpec(("a", "b"))),
}


def on_cpus():
    return np.array(jax.devices())


def explicit(shape, names):
    kinds = (AxisType.Explicit,) * len(names)
    return Mesh(on_cpus().reshape(shape), names, axis_types=kinds)


def two_updates(tx, params, update):
    """The second updates, of other gradients than the first."""
    updates, state = update(params, tx.init(params), params)
    return update(jax.tree.map(lambda u: u * 0.5, updates), state, params)[0]


def check_transformation(name, how):
    tx = TRANSFORMATIONS[name].build()
    keys = jax.random.split(jax.random.key(0), len(SPECS))
    whole = {
        name: jax.random.normal(key, shape)
        for key, (name, (shape, _)) in zip(keys, SPECS.items(), strict=True)
    }
    mesh = explicit((4, 2), ("a", "b"))
    split = {
        name: jax.device_put(x, NamedSharding(mesh, SPECS[name][1])) for name, x in whole.items()
    }
    update = jax.jit(tx.update)
    expected = two_updates(tx, whole, update)
    found = two_updates(tx, split, update if how == "jit" else tx.update)
    for path, x in jax.tree.leaves_with_path(found):
        name_of_leaf = jax.tree_util.keystr(path, simple=True)
        assert x.sharding.is_equivalent_to(split[name_of_leaf].sharding, x.ndim), (name, path)
    # A line search arrives with its first step; the second is the rounding of where it arrived.
    atol = 1e-8 if name == "lbfgs:line search" else 1e-9
    chex.assert_trees_all_close(*map(jax.device_get, (found, expected)), rtol=1e-6, atol=atol)


def data():
    inputs = np.random.default_rng(0).normal(size=(48, 6))
    return inputs, inputs[:, :1] - inputs[:, 1:2] ** 2


def task():
    return linen_task(MLP(outputs=1, hidden=(16,)), data()[0][:1], problem("regression"))


def same(run, other):
    tree = lambda run: (run.state.params, run.state.opt_state, run.best_params, run.history)
    chex.assert_trees_all_close(*map(jax.device_get, map(tree, (run, other))), rtol=1e-9, atol=0)


def check_fit():
    mesh = explicit((DEVICES,), ("data",))
    options = {"key": jax.random.key(1), "epochs": 2, "progress": False}
    batches = [tuple(b) for b in zip(*(np.split(x, 3) for x in data()), strict=True)]
    for optimizer in (adam(1e-2), muon(1e-2)):
        for kind in ("replicated", "fsdp"):
            both = [
                fit(task(), optimizer, data(), batch_size=16, mesh=m, sharding=kind, **options)
                for m in (mesh, automatic(mesh))
            ]
            same(*both)
            kernel = both[0].state.params["Dense_0"]["kernel"]
            assert jax.typeof(kernel).sharding.mesh == mesh.abstract_mesh
            assert kernel.sharding.is_fully_replicated == (kind == "replicated")
    streams = [fit(task(), adam(1e-2), batches, mesh=m, **options) for m in (mesh, automatic(mesh))]
    same(*streams)
    given = jax.device_put(data(), NamedSharding(mesh, PartitionSpec("data")))
    both = [
        fit(task(), adam(1e-2), d, batch_size=16, mesh=mesh, **options) for d in (data(), given)
    ]
    same(*both)


def check_sampling(mesh):
    """Predictions contract an axis of the parameters that is split over the devices."""
    follow = lambda params, tokens: jax.nn.one_hot(tokens, 8) @ params["table"]
    of_tokens = function_task(lambda key: {}, follow, problem("multiclass"))
    table = 9.0 * jnp.roll(jnp.eye(8), 1, axis=1)
    split = {"table": jax.device_put(table, batch_sharding(mesh))}
    options = {"key": jax.random.key(0), "length": 4, "temperature": 0.0}
    tokens = sample_tokens(of_tokens, split, {}, jnp.array([5, 6]), 3, **options)
    assert tokens.tolist() == [7, 0, 1]


def check_use():
    """Evaluating, predicting, steps in a loop and fine-tuning on the mesh of ``jax.make_mesh``."""
    mesh = jax.make_mesh((DEVICES,), ("data",))
    options = {"key": jax.random.key(1), "epochs": 2, "batch_size": 16, "progress": False}
    on_mesh = {"mesh": mesh, "sharding": "fsdp"}
    run, one = (fit(task(), adam(1e-2), data(), **options, **more) for more in (on_mesh, {}))
    split = jax.device_put(data(), batch_sharding(mesh))
    found, expected = (
        evaluate(task(), r.best_params, r.best_model_state, *arrays)
        for r, arrays in ((run, split), (one, data()))
    )
    assert np.isclose(found["loss"], expected["loss"], rtol=1e-9)
    chex.assert_trees_all_close(
        jax.device_get(predict(task(), run.best_params, {}, split[0])),
        jax.device_get(predict(task(), one.best_params, {}, data()[0])),
        rtol=1e-8,
    )
    flows = [
        gradient_flow(task(), r.state, Batch(*arrays)).loss
        for r, arrays in ((run, split), (one, data()))
    ]
    assert np.isclose(*flows, rtol=1e-9)
    check_sampling(mesh)
    step = jax.jit(make_step(task(), adam(1e-2)), donate_argnums=0)
    alone, state = (init_state(task(), adam(1e-2), jax.random.key(1)) for _ in range(2))
    state = jax.device_put(state, state_shardings(state, mesh, "fsdp"))
    batch = Batch(*(x[:16] for x in map(jnp.asarray, data())))
    spread = jax.device_put(batch, batch_sharding(mesh))
    for _ in range(2):
        (state, _), (alone, _) = step(state, spread), step(alone, batch)
    chex.assert_trees_all_close(*map(jax.device_get, (state.params, alone.params)), rtol=1e-9)
    assert not state.params["Dense_0"]["kernel"].sharding.is_fully_replicated
    tuned = [
        fit(lora(starting_from(task(), r.best_params), 1), adam(1e-2), data(), **options, **more)
        for r, more in ((run, on_mesh), (one, {}))
    ]
    for a, b in zip(*(r.history["loss"] for r in tuned), strict=True):
        assert np.isclose(a, b, rtol=1e-6)


def check_train():
    mesh = explicit((DEVICES,), ("pop",))
    split = functools.partial(jax.device_put, device=NamedSharding(mesh, PartitionSpec("pop")))
    build = lambda hp: (task(), optax.sgd(hp["rate"]))
    train = make_train(build, data(), epochs=2, batch_size=16)
    of_split_rows = make_train(build, split(data()), epochs=2, batch_size=16)
    hp = {"rate": jnp.float32(0.05)}
    everywhere = jax.device_put(hp, NamedSharding(mesh, PartitionSpec()))
    one = jax.jit(train)(jax.random.key(2), hp)
    same(jax.jit(of_split_rows)(jax.random.key(2), everywhere), one)
    rates = {"rate": jnp.linspace(0.01, 0.08, 8, dtype=jnp.float32)}
    population = functools.partial(make_population, train, ["hyperparameters"])
    many = jax.jit(population())(jax.random.key(2), rates)
    for given in (rates, split(rates)):
        same(jax.jit(population(mesh=mesh))(jax.random.key(2), given), many)
    space = {"rate": Float(0.01, 0.08)}
    found = [
        search(
            train, space, trials=8, key=jax.random.key(3), strategy="map", mesh=m, progress=False
        )
        for m in (None, mesh)
    ]
    np.testing.assert_allclose(found[1].scores, found[0].scores, rtol=1e-6)


def check_replicas():
    """Each device trains a replica, and all together what mapped replicas do on one device."""
    tx, kind = outer(adam(0.1), "replicas", every=2), PartitionSpec("replicas")
    grads = jax.random.normal(jax.random.key(0), (5, DEVICES, 3, 2))

    def train(params, grads):
        state = tx.init(params)
        for i in range(5):
            updates, state = tx.update(grads[i], state, params)
            params = apply_updates(params, updates)
        return params, state.shared

    one = jax.jit(jax.vmap(train, (None, 1), axis_name="replicas"))(jnp.ones((3, 2)), grads)
    each = lambda params, grads: jax.tree.map(lambda x: x[None], train(params[0], grads[:, 0]))
    for mesh in (
        explicit((DEVICES,), ("replicas",)),
        automatic(explicit((DEVICES,), ("replicas",))),
    ):
        split = jax.device_put(jnp.ones((DEVICES, 3, 2)), NamedSharding(mesh, kind))
        over = NamedSharding(mesh, PartitionSpec(None, "replicas"))
        specs = {"in_specs": (kind, over.spec), "out_specs": (kind, kind)}
        run = jax.jit(jax.shard_map(each, mesh=mesh, **specs))
        found = run(split, jax.device_put(grads, over))
        chex.assert_trees_all_close(*map(jax.device_get, (found, one)), rtol=1e-12)


def main(names):
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    check_fit()
    check_use()
    check_train()
    check_replicas()
    for name in names or RECIPES:
        if name.split(":")[0] not in DIFFER:
            check_transformation(name, "jit")
    for name in ("muon", "soap", "quantized_state", "lbfgs:line search"):
        check_transformation(name, "eager")
    print("an explicit mesh gives what one device gives")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
