"""The transformer and its parts are their formulas, and its options change what they say only."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import Transformer, causal_attention, rotary
from tests.nn.arrays import normal


TOKENS = jnp.array([[0, 3, 1, 4, 2, 2], [4, 4, 0, 1, 3, 2]])
SIZES = {"vocabulary": 5, "length": 6, "width": 8, "heads": 2, "blocks": 3, "attention": "jax"}
MODERN = {"positions": "rotary", "normalization": "rms", "tied": True}


def test_rotary_positions_are_complex_rotations():
    x = normal(2, 7, 3, 10)
    turns = 10_000.0 ** (-np.arange(0, 10, 2) / 10)
    phases = np.exp(1j * np.arange(7)[:, None] * turns)[:, None]
    turned = (np.asarray(x[..., :5]) + 1j * np.asarray(x[..., 5:])) * phases
    expected = np.concatenate([turned.real, turned.imag], -1)
    np.testing.assert_allclose(rotary(x), expected, rtol=1e-12, atol=1e-12)


def test_products_of_rotated_vectors_depend_on_their_distance():
    q, k = (jnp.broadcast_to(normal(8, seed=s), (1, 9, 1, 8)) for s in (0, 1))
    products = jnp.einsum("bqhd,bkhd->qk", rotary(q), rotary(k))
    for distance in range(-8, 9):
        diagonal = jnp.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-9)
    assert abs(products[0, 0] - products[0, 3]) > 1e-3


def test_causal_attention_is_that_of_flax():
    q, k, v = (normal(2, 5, 3, 4, dtype="float32", seed=s) for s in range(3))
    mask = linen.make_causal_mask(jnp.zeros((2, 5)), dtype=bool)
    expected = linen.dot_product_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(causal_attention(q, k, v), expected, rtol=2e-6, atol=2e-6)


def stacked(params, blocks, norm):
    """The parameters of an unrolled transformer, as those of one with ``scan``."""
    numbers = {norm: 2, "Dense": 2, "MultiHeadDotProductAttention": 1}
    several = lambda kind, i, every: [params[f"{kind}_{b * every + i}"] for b in range(blocks)]
    found = {
        f"{kind}_{i}": jax.tree.map(lambda *x: jnp.stack(x), *several(kind, i, every))
        for kind, every in numbers.items()
        for i in range(every)
    }
    rest = {name: part for name, part in params.items() if name in ("places", "Embed_0")}
    rest[f"{norm}_0"] = params[f"{norm}_{2 * blocks}"]
    if f"Dense_{2 * blocks}" in params:
        rest["Dense_0"] = params[f"Dense_{2 * blocks}"]
    return rest | {"blocks": found}


def value_and_grad(model, params):
    loss = lambda p: jnp.square(model.apply({"params": p}, TOKENS, train=False)).sum()
    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [MODERN, {}, {"attention": "flax"}])
def test_blocks_in_a_scan_are_the_blocks_one_by_one(options, key):
    sizes, norm = SIZES | options, "RMSNorm" if options == MODERN else "LayerNorm"
    flat, scanned = Transformer(**sizes), Transformer(**sizes, scan=True)
    params = flat.init(key, TOKENS, train=False)["params"]
    shapes = jax.eval_shape(lambda: scanned.init(key, TOKENS, train=False)["params"])
    together = stacked(params, 3, norm)
    assert jax.tree.map(jnp.shape, together) == jax.tree.map(jnp.shape, shapes)
    loss, grads = value_and_grad(flat, params)
    # Sums in another order are rounded relative to the largest gradient.
    largest = max(np.abs(x).max() for x in jax.tree.leaves(grads))
    for model in (scanned, Transformer(**sizes, scan=True, remat=True)):
        same, same_grads = value_and_grad(model, together)
        np.testing.assert_allclose(same, loss, rtol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6 * largest),
            *(same_grads, stacked(grads, 3, norm)),
        )
    recomputed, _ = value_and_grad(Transformer(**sizes, remat=True), params)
    np.testing.assert_allclose(recomputed, loss, rtol=1e-5)


def test_depth_does_not_lengthen_the_program_of_a_scan(key):
    def length(blocks, **options):
        model = Transformer(**SIZES | {"blocks": blocks}, **options)
        loss = lambda p: model.apply(p, TOKENS, train=False).sum()
        shapes = jax.eval_shape(lambda: model.init(key, TOKENS, train=False))
        return len(str(jax.make_jaxpr(jax.grad(loss))(shapes)).splitlines())

    assert length(2, scan=True) == length(24, scan=True)
    assert length(8) > 2 * length(2)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("standard_promotion")  # jax's attention in bfloat16 mixes dtypes
@pytest.mark.parametrize("scan", [False, True])
def test_the_computation_may_be_in_bfloat16(scan, key):
    model = Transformer(**SIZES, **MODERN, scan=scan, dtype="bfloat16")
    variables = model.init(key, TOKENS, train=False)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    narrow = model.apply(variables, TOKENS, train=False)
    assert narrow.dtype == jnp.bfloat16
    wide = Transformer(**SIZES, **MODERN, scan=scan).apply(variables, TOKENS, train=False)
    largest = float(jnp.abs(wide).max())
    np.testing.assert_allclose(narrow.astype("float32"), wide, atol=0.05 * largest)


def test_a_tied_head_is_the_embedding(key):
    model = Transformer(**SIZES | {"blocks": 0}, **MODERN)
    params = model.init(key, TOKENS, train=False)["params"]
    assert {*params} == {"Embed_0", "RMSNorm_0"}
    embedding = params["Embed_0"]["embedding"]
    h = embedding[TOKENS]
    h = h / jnp.sqrt(jnp.square(h).mean(-1, keepdims=True) + 1e-6)
    logits = model.apply({"params": params}, TOKENS, train=False)
    np.testing.assert_allclose(logits, h @ embedding.T, rtol=1e-5, atol=1e-6)


@pytest.mark.exhaustive
def test_the_rate_of_a_scan_may_be_traced(key):
    make = lambda rate: Transformer(**SIZES, **MODERN, scan=True, remat=True, dropout=rate)
    variables = make(None).init(key, TOKENS, train=False)
    rngs = {"dropout": key}
    train = lambda rate: make(rate).apply(variables, TOKENS, train=True, rngs=rngs)
    traced = jax.jit(jax.vmap(train))(jnp.array([0.0, 0.5], "float32"))
    evaluated = make(None).apply(variables, TOKENS, train=False)
    np.testing.assert_allclose(traced[0], evaluated, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(traced[1], train(0.5), rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(traced[1] - traced[0]).max()) > 1e-3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"positions": "sinus"}, "`positions` must be one of learned, rotary, got 'sinus'"),
        ({"normalization": "batch"}, "`normalization` must be one of layer, rms"),
        ({"attention": "flash"}, "`attention` must be one of flax, jax"),
        ({"width": 6, "positions": "rotary"}, "`width` / `heads` must be even .*, got 6 / 2"),
    ],
)
def test_bad_fields_of_a_transformer_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=f"^Transformer: {sentence}"):
        Transformer(**SIZES | options)
