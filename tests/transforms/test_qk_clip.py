"""QK-Clip against NumPy, and what it does to the logits of attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.transforms import apply_updates, chain, qk_clip


RNG = np.random.default_rng(0)
WEIGHTS = {
    "query": {"kernel": RNG.normal(size=(3, 2, 4)), "bias": RNG.normal(size=(2, 4))},
    "key": {"kernel": RNG.normal(size=(3, 2, 4)), "bias": RNG.normal(size=(2, 4))},
    "value": {"kernel": RNG.normal(size=(3, 2, 4))},
}
PARAMS = {"a": WEIGHTS, "b": WEIGHTS, "gain": np.ones(3)}
GRADS = jax.tree.map(lambda x: RNG.normal(size=x.shape), PARAMS)


def clipped(tx, grads, logits, params=PARAMS):
    """The parameters after the update."""
    updates, _ = tx.update(grads, tx.init(params), params, max_logits=logits)
    return apply_updates(jax.tree.map(jnp.asarray, params), updates)


def test_it_is_its_formula():
    """Kimi Team, algorithm 1: after the update of SGD, only the heads above the threshold."""
    tx = chain(sgd(0.1), qk_clip(100.0, 0.3))
    new = clipped(tx, GRADS, {"a": jnp.array([250.0, 99.0])})
    wanted = jax.tree.map(lambda w, g: w - 0.1 * g, PARAMS, GRADS)
    for role, power in (("query", 0.3), ("key", 0.7)):
        for kind in ("kernel", "bias"):
            wanted["a"][role][kind][..., 0, :] *= (100 / 250) ** power
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13), new, wanted)


def test_nothing_changes_below_the_threshold_and_for_logits_that_are_not_finite():
    tx = qk_clip(100.0)
    for logits in ({}, {"a": jnp.array([100.0, -7.0]), "b": jnp.array([jnp.nan, jnp.inf])}):
        updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, max_logits=logits)
        jax.tree.map(np.testing.assert_array_equal, updates, GRADS)


def logits_of(params, x):
    """The largest logits of each head, f[heads], of an attention of Flax."""
    q, k = (
        jnp.einsum("td,dhk->thk", x, params[name]["kernel"]) + params[name]["bias"]
        for name in ("query", "key")
    )
    return jnp.max(jnp.einsum("thk,shk->hts", q, k), (1, 2)) / np.sqrt(q.shape[-1])


def test_the_same_inputs_have_logits_at_the_threshold(key, standard_promotion):
    """An attention of Flax, and the weights of one step; the clip alone moves them."""
    x = jax.random.normal(key, (5, 8))
    model = nn.MultiHeadDotProductAttention(num_heads=2, param_dtype=float, dtype=float)
    params = model.init(key, x)["params"]
    params["query"]["kernel"] = params["query"]["kernel"] * jnp.array([[9.0], [0.1]])
    before = logits_of(params, x)
    assert before[0] > 2.0 > before[1]
    still = jax.tree.map(jnp.zeros_like, params)
    after = clipped(qk_clip(2.0), still, {"": before}, params)
    np.testing.assert_allclose(logits_of(after, x), [2.0, before[1]], rtol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, after["value"], params["value"])


def test_stacked_layers_blocks_and_rotary_queries():
    params = {
        "stack": {"query": {"kernel": np.ones((2, 3, 2, 4))}},
        "blocks": {"key": {"kernel": np.ones((3, 8)), "bias": np.ones(8)}},
        "rotary": np.ones((2, 4)),
    }

    def heads_of(path, leaf):
        names = path.split("/")
        if names[0] == "rotary":
            return "r", "rotary", 0
        return names[0], names[1], -2 if names[0] == "stack" else -1

    still = jax.tree.map(np.zeros_like, params)
    logits = {
        "stack": jnp.array([[400.0, 1.0], [1.0, 1600.0]]),
        "blocks": jnp.array([1.0, 400.0]),
        "r": jnp.array([400.0, 1.0]),
    }
    new = clipped(qk_clip(100.0, heads_of=heads_of), still, logits, params)
    factors = new["stack"]["query"]["kernel"][:, 0, :, 0]
    np.testing.assert_allclose(factors, [[0.5, 1.0], [1.0, 0.25]], rtol=1e-12)
    for leaf in new["blocks"]["key"].values():
        np.testing.assert_allclose(np.atleast_2d(leaf)[0], [1.0] * 4 + [0.5] * 4, rtol=1e-12)
    np.testing.assert_allclose(new["rotary"][:, 0], [0.25, 1.0], rtol=1e-12)
    plain = {"blocks": params["blocks"]}  # the names of Flax alone
    same = clipped(qk_clip(100.0), {"blocks": still["blocks"]}, {"blocks": logits["blocks"]}, plain)
    jax.tree.map(np.testing.assert_array_equal, same["blocks"], new["blocks"])


@pytest.mark.parametrize(
    ("options", "logits", "error", "sentence"),
    [
        ({}, None, TypeError, "qk_clip reads the largest logits: call `update"),
        ({}, {"c": jnp.ones(2)}, ValueError, r"must name layers of the params, \['a', 'b'\].*'c'"),
        ({}, {"a": jnp.ones(3)}, ValueError, "heads of a/key/bias must divide.*got 3 logits"),
        ({"threshold": 0.0}, {}, ValueError, r"qk_clip: `threshold` must lie in \(0, inf\)"),
        ({"alpha": 1.5}, {}, ValueError, r"qk_clip: `alpha` must lie in \[0, 1\]"),
        (
            {"heads_of": lambda path, leaf: ("a", "quey", 0)},
            {"a": jnp.ones(1)},
            ValueError,
            "`role of .*` must be one of query, key, rotary, got 'quey'",
        ),
    ],
)
def test_what_is_wrong_is_said(options, logits, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        clipped(qk_clip(**options), GRADS, logits)
