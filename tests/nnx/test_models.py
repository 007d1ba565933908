"""NNX models compute, bit for bit, what the Linen models compute with their parameters and keys."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxopt_course import nn
from jaxopt_course import nnx as ours
from tests.nn.arrays import normal, variables_of
from tests.nnx.moved import of_linen, of_nnx, put, same_keys
from tests.tiers import everyday_first


CASES = {
    "MLP": {"normalization": "batch", "dropout": (0.1, 0.4)},
    "MLP-after": {"normalization": "layer", "normalization_position": "after", "dropout": 0.2},
    "MLP-plain": {"activation": "tanh"},
    "CNN": {"normalization": "batch", "dropout": 0.2},
    "CNN-layer": {"normalization": "layer", "batch_momentum": 0.5},
}
NORMS = ("BatchNorm_", "LayerNorm_")


def pair(case):
    """The Linen model, the NNX model, an input, and the number of convolutions."""
    options, rngs = CASES[case], nnx.Rngs(0)
    if case.startswith("MLP"):
        x = normal(6, 2, 2, dtype="float32")
        return nn.MLP(3, (8, 5), **options), ours.MLP(4, 3, (8, 5), rngs=rngs, **options), x, 0
    x = normal(6, 5, 7, 2, dtype="float32")
    linen = nn.CNN(3, (4,), (6,), **options)
    return linen, ours.CNN((5, 7, 2), 3, (4,), (6,), rngs=rngs, **options), x, 1


def names_of_nnx(convolutions):
    """A function from the tree of a Linen model to that of the NNX model."""

    def names(tree):
        found = {}
        for name, part in tree.items():
            kind, number = name.split("_")
            place = int(number) + (convolutions if kind == "Dense" else 0)
            layer = "convolutions" if place < convolutions else "hidden"
            place -= 0 if place < convolutions else convolutions
            if f"{kind}_" in NORMS:
                found.setdefault(layer, {}).setdefault(place, {})["norm"] = part
            elif kind == "Dense" and place == last:
                found["last"] = part
            else:
                found.setdefault(layer, {}).setdefault(place, {})["affine"] = part
        return found

    last = 2 if convolutions == 0 else 1
    return names


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", everyday_first(1, CASES))
def test_a_model_is_that_of_linen(case, train, monkeypatch):
    linen, model, x, convolutions = pair(case)
    variables = variables_of(linen, x, train=False)
    names = names_of_nnx(convolutions)
    put(model, names(variables["params"]))
    put(model, names(variables.get("batch_stats", {})))
    model.train() if train else model.eval()
    same_keys(monkeypatch)()
    mask = jnp.array([1, 1, 0, 1, 0, 1], bool)
    expected = of_linen(linen, variables, x, names, train=train, mask=mask)
    chex.assert_trees_all_equal(of_nnx(model, x, mask=mask), expected)


TOKENS = jnp.array([[0, 3, 1, 4, 2, 2], [4, 4, 0, 1, 3, 2]])
OLD = {"dropout": 0.3}
MODERN = {"positions": "rotary", "normalization": "rms", "tied": True, "remat": True}
MIXED = {"dtype": "bfloat16", "positions": "rotary"}


def transformer_names(tree):
    """The tree of a Linen transformer with ``scan`` by the names of NNX."""
    kind = "RMSNorm" if "RMSNorm_0" in tree else "LayerNorm"
    block = tree["blocks"]
    found = {
        "embedding": tree["Embed_0"],
        "norm": tree[f"{kind}_0"],
        "blocks": {
            "attention_norm": block[f"{kind}_0"],
            "mlp_norm": block[f"{kind}_1"],
            "wide": block["Dense_0"],
            "narrow": block["Dense_1"],
            **block["MultiHeadDotProductAttention_0"],
        },
    }
    found |= {"places": tree["places"]} if "places" in tree else {}
    return found | ({"head": tree["Dense_0"]} if "Dense_0" in tree else {})


@pytest.mark.usefixtures("standard_promotion")  # jax's attention in bfloat16 mixes dtypes
@pytest.mark.parametrize("options", everyday_first(1, [MODERN, OLD, MIXED]), ids=str)
def test_a_transformer_is_that_of_linen(options, monkeypatch):
    sizes = {"width": 8, "heads": 2, "blocks": 3, **options}
    linen = nn.Transformer(5, 6, attention="jax", scan=True, **sizes)
    key = jax.random.key(2)
    params = jax.jit(lambda: linen.init(key, TOKENS, train=False))()["params"]
    model = ours.Transformer(5, 6, rngs=nnx.Rngs(0), **sizes)
    put(model, transformer_names(params))
    same_keys(monkeypatch, fixed=True)
    names = lambda tree: transformer_names(tree) if tree else {}
    expected = of_linen(linen, {"params": params}, TOKENS, names, train=True)
    if jax.__version_info__ >= (0, 11):
        chex.assert_trees_all_equal(of_nnx(model, TOKENS), expected)
    else:  # whose compiler rounds the two loops differently
        close = 2e-2 if "dtype" in options else 1e-5
        chex.assert_trees_all_close(of_nnx(model, TOKENS), expected, rtol=close, atol=close / 10)
    model.eval()
    evaluated = linen.apply({"params": params}, TOKENS, train=False)
    chex.assert_trees_all_equal(model(TOKENS), evaluated)


@pytest.mark.exhaustive
def test_the_blocks_of_a_transformer_draw_different_numbers():
    model = ours.Transformer(5, 6, width=8, heads=2, blocks=2, dropout=0.5, rngs=nnx.Rngs(0))
    keys = jax.random.key_data(model.blocks.dropout.rngs.key[...])
    assert not jnp.array_equal(keys[0], keys[1])
    kernels = model.blocks.wide.kernel[...]
    assert not jnp.array_equal(kernels[0], kernels[1])
    assert not jnp.array_equal(model(TOKENS), model(TOKENS))


@pytest.mark.exhaustive
def test_a_traced_rate_passes_through_scanned_and_recomputed_blocks():
    sizes = {"width": 8, "heads": 2, "blocks": 2}

    def apply(rate, remat=True):
        return ours.Transformer(5, 6, dropout=rate, remat=remat, rngs=nnx.Rngs(0), **sizes)(TOKENS)

    kept, dropped = jax.jit(jax.vmap(apply))(jnp.array([0.0, 0.5], "float32"))
    chex.assert_trees_all_close(kept, apply(None), rtol=1e-5, atol=5e-6)
    chex.assert_trees_all_close(dropped, apply(0.5, remat=False), rtol=1e-5, atol=5e-6)
    assert float(jnp.abs(dropped - kept).max()) > 1e-3


def test_options_that_linen_alone_has_are_refused():
    with pytest.raises(TypeError, match="attention"):
        ours.Transformer(5, 8, attention="flax", rngs=nnx.Rngs(0))


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda rngs: ours.MLP(0, 3, rngs=rngs), "^MLP: `inputs` must lie in"),
        (lambda rngs: ours.MLP(2, 3, (0,), rngs=rngs), "^MLP: `hidden` must lie in"),
        (lambda rngs: ours.MLP(2, 3, activation="rellu", rngs=rngs), "Did you mean 'relu'"),
        (
            lambda rngs: ours.MLP(4, 3, rngs=rngs)(jnp.ones((2, 5))),
            "must be `inputs` = 4, got shape",
        ),
        (lambda rngs: ours.MLP(1, 3, rngs=rngs)(jnp.ones(())), "must be `inputs` = 1, got shape"),
        (lambda rngs: ours.CNN((8, 8), 3, rngs=rngs), r"must be \(height, width, channels\), got"),
        (lambda rngs: ours.CNN((8, 8, 1), 3, rngs=rngs)(jnp.ones((8, 8))), "images must have"),
        (lambda rngs: ours.CNN((8, 0, 1), 3, rngs=rngs), "^CNN: `shape` must lie in"),
        (lambda rngs: ours.Transformer(5, 8, width=10, heads=4, rngs=rngs), "must divide `width`"),
    ],
)
def test_bad_fields_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(nnx.Rngs(0))
