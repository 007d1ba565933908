"""Convolutions in canonical form: the same numbers and derivatives, the same program elsewhere.

The oracle is JAX's own convolution, outside of any loop.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import conv_general_dilated

from jaxopt_course.core import canonical_convolutions
from tests.lowered import without_places
from tests.tiers import everyday


NHWC = ("NHWC", "HWIO", "NHWC")
CASES = {  # inputs, kernel, arguments
    "plain": ((4, 7, 6, 3), (3, 2, 3, 5), {}),
    "strides": ((4, 8, 7, 3), (3, 3, 3, 2), {"window_strides": (2, 3)}),
    "kernel dilation": ((2, 9, 9, 3), (3, 2, 3, 2), {"rhs_dilation": (2, 3), "padding": "VALID"}),
    "transposed": ((2, 4, 5, 3), (3, 3, 3, 2), {"lhs_dilation": (2, 2), "padding": [(2, 1)] * 2}),
    "negative padding": ((2, 7, 7, 2), (2, 2, 2, 3), {"padding": [(-1, 2), (1, -2)]}),
    "one by one": ((4, 5, 5, 3), (1, 1, 3, 4), {}),
    "features first": (
        (4, 3, 7, 6),
        (5, 3, 3, 2),
        {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    ),
    "odd layout": (
        (7, 3, 4, 6),
        (3, 5, 2, 3),
        {"dimension_numbers": ("HCNW", "HOWI", "WNHC")},
    ),
    "groups": ((3, 6, 6, 6), (3, 3, 2, 9), {"feature_group_count": 3}),
    "batch groups": ((6, 6, 6, 4), (3, 3, 4, 9), {"batch_group_count": 3}),
    "depthwise": ((3, 6, 5, 4), (3, 2, 1, 4), {"feature_group_count": 4}),
    "depthwise, strides": (
        (3, 8, 7, 4),
        (3, 3, 1, 4),
        {"feature_group_count": 4, "window_strides": (2, 1), "rhs_dilation": (1, 2)},
    ),
    "depthwise, transposed": (
        (3, 4, 4, 4),
        (3, 3, 1, 4),
        {"feature_group_count": 4, "lhs_dilation": (2, 3), "padding": [(2, 0), (-1, 2)]},
    ),
    "depthwise, several a channel": ((3, 6, 5, 4), (3, 3, 1, 8), {"feature_group_count": 4}),
    "depthwise, large kernel": ((2, 9, 9, 2), (9, 9, 1, 2), {"feature_group_count": 2}),
    "depthwise kernel": ((4, 6, 5, 3), (5, 4, 3, 4), {"batch_group_count": 4, "padding": "VALID"}),
    "one axis": ((4, 9, 3), (3, 3, 5), {"dimension_numbers": ("NHC", "HIO", "NHC")}),
    "three axes": (
        (2, 4, 5, 3, 2),
        (2, 3, 2, 2, 3),
        {"dimension_numbers": ("NHWDC", "HWDIO", "NHWDC")},
    ),
    "no axis": ((4, 3), (3, 5), {"dimension_numbers": ("NC", "IO", "NC")}),
    "no example": ((0, 5, 5, 2), (3, 3, 2, 4), {}),
}
DTYPES = {jnp.float16: 5e-3, jnp.bfloat16: 4e-2, jnp.float32: 2e-6, jnp.complex64: 2e-6}


def case(name, dtype=jnp.float64):
    inputs, kernel, given = CASES[name]
    axes = len(inputs) - 2
    numbers = {"window_strides": (1,) * axes, "padding": "SAME", "dimension_numbers": NHWC} | given
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=shape)).astype(dtype) for shape in (inputs, kernel)]
    return lambda x, k: conv_general_dilated(x, k, **numbers), arrays


def in_a_loop(f):
    """``f`` of arrays, computed in a scan of one iteration: inside of what XLA calls a loop."""

    def run(*arrays):
        rows = [x[None] for x in arrays]
        found = jax.lax.scan(lambda _, row: (None, f(*row)), None, rows)[1]
        return jax.tree.map(lambda x: x[0], found)

    return jax.jit(canonical_convolutions(run))


def assert_same(got, expected, tolerance=1e-12):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        scale = np.abs(np.asarray(y, np.complex128)).max(initial=1)
        x, y = np.asarray(x, np.complex128), np.asarray(y, np.complex128)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)


def everything(f):
    """Value, gradients of a function that is not linear, and their slopes along a direction."""

    def of(x, k):
        loss = lambda x, k: jnp.sum(jnp.abs(f(x, k)) ** 2 * 0.5 + jnp.real(f(x, k)))
        gradients = jax.grad(loss, (0, 1))
        _, slopes = jax.jvp(gradients, (x, k), (jnp.cos(x), jnp.sin(k)))
        return f(x, k), gradients(x, k), slopes

    return of


EVERYDAY = ("odd layout", "groups", "depthwise, strides", "depthwise, transposed", "no example")


@pytest.mark.parametrize(
    "name",
    everyday(CASES, EVERYDAY),
)
def test_values_gradients_and_their_slopes_are_those_of_jax(name):
    f, arrays = case(name)
    assert_same(in_a_loop(everything(f))(*arrays), jax.jit(everything(f))(*arrays))


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", ["odd layout", "groups", "depthwise", "depthwise kernel"])
def test_narrow_and_complex_numbers_keep_dtype_and_precision(name, dtype):
    f, arrays = case(name, dtype)
    exact, wide = case(name, jnp.complex128 if dtype == jnp.complex64 else jnp.float64)
    wide = [x.astype(w.dtype) for x, w in zip(arrays, wide, strict=True)]
    got = in_a_loop(f)(*arrays)
    assert got.dtype == dtype
    assert_same(got.astype(wide[0].dtype), exact(*wide), DTYPES[dtype])


@pytest.mark.parametrize("name", ["plain", "depthwise"])
def test_integers_are_summed_in_the_type_that_is_asked_for(name):
    inputs, kernel, given = CASES[name]
    rng = np.random.default_rng(0)
    x, k = (jnp.asarray(rng.integers(-128, 128, s), jnp.int8) for s in (inputs, kernel))
    f = lambda x, k: conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=NHWC, preferred_element_type=jnp.int32, **given
    )
    assert_same(in_a_loop(f)(x, k), jax.jit(f)(x, k), 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("strides", (0, None)),
        ("features first", (None, 0)),
        ("groups", (2, 1)),
        ("depthwise", (0, 0)),
    ],
)
def test_vmap_inside_and_around_agrees_with_jax(name, axes):
    f, arrays = case(name)
    many = [
        x if axis is None else jnp.stack([x, 2 * x, jnp.sin(x)], axis)
        for x, axis in zip(arrays, axes, strict=True)
    ]
    expected = jax.vmap(everything(f), axes)(*many)
    assert_same(in_a_loop(jax.vmap(everything(f), axes))(*many), expected)
    assert_same(jax.vmap(in_a_loop(everything(f)), axes)(*many), expected)


def test_derivatives_through_it_agree_with_jax():
    f, (x, k) = case("strides")
    step = lambda k, _: (k - 0.01 * jax.grad(lambda k: jnp.sum(f(x, k) ** 2))(k), None)
    train = lambda k: jnp.sum(jax.lax.scan(step, k, length=3)[0] ** 2)
    assert_same(jax.grad(canonical_convolutions(train))(k), jax.grad(train)(k))
    forward = jax.jacfwd(canonical_convolutions(train))(k)
    assert_same(forward, jax.grad(train)(k))


def convolutions(compiled):
    """The layouts and batch groups of the convolutions in a program's text."""
    text = compiled.as_text()
    found = re.findall(r"dim_numbers = (\S.*?), window", text)
    groups = re.findall(r"batch_group_count = (\d+)", text)
    assert len(found) == len(groups) == text.count("stablehlo.convolution")
    return set(zip(found, groups, strict=True))


CANONICAL = {("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]", "1")}


def through_everything(k, x):
    """Gradients of convolutions under each primitive that holds a program."""
    conv = lambda k: conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=NHWC)

    @jax.custom_vjp
    def own(k):
        return conv(k)

    own.defvjp(lambda k: (conv(k), k), lambda k, ct: (jax.vjp(conv, k)[1](ct)[0],))
    other = jax.custom_jvp(conv)
    other.defjvp(lambda primals, tangents: jax.jvp(conv, primals, tangents))
    total = lambda k: sum(jnp.sum(f(k) ** 2) for f in (own, other, jax.checkpoint(conv)))
    compiled = jax.jit(jax.grad(total))
    branch = lambda k: jax.lax.cond(k[0, 0, 0, 0] > 0, compiled, jnp.negative, k)
    descend = lambda _, k: k - 0.001 * branch(k)
    return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, descend(*c)), (0, k))[1]


def test_convolutions_are_canonical_under_every_primitive():
    _, (x, k) = case("plain")
    plain = jax.jit(through_everything).lower(k, x)
    canonical = jax.jit(canonical_convolutions(through_everything)).lower(k, x)
    assert convolutions(canonical) == CANONICAL < convolutions(plain)
    assert_same(canonical.compile()(k, x), plain.compile()(k, x))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_for_accelerators_are_unchanged(platform):
    _, (x, k) = case("plain")
    texts = []
    for f in (through_everything, canonical_convolutions(through_everything)):

        def program(k, x, f=f):
            return f(k, x)

        exported = jax.export.export(jax.jit(program), platforms=[platform])(k, x)
        texts.append(without_places(exported.mlir_module()))
    assert texts[0] == texts[1]


def test_a_program_without_convolutions_is_the_same():
    def f(x):
        step = lambda x, _: (jax.jit(jnp.tanh)(x) + jax.nn.relu(x), jax.random.normal(KEY, ()))
        return jax.lax.scan(step, x, length=3)

    KEY = jax.random.key(0)
    assert str(jax.make_jaxpr(canonical_convolutions(f))(1.0)) == str(jax.make_jaxpr(f)(1.0))


def test_effects_happen_names_are_kept_and_programs_cached():
    f, (x, k) = case("plain")
    seen, traced = [], []

    @jax.jit
    @canonical_convolutions
    def run(tree, scale):
        traced.append(1)
        with jax.named_scope("the_layer"):
            y = scale * f(tree["x"], tree["k"])
        jax.debug.callback(lambda y: seen.append(float(y)), y.sum(), ordered=True)
        return {"y": y, "none": None}

    found = run({"x": x, "k": k}, scale=2.0)
    run({"x": x, "k": k}, scale=3.0)
    jax.effects_barrier()
    np.testing.assert_allclose(seen, [found["y"].sum(), 1.5 * found["y"].sum()], rtol=1e-12)
    assert found["none"] is None
    assert len(traced) == 1
    assert "the_layer" in run.lower({"x": x, "k": k}, scale=1.0).compile().as_text()
    assert run.__name__ == "run"


def test_it_may_close_over_traced_values_and_be_called_uncompiled():
    f, (x, k) = case("plain")
    loss = lambda k: canonical_convolutions(lambda x: jnp.sum(f(x, k) ** 2))(x)
    expected = jax.grad(lambda k: jnp.sum(f(x, k) ** 2))(k)
    assert_same(jax.grad(loss)(k), expected)
    assert_same(jax.jit(jax.grad(loss))(k), expected)
