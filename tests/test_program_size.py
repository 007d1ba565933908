"""How large the program of an update is, leaf by leaf, beside optax's; and what eager use compiles.

``pytest -s -m exhaustive tests/test_program_size.py`` prints the table.
"""

import logging

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxopt_course import optimizers, transforms
from tests.catalogue import PAIRS, TRANSFORMATIONS


LEAVES = 12


def leaves(count):
    """That many alike, in a tree that the masks of the catalogue's pairs fit."""
    alike = {f"w{i}": jnp.ones((3, 2), jnp.float32) for i in range(count)}
    return {"dense": {"kernel": alike, "bias": {}}, "gain": {}}


def equations(jaxpr):
    """Of a program and of what it calls; what merely names a part of it counts for nothing."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            sub.jaxpr if hasattr(sub, "jaxpr") else sub
            for value in equation.params.values()
            for sub in (value if isinstance(value, tuple | list) else [value])
            if hasattr(sub, "eqns") or hasattr(getattr(sub, "jaxpr", None), "eqns")
        ]
        total += sum(map(equations, inner)) if inner else 1
    return total


def size(tx, count):
    tree = leaves(count)
    loss = lambda tree: sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))
    offered = {"value": jnp.ones(()), "grad": tree, "value_fn": loss, "obj_fn": loss}

    def update(grads, state, params):
        return optax.with_extra_args_support(tx).update(grads, state, params, **offered)

    return equations(jax.make_jaxpr(update)(tree, jax.eval_shape(tx.init, tree), tree).jaxpr)


def per_leaf(tx):
    """What one more leaf adds: the equations said once for all leaves do not count."""
    return (size(tx, LEAVES) - size(tx, LEAVES // 2)) / (LEAVES // 2)


def build(factory, args):
    return factory(**args) if isinstance(args, dict) else factory(*args)


# Norms that are finite for numbers of any size: three sums of squares, and which of them to take.
NORM_OF_A_LEAF = 90
WITH_NORMS = {
    *("adaptive_grad_clip", "clip_by_block_rms", "fromage", "lamb", "lars", "normalize"),
    *("normalize_by_update_norm", "scale_by_trust_ratio"),
}


@pytest.mark.exhaustive
def test_equations_a_leaf_are_at_most_a_fifth_more_than_in_optax(standard_promotion):
    table = {}
    with jax.enable_x64(False):
        for name, (args, *_) in PAIRS.items():
            ours = getattr(optimizers, name, None) or getattr(transforms, name)
            theirs = getattr(optax, name, None) or getattr(optax.contrib, name)
            table[name] = per_leaf(build(ours, args)), per_leaf(build(theirs, args))
    width = max(map(len, table))
    for name, (mine, its) in sorted(table.items()):
        print(f"{name:{width}} {mine:6.1f} equations a leaf, optax {its:6.1f}")  # noqa: T201
    # `flatten` joins the offered `grad` too, for line searches: a reshape of each leaf.
    more = lambda name: NORM_OF_A_LEAF if name in WITH_NORMS else 1.1 if name == "flatten" else 0.1
    too_long = {
        name: (mine, its) for name, (mine, its) in table.items() if mine > 1.2 * its + more(name)
    }
    assert not too_long


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_thousand_leaves_compile_no_more_than_one(name, caplog):
    """Eager `init` compiles at most once for each shape and dtype: what it does, it does alike.

    Compared with two leaves: `flatten` joins them, which one alone does not need.
    """
    init = TRANSFORMATIONS[name].build().init

    def compiled(count):
        jax.clear_caches()
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="jax"), jax.log_compiles():
            init(leaves(count))
        return sum("Compiling" in record.getMessage() for record in caplog.records)

    assert compiled(1000 if name == "adamw" else 50) <= max(compiled(2), 1)
