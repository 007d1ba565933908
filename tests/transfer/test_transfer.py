"""Multipliers of muP and CompleteP: against the package ``mup``, the tables, and training."""

import itertools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxopt_course.nn import MLP, Transformer
from jaxopt_course.optimizers import MuonDimensionNumbers, adamw, scale_by_shape, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.transfer import Multipliers, completep, mup, scale_init, with_multipliers
from jaxopt_course.transforms import add_decayed_weights, chain
from tests.transfer.record_mup import BASE, DECAY, INPUTS, OUTPUTS, RATE, STEPS, WIDTHS, data


RECORDED = json.loads((pathlib.Path(__file__).parent / "mup.json").read_text())
LAYERS = ("layer_0", "layer_1", "layer_2")


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def network(first, second):
    sizes = (INPUTS, first, second, OUTPUTS)
    return {
        name: {"kernel": shape(*pair), "bias": shape(pair[1])}
        for name, pair in zip(LAYERS, itertools.pairwise(sizes), strict=True)
    }


# The package mup 1.0.0


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (
            "adam",
            lambda m: adamw(RATE * m.learning_rate, eps=0.0, weight_decay=DECAY * m.weight_decay),
        ),
        (
            "sgd",
            lambda m: chain(
                add_decayed_weights(DECAY * m.weight_decay),
                sgd(RATE * m.learning_rate, momentum=0.9),
            ),
        ),
    ],
)
def test_a_training_has_the_losses_of_the_package(kind, build):
    """With the weights that its output layer multiplies multiplied, in float64."""
    inputs, targets = data()

    def loss(params):
        h = inputs
        for name in LAYERS:
            h = h @ params[name]["kernel"] + params[name]["bias"][None]
            h = h if name == LAYERS[-1] else jnp.tanh(h)
        return jnp.mean((h - targets) ** 2)

    tx = with_multipliers(build, mup(network(*BASE), network(*WIDTHS), kind))
    is_list = lambda x: isinstance(x, list)
    params = jax.tree.map(jnp.asarray, RECORDED["start"], is_leaf=is_list)

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    _, losses = jax.lax.scan(step, (params, tx.init(params)), length=STEPS)
    theirs = RECORDED["adamw" if kind == "adam" else kind]
    np.testing.assert_allclose(losses, theirs, rtol=1e-10)


@pytest.mark.parametrize("initializer", RECORDED["initial_scale"])
def test_initial_scales_are_those_of_the_package(initializer):
    found = mup(network(*BASE), network(*WIDTHS), initializer=initializer)
    scales = [found[name]["kernel"].initial_scale for name in LAYERS]
    np.testing.assert_allclose(scales, RECORDED["initial_scale"][initializer], rtol=1e-10)
    assert all(found[name]["bias"].initial_scale == 1 for name in LAYERS)


# The tables of the papers


def transformer(width, heads):
    """Shapes as Flax has them, with heads of 16 entries and blocks stacked by a scan."""
    return {
        "Embed": {"embedding": shape(256, width)},
        "blocks": {
            "LayerNorm": {"scale": shape(8, width)},
            "query": {"kernel": shape(8, width, heads, 16), "bias": shape(8, heads, 16)},
            "out": {"kernel": shape(8, heads, 16, width), "bias": shape(8, width)},
            "up": {"kernel": shape(8, width, 4 * width)},
        },
        "norm": {"scale": shape(width)},
        "head": {"kernel": shape(width, 256), "bias": shape(256)},
    }


HIDDEN = {("query", "kernel"), ("out", "kernel"), ("up", "kernel")}


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_completep_is_its_table(alpha):
    """Table 1 for AdamW, with the multiplier of the unembedding, 1 / m, moved to its weights."""
    m, depth = 4, 3
    blocks = lambda params: {name: name == "blocks" for name in params}
    found = completep(
        transformer(64, 4), transformer(256, 16), depth, blocks, alpha=alpha, initializer="constant"
    )
    ratio = depth ** (alpha - 1)
    vector, block_eps = Multipliers(eps=1 / m), depth**-alpha / m
    in_block = Multipliers(ratio, block_eps)
    hidden = Multipliers(ratio / m, block_eps, m, m**-0.5)
    expected = {
        "Embed": {"embedding": vector},
        "blocks": {
            "LayerNorm": {"scale": in_block},
            "query": {"kernel": hidden, "bias": in_block},
            "out": {"kernel": hidden, "bias": in_block},
            "up": {"kernel": hidden},
        },
        "norm": {"scale": vector},
        "head": {"kernel": Multipliers(1 / m, 1.0, m, 1 / m), "bias": Multipliers()},
    }
    chex.assert_trees_all_close(found, expected, rtol=1e-12)


def test_sgd_follows_the_derivative_of_the_depth():
    """The function that the branches of all blocks add changes equally at every depth.

    Each branch is multiplied by r^-a, and so are its gradients. With the rate r^(2a-1) their sum
    over r times as many blocks changes by r r^-a r^(2a-1) r^-a = 1.
    """
    base, target = ({"w": shape(n, n)} for n in (8, 16))
    found = completep(base, target, 4, True, "sgd", alpha=0.75)["w"]
    np.testing.assert_allclose(4 * 4**-0.75 * found.learning_rate * 4**-0.75, 1, rtol=1e-12)


def test_muon_has_the_spectral_norm_of_the_target():
    """A step's spectral norm is the base's times sqrt(n / m), for square, tall and wide leaves."""
    leaves = {"square": (8, 8), "tall": (8, 2), "wide": (4, 12), "output": (16, 3)}
    growth = {"square": (2, 2), "tall": (2, 4), "wide": (3, 1.5), "output": (2, 1)}
    larger = {
        name: tuple(int(s * g) for s, g in zip(leaves[name], growth[name], strict=True))
        for name in leaves
    }
    found = mup(*({n: shape(*s) for n, s in sizes.items()} for sizes in (leaves, larger)), "muon")

    def norms(sizes):
        """With singular values of exactly 1."""
        tx = scale_by_shape()
        unit = {name: jnp.eye(*s) for name, s in sizes.items()}
        scaled = tx.update(unit, tx.init(unit))[0]
        return {name: np.linalg.norm(x, 2) for name, x in scaled.items()}

    before, after = norms(leaves), norms(larger)
    for name, (m, n) in growth.items():
        wanted = before[name] * np.sqrt(n / m)
        np.testing.assert_allclose(after[name] * found[name].learning_rate, wanted, rtol=1e-12)
    kinds = {"w": "muon", "b": "muon"}
    vector = mup({"w": shape(4, 4), "b": shape(4)}, {"w": shape(8, 8), "b": shape(8)}, kinds)["b"]
    assert vector == Multipliers(eps=0.5)


# How axes are recognized


def test_nothing_changes_at_the_base():
    for kind in ("adam", "sgd", "muon"):
        found = mup(transformer(64, 4), transformer(64, 4), kind)
        for own in jax.tree.leaves(found, is_leaf=lambda x: isinstance(x, Multipliers)):
            assert own == Multipliers()


def test_models_of_linen_and_nnx_have_the_same_multipliers():
    init = lambda width: jax.eval_shape(
        lambda key: MLP(10, (width, width)).init(key, jnp.zeros((1, 64)), train=False)["params"],
        jax.random.key(0),
    )
    linen = mup(init(16), init(32), "sgd")

    class Net(nnx.Module):
        def __init__(self, width, rngs):
            self.a = nnx.Linear(64, width, rngs=rngs)
            self.b = nnx.Linear(width, width, rngs=rngs)
            self.c = nnx.Linear(width, 10, rngs=rngs)

    of_nnx = lambda width: jax.eval_shape(
        lambda: nnx.state(Net(width, rngs=nnx.Rngs(0)), nnx.Param)
    )
    found = mup(of_nnx(16), of_nnx(32), "sgd")
    is_multipliers = lambda x: isinstance(x, Multipliers)
    leaves = lambda tree: jax.tree.leaves(tree, is_leaf=is_multipliers)
    assert leaves(found) == leaves(linen)
    assert [own.learning_rate for own in leaves(linen)] == [2, 2, 2, 1, 1, 0.5]


def test_a_transformer_of_this_library_needs_no_dimensions():
    make = lambda width, heads: Transformer(vocabulary=32, length=8, width=width, heads=heads)
    init = lambda *sizes: jax.eval_shape(
        lambda key: make(*sizes).init(key, jnp.zeros((1, 8), int), train=False)["params"],
        jax.random.key(0),
    )
    found = mup(init(16, 2), init(64, 8))
    rates = {
        jax.tree_util.keystr(path): own.learning_rate
        for path, own in jax.tree.leaves_with_path(found, is_leaf=lambda x: hasattr(x, "eps"))
    }
    assert set(rates.values()) == {1.0, 0.25}


def test_dimensions_tell_what_shapes_do_not():
    base, target = ({"w": shape(2, n, n, n // 2)} for n in (4, 8))
    with pytest.raises(ValueError, match=r"mup: `dimensions` must say .* at \['w'\], whose shapes"):
        mup(base, target)
    spec = MuonDimensionNumbers((0, 1), (-2, -1))
    assert mup(base, target, "sgd", dimensions={"w": spec})["w"].learning_rate == 2
    assert mup(base, target, "sgd", dimensions=lambda params: {"w": spec})["w"].learning_rate == 2


# Training


WIDTH, CLASSES, BASE_DEPTH, TAKEN = 32, 4, 2, 5
BUILD = {  # Adam's eps is about as large as its gradients at the base depth
    "adam": lambda m: adamw(
        0.006 * m.learning_rate, eps=0.02 * m.eps, weight_decay=0.1 * m.weight_decay
    ),
    "sgd": lambda m: sgd(0.3 * m.learning_rate),
}


def moved(depth, kind, alpha):
    """By how much steps change the outputs of the last block, as a root mean square.

    ``alpha`` is None for the standard parametrization. A branch is a linear map, tanh, and a linear
    map that starts at 0, so that all depths start with the same function.
    """
    ratio = depth / BASE_DEPTH
    multiplier = 1.0 if alpha is None else ratio**-alpha

    def last_block(params, inputs):
        branch = lambda h, own: jnp.tanh(h @ own["first"]) @ own["last"]
        add = lambda h, own: (h + multiplier * branch(h, own), None)
        return jax.lax.scan(add, inputs, params["blocks"])[0]

    def loss(params, inputs):
        targets = jnp.sign(inputs[:, :CLASSES] * inputs[:, CLASSES : 2 * CLASSES])
        return jnp.mean((last_block(params, inputs) @ params["head"] - targets) ** 2)

    @jax.jit
    def run():
        keys = jax.random.split(jax.random.key(0), 3)
        inputs = jax.random.normal(keys[0], (64, WIDTH))
        first = jax.random.normal(keys[1], (depth, WIDTH, WIDTH)) / WIDTH**0.5
        head = jax.random.normal(keys[2], (WIDTH, CLASSES)) / WIDTH**0.5
        params = {"blocks": {"first": first, "last": jnp.zeros_like(first)}, "head": head}
        blocks = {"blocks": True, "head": False}
        tx = BUILD[kind](Multipliers())
        if alpha is not None:
            multipliers = completep(params, params, ratio, blocks, kind, alpha=alpha)
            tx = with_multipliers(BUILD[kind], multipliers)

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params, inputs), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=TAKEN)
        return jnp.sqrt(jnp.mean((last_block(params, inputs) - inputs) ** 2))

    return float(run())


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_last_block_moves_about_equally_at_every_depth(kind):
    """In the standard parametrization it moves further in a deeper network."""
    shallow = moved(BASE_DEPTH, kind, 1.0)
    for alpha in (0.5, 1.0):
        assert 1 / 1.4 < moved(8 * BASE_DEPTH, kind, alpha) / shallow < 1.4
    assert moved(8 * BASE_DEPTH, kind, None) > 2 * shallow


# Use


def test_groups_get_their_own_optimizers_with_traced_and_scheduled_rates():
    base, target = network(*BASE), network(*WIDTHS)
    multipliers = mup(base, target)
    params = jax.tree.map(lambda x: jnp.ones(x.shape), target)

    def updates(rate):
        build = lambda m: sgd(lambda step: rate * m.learning_rate * jnp.where(step == 0, 1.0, 0.5))
        tx = with_multipliers(build, multipliers)
        return tx.update(params, tx.init(params), params)[0]

    found = jax.jit(updates)(0.5)
    is_multipliers = lambda x: isinstance(x, Multipliers)
    wanted = jax.tree.map(
        lambda own, p: -0.5 * own.learning_rate * p, multipliers, params, is_leaf=is_multipliers
    )
    chex.assert_trees_all_close(found, wanted)


def test_a_task_starts_with_scaled_parameters():
    model = MLP(3, (8, 8), kernel_init="he_normal")
    task = linen_task(model, jnp.zeros((1, 4)), problem("multiclass"))
    shapes = lambda width: jax.eval_shape(
        lambda key: MLP(3, (width, width)).init(key, jnp.zeros((1, 4)), train=False)["params"],
        jax.random.key(0),
    )
    scaled = scale_init(task, mup(shapes(2), shapes(8)))
    key = jax.random.key(1)
    (before, _), (after, _) = task.init(key), scaled.init(key)
    np.testing.assert_allclose(after["Dense_1"]["kernel"], before["Dense_1"]["kernel"])
    np.testing.assert_allclose(after["Dense_2"]["kernel"], before["Dense_2"]["kernel"] / 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, b: mup(a, {"v": a["w"]}), ValueError, "mup: `base` must have the structure of"),
        (lambda a, b: mup(a, {"w": shape(4)}), ValueError, "a leaf must have the same axes in"),
        (lambda a, b: mup(a, b, "adamw"), ValueError, "`kind` must be one of adam, sgd, muon"),
        (lambda a, b: mup(a, b, initializer="he"), ValueError, "`initializer` must be one of"),
        (lambda a, b: mup(a, b, {"v": "sgd"}), ValueError, "`kind` must be a tree shaped like"),
        (lambda a, b: completep(a, b, 0, True), ValueError, r"`depth_ratio` must lie in \(0, inf"),
        (lambda a, b: completep(a, b, 2, True, alpha=2), ValueError, r"`alpha` must lie in \[0.5"),
        (
            lambda a, b: jax.jit(lambda r: completep(a, b, r, True)["w"].eps)(2.0),
            TypeError,
            "completep: `depth_ratio` is static, got a traced value",
        ),
        (
            lambda a, b: with_multipliers(lambda m: sgd(0.1), {"w": 1.0}),
            TypeError,
            "with_multipliers: the leaves of `multipliers` must be Multipliers, got 1.0",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call({"w": shape(4, 4)}, {"w": shape(8, 8)})
