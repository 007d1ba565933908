"""Models of sequences see the past only, and are their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import GRU, Autoencoder, Transformer
from tests.nn.arrays import normal
from tests.tiers import everyday_first


TOKENS = jnp.array([[0, 3, 1, 4, 2, 2], [4, 4, 0, 1, 3, 2]])
CASES = [
    GRU(5, width=8, param_dtype=jnp.float64),
    Transformer(5, length=6, width=8, heads=2, param_dtype=jnp.float64),
    Transformer(
        *(5, 6, 8, 2), param_dtype=jnp.float64, attention="jax", scan=True, positions="rotary"
    ),
]


@pytest.mark.parametrize("model", everyday_first(1, CASES), ids=lambda model: type(model).__name__)
def test_a_place_sees_what_lies_before_it_and_nothing_behind(model, key):
    variables = model.init(key, TOKENS, train=False)
    apply = jax.jit(lambda tokens: model.apply(variables, tokens, train=False))
    logits, changed = apply(TOKENS), apply(TOKENS.at[:, 3].add(-1))
    assert logits.shape == (2, 6, 5)
    assert logits.dtype == jnp.float64
    np.testing.assert_array_equal(logits[:, :3], changed[:, :3])
    assert (jnp.abs(logits[:, 3:] - changed[:, 3:]).max(-1) > 1e-6).all()


def test_a_gru_is_its_formula(key):
    model = CASES[0]
    variables = model.init(key, TOKENS, train=False)
    p = jax.tree.map(np.asarray, variables["params"])
    (cell,) = (value for name, value in p.items() if "GRU" in name or "RNN" in name)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    gate = lambda name, v: v @ cell[name]["kernel"] + cell[name].get("bias", 0)
    h, expected = np.zeros((2, 8)), []
    for place in range(6):
        x = p["Embed_0"]["embedding"][TOKENS[:, place]]
        r, z = (sigmoid(gate(f"i{g}", x) + gate(f"h{g}", h)) for g in "rz")
        n = np.tanh(gate("in", x) + r * gate("hn", h))
        h = (1 - z) * n + z * h
        expected.append(h @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
    ours = model.apply(variables, TOKENS, train=False)
    np.testing.assert_allclose(ours, np.stack(expected, 1), rtol=1e-10, atol=1e-12)


@pytest.mark.exhaustive
def test_the_order_of_tokens_matters_to_a_transformer(key):
    """Without positions its last place would not see in which order the others came."""
    model = CASES[1]
    variables = model.init(key, TOKENS, train=False)
    apply = lambda tokens: model.apply(variables, tokens, train=False)[:, -1]
    swapped = TOKENS[:, jnp.array([1, 0, 2, 3, 4, 5])]
    assert (jnp.abs(apply(TOKENS) - apply(swapped)).max(-1) > 1e-9).any()


@pytest.mark.exhaustive
def test_dropout_of_a_transformer_acts_in_training_only(key):
    model = Transformer(5, length=6, width=8, heads=2, blocks=1, dropout=0.5)
    variables = model.init(key, TOKENS, train=False)
    apply = lambda key: model.apply(variables, TOKENS, train=True, rngs={"dropout": key})
    assert not jnp.array_equal(apply(key), apply(jax.random.fold_in(key, 1)))
    model.apply(variables, TOKENS, train=False)


def test_an_autoencoder_decodes_its_code_into_the_shape_of_its_input(key):
    model = Autoencoder(code=2, hidden=(6, 4), param_dtype=jnp.float64)
    x = normal(3, 4, 4)
    variables = model.init(key, x, train=False)
    p = jax.tree.map(np.asarray, variables["params"])

    def network(part, h):
        for name in sorted(p[part]):
            h = h @ p[part][name]["kernel"] + p[part][name]["bias"]
            h = h if name == sorted(p[part])[-1] else np.tanh(h)
        return h

    code = network("encoder", np.asarray(x).reshape(3, -1))
    encoded = model.apply(variables, x, train=False, method="encode")
    np.testing.assert_allclose(encoded, code, rtol=1e-12)
    decoded = network("decoder", code).reshape(x.shape)
    np.testing.assert_allclose(model.apply(variables, x, train=False), decoded, rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GRU(0), r"GRU: `vocabulary` must lie in \[1, inf\), got 0"),
        (lambda: Transformer(5, length=0), r"Transformer: `length` must lie in \[1, inf\)"),
        (lambda: Transformer(5, 8, width=10, heads=4), "`heads` must divide `width`, 10, got 4"),
        (lambda: Transformer(5, 8, dropout=1.0), r"Transformer: `dropout` must lie in \[0, 1\)"),
        (lambda: Transformer(5, 3).init(jax.random.key(0), TOKENS, train=False),
         "a sequence must have at most `length` = 3 tokens, got 6"),
        (lambda: Autoencoder(0), r"Autoencoder: `code` must lie in \[1, inf\), got 0"),
        (lambda: Autoencoder(1, hidden=(4, 0)), r"Autoencoder: `hidden` must lie in \[1, inf\)"),
        (lambda: Autoencoder(1, activation="rellu"), "Did you mean 'relu'"),
        (lambda: Autoencoder(1, kernel_init="glorot"), "Did you mean 'glorot"),
    ],
)  # fmt: skip
def test_bad_fields_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
