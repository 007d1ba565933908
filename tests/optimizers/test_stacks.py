"""Leaves of equal shape are computed as one batch: the same numbers from a smaller program."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import (
    MuonDimensionNumbers,
    muon,
    orthogonalized,
    shampoo,
    soap,
)


STANDARD = (3.4445, -4.7750, 2.0315)
STEPS = 4
SHAPES = {
    **{f"wide{i}": (3, 5) for i in range(3)},
    **{f"tall{i}": (5, 3) for i in range(2)},
    **{f"batch{i}": (2, 4, 3) for i in range(2)},
    **{f"bias{i}": (5,) for i in range(2)},
    "alone": (4, 4),
    "wide, float32": (3, 5),
}


def specs(names):
    return {name: MuonDimensionNumbers(-2, -1) if len(SHAPES[name]) > 1 else None for name in names}


TRANSFORMATIONS = {
    "muon": lambda names: muon(0.1, muon_weight_dimension_numbers=specs(names)),
    "muon, adaptive": lambda names: muon(
        0.1, adaptive=True, preconditioning="aol", muon_weight_dimension_numbers=specs(names)
    ),
    "shampoo": lambda names: shampoo(0.1, preconditioning_period=2),
    "soap": lambda names: soap(0.1, precondition_frequency=2),
}


def gradients(count):
    rng = np.random.default_rng(0)
    draw = lambda name, shape: jnp.array(
        rng.normal(size=(count, *shape)), jnp.float32 if "float32" in name else jnp.float64
    )
    return {name: draw(name, shape) for name, shape in SHAPES.items()}


def trajectory(tx, grads):
    """The updates of every step, and the last state."""
    params = jax.tree.map(lambda g: jnp.ones_like(g[0]), grads)

    def body(state, own):
        updates, state = tx.update(own, state, params)
        return state, updates

    return jax.jit(lambda grads: jax.lax.scan(body, tx.init(params), grads))(grads)


def parts_of(tree, name):
    """``tree``, in which every dictionary by parameters is replaced by its entry ``name``."""
    is_by_name = lambda node: isinstance(node, dict) and name in node
    return jax.tree.map(lambda x: x[name] if is_by_name(x) else x, tree, is_leaf=is_by_name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_stacked_updates_are_those_leaf_by_leaf(name):
    """To the roundings of sums in another order, which five steps of slope 3.4 amplify."""
    build, grads = TRANSFORMATIONS[name], gradients(STEPS)
    together = trajectory(build(grads), grads)
    for leaf, own in grads.items():
        alone = trajectory(build([leaf]), {leaf: own})
        rounding = 1e-9 if own.dtype == jnp.float64 else 1e-3
        found = parts_of(together, leaf)
        chex.assert_trees_all_close(found, parts_of(alone, leaf), rtol=rounding, atol=rounding / 10)
        chex.assert_trees_all_equal_shapes_and_dtypes(found, parts_of(alone, leaf))


def equations_of(part):
    """All equations of a program, those of its parts included."""
    if isinstance(part, tuple | list):
        return [eqn for inner in part for eqn in equations_of(inner)]
    own = list(getattr(getattr(part, "jaxpr", part), "eqns", ()))
    return own + [eqn for outer in own for eqn in equations_of(list(outer.params.values()))]


def program_of(tx, shapes, dtype=jnp.float64):
    """The equations of an update of parameters of these shapes."""
    params = {i: jax.ShapeDtypeStruct(shape, dtype) for i, shape in enumerate(shapes)}
    return equations_of(jax.make_jaxpr(tx.update)(params, jax.eval_shape(tx.init, params), params))


def muon_of_all(rate):
    return muon(rate, muon_weight_dimension_numbers=MuonDimensionNumbers())


def equations(tx, shapes, kinds):
    """How many of these kinds the program of an update has."""
    return sum(eqn.primitive.name in kinds for eqn in program_of(tx, shapes))


def test_a_stack_holds_at_most_4_mib_and_a_larger_leaf_is_alone():
    shapes = [(512, 1024)] * 5 + [(1024, 2048)]  # of 2 MiB and of 8 MiB in float32
    program = program_of(muon_of_all(0.1), shapes, jnp.float32)
    products = [eqn.outvars[0].aval.shape for eqn in program if eqn.primitive.name == "dot_general"]
    assert set(products) == {
        *((2, 512, 512), (2, 512, 1024), (512, 512), (512, 1024)),
        *((1024, 1024), (1024, 2048)),
    }
    iterated = [shape for shape in products if shape[-2:] == (512, 1024)]
    assert iterated.count((2, 512, 1024)) == 2 * iterated.count((512, 1024))  # two, two, one


@pytest.mark.parametrize(
    ("build", "kinds"),
    [(muon_of_all, {"dot_general"}), (shampoo, {"eigh"}), (soap, {"eigh", "qr"})],
)
def test_what_costs_grows_with_shapes_and_not_with_matrices(build, kinds):
    few = equations(build(0.1), [(3, 5)] * 2, kinds)
    assert few > 0
    assert equations(build(0.1), [(3, 5)] * 9, kinds) == few
    assert equations(build(0.1), [(3, 5)] * 2 + [(6, 6)], kinds) > few


def test_muon_takes_a_matrix_and_its_transpose_as_one_kind():
    both, same = ([(3, 5), (5, 3)], [(3, 5)] * 2)
    assert equations(muon_of_all(0.1), both, {"dot_general"}) == equations(
        muon_of_all(0.1), same, {"dot_general"}
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


def test_narrow_newton_schulz_is_as_near_to_orthogonal(key, monkeypatch):
    """Within 2 %: each step rounds to 2^-9, and the map itself scatters singular values by 20 %."""
    x = jax.random.normal(key, (16, 32), jnp.float32)
    wide = orthogonalized(x, jnp.array(STANDARD))
    # the branch for a TPU, computed here
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, tpu, **_: tpu(*args))
    narrow = orthogonalized(x, jnp.array(STANDARD))
    assert narrow.dtype == jnp.float32
    difference = float(jnp.linalg.norm(narrow - wide) / jnp.linalg.norm(wide))
    assert 1e-5 < difference < 0.02
    values = jnp.linalg.svd(narrow, compute_uv=False)
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.25
