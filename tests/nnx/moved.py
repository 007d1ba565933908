"""Parameters moved from Linen to NNX, and both computed with the same keys."""

import itertools

import flax.linen as linen
import jax
import jax.numpy as jnp
from flax import nnx

from tests.nn.arrays import normal


def put(module, tree):
    """Set the variables of ``module`` to the leaves of a nested dict of the same names."""
    for name, value in tree.items():
        part = module[name] if isinstance(name, int) else getattr(module, name)
        if isinstance(value, dict):
            put(part, value)
        else:
            assert part[...].shape == value.shape
            part[...] = value


def same_keys(monkeypatch, fixed=False):
    """Both libraries draw the same keys, in the order of the calls; ``fixed``: always the same."""
    key = jax.random.key(7)
    counts = {}
    drawn = lambda who: key if fixed else jax.random.fold_in(key, next(counts[who]))
    monkeypatch.setattr(linen.Module, "make_rng", lambda self, name: drawn("linen"))
    monkeypatch.setattr(nnx.RngStream, "__call__", lambda self: drawn("nnx"))

    def start_again():
        counts.update(linen=itertools.count(), nnx=itertools.count())

    return start_again


def of_linen(module, variables, x, names, **arguments):
    """Outputs, new statistics, and the gradients of a sum, by the names of NNX."""
    params = variables.get("params", {})
    state = {name: part for name, part in variables.items() if name != "params"}

    def loss(params, x):
        y, new = module.apply({"params": params, **state}, x, mutable=list(state), **arguments)
        return weighted_sum(y), (y, new)

    argnums = (0,) if jnp.issubdtype(x.dtype, jnp.integer) else (0, 1)
    (_, (y, new)), grads = jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))(params, x)
    return y, names({**new.get("batch_stats", {})}), names(grads[0]), grads[1:]


def of_nnx(model, x, **arguments):
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, x):
        model = nnx.merge(graph, params, jax.tree.map(lambda x: x, rest))  # of this trace
        y = model(x, **arguments)
        return weighted_sum(y), (y, nnx.state(model, nnx.BatchStat))

    argnums = (0,) if jnp.issubdtype(x.dtype, jnp.integer) else (0, 1)
    (_, (y, new)), grads = jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))(params, x)
    return y, nnx.to_pure_dict(new), nnx.to_pure_dict(grads[0]), grads[1:]


def weighted_sum(y):
    return (y * normal(*y.shape, dtype=y.dtype, seed=5)).sum()
