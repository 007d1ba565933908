"""Leaves that are alike are worked on as one batch: the same numbers from a smaller program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import (
    MuonDimensionNumbers,
    _stacks,
    muon,
    orthogonalized,
    shampoo,
    soap,
)
from jaxopt_course.optimizers._newton_schulz import iterated, iterated_narrow
from jaxopt_course.optimizers._stacks import map_stacked


STANDARD = (3.4445, -4.7750, 2.0315)
STEPS = 4
SHAPES = {
    **{f"wide{i}": (3, 5) for i in range(3)},
    **{f"tall{i}": (5, 3) for i in range(2)},
    **{f"batch{i}": (2, 4, 3) for i in range(2)},
    **{f"bias{i}": (5,) for i in range(2)},
    "alone": (4, 4),
}
SPECS = {
    name: MuonDimensionNumbers(-2, -1) if len(shape) > 1 else None for name, shape in SHAPES.items()
}
TRANSFORMATIONS = {
    "muon": lambda: muon(0.1, muon_weight_dimension_numbers=SPECS),
    "muon, adaptive": lambda: muon(
        0.1, adaptive=True, preconditioning="aol", muon_weight_dimension_numbers=SPECS
    ),
    "shampoo": lambda: shampoo(0.1, preconditioning_period=2),
    "soap": lambda: soap(0.1, precondition_frequency=2),
}


def gradients(count):
    rng = np.random.default_rng(0)
    return {name: jnp.array(rng.normal(size=(count, *shape))) for name, shape in SHAPES.items()}


def trajectory(tx, grads):
    """The updates of every step, and the last state."""
    params = jax.tree.map(lambda g: jnp.ones_like(g[0]), grads)

    def body(state, own):
        updates, state = tx.update(own, state, params)
        return state, updates

    return jax.jit(lambda grads: jax.lax.scan(body, tx.init(params), grads))(grads)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_stacked_updates_are_those_leaf_by_leaf(name, monkeypatch):
    """To the roundings of sums in another order, which five steps of slope 3.4 amplify."""
    together = trajectory(TRANSFORMATIONS[name](), gradients(STEPS))
    monkeypatch.setattr(_stacks, "STACK_BYTES", 0)
    apart = trajectory(TRANSFORMATIONS[name](), gradients(STEPS))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11), together, apart
    )


def test_subtrees_go_with_their_leaf_and_results_may_be_trees():
    tree = {"a": jnp.ones(3), "b": jnp.arange(3.0), "c": jnp.ones(2), "d": jnp.ones(3, jnp.float32)}
    rest = {"a": (jnp.eye(3), None), "b": (2 * jnp.eye(3), None), "c": (jnp.eye(2), None),
            "d": (None, None)}  # fmt: skip
    f = lambda x, pair: (x if pair[0] is None else pair[0] @ x, {"sum": x.sum()}, pair[1])
    found = map_stacked(f, tree, rest)
    expected = jax.tree.map(f, tree, rest)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert map_stacked(f, {}, {}) == {}


def test_a_stack_holds_so_many_bytes_and_a_larger_leaf_is_alone(monkeypatch):
    monkeypatch.setattr(_stacks, "STACK_BYTES", 2 * 16 * 8)
    tree = {i: jnp.full((4, 4), float(i)) for i in range(5)} | {9: jnp.full((5, 5), 9.0)}
    called = []

    def f(x):
        called.append(x.shape)
        return 2 * x

    found = map_stacked(f, tree)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, 2 * y), found, tree)
    assert called == [(4, 4)] * 3 + [(5, 5)]  # two, two, one; and the one above the limit
    program = jax.make_jaxpr(lambda tree: map_stacked(lambda x: x @ x, tree))(tree)
    products = [eqn.outvars[0].aval.shape for eqn in program.eqns if "dot" in eqn.primitive.name]
    assert products == [(2, 4, 4), (2, 4, 4), (4, 4), (5, 5)]


def equations(tx, shapes, kinds):
    """How many of these kinds the program of an update has."""
    params = {i: jax.ShapeDtypeStruct(shape, jnp.float64) for i, shape in enumerate(shapes)}
    program = jax.make_jaxpr(tx.update)(params, jax.eval_shape(tx.init, params), params)

    def count(part):
        if isinstance(part, tuple | list):
            return sum(map(count, part))
        body = getattr(part, "jaxpr", part)
        own = [(eqn.primitive.name in kinds) + count(list(eqn.params.values()))
               for eqn in getattr(body, "eqns", ())]  # fmt: skip
        return sum(own)

    return count(program)


@pytest.mark.parametrize(
    ("build", "kinds"), [(muon, {"dot_general"}), (shampoo, {"eigh"}), (soap, {"eigh", "qr"})]
)
def test_what_costs_grows_with_shapes_and_not_with_matrices(build, kinds):
    few = equations(build(0.1), [(3, 5)] * 2, kinds)
    assert few > 0
    assert equations(build(0.1), [(3, 5)] * 9, kinds) == few
    assert equations(build(0.1), [(3, 5)] * 2 + [(6, 6)], kinds) > few


def test_muon_takes_a_matrix_and_its_transpose_as_one_kind():
    both, same = ([(3, 5), (5, 3)], [(3, 5)] * 2)
    assert equations(muon(0.1), both, {"dot_general"}) == equations(
        muon(0.1), same, {"dot_general"}
    )


def test_newton_schulz_is_narrow_on_accelerators_unless_a_precision_is_set():
    coefficients = jnp.array(STANDARD)

    def is_narrow(platform, dtype):
        function = jax.jit(lambda x: orthogonalized(x, coefficients))
        traced = function.trace(jax.ShapeDtypeStruct((3, 5), dtype))
        return "bf16" in traced.lower(lowering_platforms=(platform,)).as_text()

    platforms = {name: is_narrow(name, jnp.float32) for name in ("cpu", "cuda", "rocm", "tpu")}
    assert platforms == {"cpu": False, "cuda": True, "rocm": True, "tpu": True}
    assert not is_narrow("tpu", jnp.float64)
    assert not is_narrow("tpu", jnp.complex64)
    with jax.default_matmul_precision("highest"):
        assert not is_narrow("tpu", jnp.float32)


def test_narrow_newton_schulz_is_as_near_to_orthogonal(key):
    """2%: roundings of 2^-9 in every step; the map itself scatters singular values by 20%."""
    x = jax.random.normal(key, (16, 32), jnp.float32)
    x = x / jnp.linalg.norm(x)
    rows = jnp.broadcast_to(jnp.array(STANDARD, jnp.float32), (5, 3))
    wide, narrow = iterated(x, rows), iterated_narrow(x, rows)
    assert narrow.dtype == jnp.float32
    difference = float(jnp.linalg.norm(narrow - wide) / jnp.linalg.norm(wide))
    assert 1e-5 < difference < 0.02
    values = jnp.linalg.svd(narrow, compute_uv=False)
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.25
