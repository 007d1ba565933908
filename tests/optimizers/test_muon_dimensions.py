"""Which optimizer updates each leaf of eight kinds of networks, against tables written by hand."""

import warnings
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxopt_course as jc
from jaxopt_course.nn import GRU, MLP, Transformer
from jaxopt_course.optimizers import (
    MuonDimensionNumbers,
    describe_muon,
    muon,
    muon_dimensions,
    scale_by_shape,
    two_axis_dimensions,
)
from tests.tiers import everyday_first


def linen(module, inputs, **options):
    """The shapes of the parameters of a Linen module."""
    init = partial(module.init, **options)
    return jax.eval_shape(init, jax.random.key(0), inputs)["params"]


of_ours = partial(linen, train=False)


class ResNet(nn.Module):
    """Two residual blocks, named as in the examples of Flax."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True, name="bn_init")(
            nn.Conv(4, (3, 3), use_bias=False, name="conv_init")(x)
        )
        for filters in (4, 8):
            y = nn.Conv(filters, (3, 3), use_bias=False)(x)
            y = nn.BatchNorm(use_running_average=True)(y)
            x = nn.Conv(filters, (1, 1), use_bias=False, name=f"conv_proj_{filters}")(x) + y
        return nn.Dense(10)(x.mean((1, 2)))


class Stack(nn.Module):
    """Three blocks in a scan, without biases but for the gains of the norm."""

    @nn.compact
    def __call__(self, tokens):
        def block(module, x, _):
            del module
            y = nn.RMSNorm(name="norm")(x)
            x = x + nn.MultiHeadDotProductAttention(2, use_bias=False, name="attention")(y)
            x = x + nn.Conv(8, (3,), use_bias=False, name="conv")(x)
            return nn.Dense(8, use_bias=False, name="down")(
                nn.Dense(16, use_bias=False, name="up")(x)
            ), None

        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, carry):
                return block(self, x, carry)

        x = nn.Embed(7, 8, name="tokens")(tokens)
        axes = {"params": 0}
        x, _ = nn.scan(Block, axes, split_rngs={"params": True}, length=3)(name="blocks")(x, None)
        return nn.Dense(7, use_bias=False, name="lm_head")(x)


class OfNnx(nnx.Module):
    """A block of a transformer and a cell."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((5, 8)))
        self.attention = nnx.MultiHeadAttention(2, 8, 8, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.conv = nnx.Conv(8, 6, (3,), rngs=rngs)
        self.cell = nnx.GRUCell(6, 8, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(8, 7, rngs=rngs)


def module(name, *fields):
    """A class with these fields, registered as Equinox registers its modules."""

    def __init__(self, **values):
        vars(self).update(values)

    kind = type(name, (), {"__init__": __init__})
    jax.tree_util.register_pytree_with_keys(
        kind,
        lambda self: (
            [(jax.tree_util.GetAttrKey(f), getattr(self, f, None)) for f in fields],
            None,
        ),
        lambda _, leaves: kind(**dict(zip(fields, leaves, strict=True))),
    )
    return kind


Linear = module("Linear", "weight", "bias")
Embedding = module("Embedding", "weight")
Conv2d = module("Conv2d", "weight", "bias")
LayerNorm = module("LayerNorm", "weight", "bias")
GRUCell = module("GRUCell", "weight_ih", "weight_hh", "bias", "bias_n")
Network = module("Network", "tokens", "stem", "norm", "cell", "blocks", "layers")


def linear(inputs, outputs):
    return Linear(weight=jnp.ones((outputs, inputs)), bias=jnp.ones(outputs))


def equinox():
    """A tree whose layers are those of Equinox: outputs come first, and a class says what it is."""
    stacked = Linear(weight=jnp.ones((3, 6, 4)), bias=jnp.ones((3, 6)))
    square = Linear(weight=jnp.ones((4, 4)), bias=None)
    return Network(
        tokens=Embedding(weight=jnp.ones((9, 4))),
        stem=Conv2d(weight=jnp.ones((6, 3, 5, 5)), bias=jnp.ones((6, 1, 1))),
        norm=LayerNorm(weight=jnp.ones(4), bias=jnp.ones(4)),
        cell=GRUCell(
            weight_ih=jnp.ones((12, 6)),
            weight_hh=jnp.ones((12, 4)),
            bias=jnp.ones(12),
            bias_n=jnp.ones(4),
        ),
        blocks=[{"proj": stacked}, {"square": square}],
        layers=[linear(4, 8), linear(8, 9)],
    )


NETWORKS = {
    "transformer of Linen": lambda: of_ours(
        Transformer(5, 4, width=16, heads=2, blocks=1), jnp.zeros((1, 4), int)
    ),
    "transformer of Linen in a scan": lambda: linen(Stack(), jnp.zeros((1, 4), int)),
    "NNX": lambda: nnx.state(nnx.eval_shape(OfNnx), nnx.Param),
    "ResNet": lambda: linen(ResNet(), jnp.zeros((1, 8, 8, 3), jnp.float32)),
    "MLP": lambda: of_ours(MLP(10, (24, 16)), jnp.zeros((1, 8))),
    "GRU": lambda: of_ours(GRU(5, 16), jnp.zeros((1, 4), int)),
    "Equinox": equinox,
    "by hand": lambda: [(jnp.ones((3, 4)), jnp.ones(4)), (jnp.ones((4, 2)), jnp.ones(2))],
}

ATTENTION = {
    **{f"{name}.kernel": (0, (1, 2)) for name in ("query", "key", "value")},
    "out.kernel": ((0, 1), 2),
}
SCANNED = {
    **{f"{name}.kernel": (1, (2, 3)) for name in ("query", "key", "value")},
    "out.kernel": ((1, 2), 3),
}

# The leaves that Muon updates, with the axes of their inputs and of their outputs.
BY_MUON = {
    "transformer of Linen": {
        "Dense_0.kernel": (0, 1),
        "Dense_1.kernel": (0, 1),
        **{f"MultiHeadDotProductAttention_0.{name}": axes for name, axes in ATTENTION.items()},
    },
    "transformer of Linen in a scan": {
        "blocks.up.kernel": (1, 2),
        "blocks.down.kernel": (1, 2),
        "blocks.conv.kernel": ((1, 2), 3),
        **{f"blocks.attention.{name}": axes for name, axes in SCANNED.items()},
    },
    "NNX": {
        **{f"attention.{name}": axes for name, axes in ATTENTION.items()},
        "conv.kernel": ((0, 1), 2),
        "cell.dense_h.kernel": (0, 1),
        "cell.dense_i.kernel": (0, 1),
        "layers.0.kernel": (0, 1),
        "layers.1.kernel": (0, 1),
    },
    "ResNet": dict.fromkeys(
        (
            *("conv_init.kernel", "Conv_0.kernel", "Conv_1.kernel"),
            *("conv_proj_4.kernel", "conv_proj_8.kernel"),
        ),
        ((0, 1, 2), 3),
    ),
    "MLP": {"Dense_0.kernel": (0, 1), "Dense_1.kernel": (0, 1)},
    "GRU": {f"GRUCell_0.{gate}.kernel": (0, 1) for gate in ("ir", "iz", "in", "hr", "hz", "hn")},
    "Equinox": {
        "stem.weight": ((1, 2, 3), 0),
        "cell.weight_ih": (1, 0),
        "cell.weight_hh": (1, 0),
        "blocks.0.proj.weight": (2, 1),
        "blocks.1.square.weight": (1, 0),
        "layers.0.weight": (1, 0),
    },
    "by hand": {"0.0": (0, 1)},
}


def dotted(path):
    parts = [str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path]
    return ".".join(parts[:-1] if parts[-1] == "value" else parts)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_routing_is_that_of_the_table(name):
    params = NETWORKS[name]()
    is_spec = lambda x: isinstance(x, MuonDimensionNumbers)
    specs = jax.tree.leaves(muon_dimensions(params), is_leaf=is_spec)
    routing = describe_muon(params)
    paths = [dotted(path) for path, _ in jax.tree.leaves_with_path(params)]
    found = {
        path: tuple(leaf.dimensions)
        for path, leaf in zip(paths, routing, strict=True)
        if leaf.dimensions is not None
    }
    assert found == BY_MUON[name]
    assert list(found.values()) == [tuple(spec) for spec in specs]
    assert all(leaf.is_certain for leaf in routing)


def groups(state):
    """Paths of the leaves that Muon updates, and of those that Adam updates."""
    muons = state.inner_states["muon"].inner_state[0].mu
    adams = state.inner_states["adam"].inner_state[0].mu
    of = lambda tree: {dotted(path) for path, _ in jax.tree.leaves_with_path(tree)}
    return of(muons), of(adams)


@pytest.mark.parametrize("name", everyday_first(1, ["by hand", "Equinox", "NNX"]))
def test_muon_moves_each_leaf_as_alone(name):
    """Also the scale by shape: each leaf has the update that Muon gives it by itself."""
    rng = np.random.default_rng(0)
    grads = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), NETWORKS[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_muon, by_adam = groups(muon(0.1).init(grads))
    assert by_muon == BY_MUON[name].keys()
    assert not by_muon & by_adam

    def update(tx, leaves):
        return tx.update(leaves, tx.init(leaves), leaves)[0]

    @jax.jit
    def both(grads):
        alone = []
        for path, g in jax.tree.leaves_with_path(grads):
            axes = BY_MUON[name].get(dotted(path))
            tx = jc.adamw(0.1, weight_decay=0.0, nesterov=True)
            if axes is not None:
                tx = muon(0.1, muon_weight_dimension_numbers=MuonDimensionNumbers(*axes))
            alone.append(update(tx, g))
        return jax.tree.leaves(update(muon(0.1), grads)), alone

    for ours, alone in zip(*both(grads), strict=True):
        np.testing.assert_allclose(ours, alone, atol=1e-12)


def test_the_scale_by_shape_has_the_outputs_of_attention():
    """out / in is (2 * 3) / 2 of a query kernel (2, 2, 3): sqrt(3) times a half-orthogonal one."""
    rng, params = np.random.default_rng(0), {"query": {"kernel": jnp.zeros((2, 2, 3))}}
    tx = scale_by_shape(muon_dimensions(params))
    (q, _), shape = np.linalg.qr(rng.normal(size=(6, 2))), (2, 2, 3)
    update = tx.update({"query": {"kernel": jnp.asarray(q.T.reshape(shape))}}, tx.init(params))[0]
    update = update["query"]["kernel"]
    matrix = np.asarray(update).reshape(2, 6)
    np.testing.assert_allclose(matrix @ matrix.T, 3 * np.eye(2), atol=1e-9)


def test_leaves_that_are_not_recognized_are_named_in_one_warning():
    params = {"rows": jnp.ones((4, 3)), "cube": jnp.ones((2, 3, 4)), "gain": jnp.ones(5)}
    with pytest.warns(UserWarning, match="muon: the role of") as caught:
        state = muon(0.1).init(params)
    assert len(caught) == 1
    assert "['cube'], ['rows'] is not recognized" in str(caught[0].message)
    assert groups(state)[0] == {"rows"}
    given = muon(0.1, muon_weight_dimension_numbers=two_axis_dimensions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given.init(params)


def test_the_description_is_a_table():
    params = {"head": {"kernel": jnp.ones((4, 9))}, "cube": jnp.ones((2, 3, 4))}
    assert str(describe_muon(params)).splitlines() == [
        "leaf                shape      updated by  role",
        "['cube']            (2, 3, 4)  AdamW       other (not recognized)",
        "['head']['kernel']  (4, 9)     AdamW       output layer",
    ]


def test_two_axis_dimensions_are_the_default_of_optax(standard_promotion):
    params = {"embedding": jnp.ones((3, 4)), "bias": jnp.ones((2, 3)), "cube": jnp.ones((2, 3, 4))}
    grads = jax.tree.map(lambda x: x * jnp.arange(1.0, x.size + 1).reshape(x.shape), params)
    ours = muon(0.1, muon_weight_dimension_numbers=two_axis_dimensions)
    theirs = optax.contrib.muon(0.1)
    both = jax.jit(lambda g: [tx.update(g, tx.init(g), g)[0] for tx in (ours, theirs)])
    updates = both(grads)
    for a, b in zip(*map(jax.tree.leaves, updates), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_thousand_leaves_are_recognized():
    layer = {"kernel": np.ones((2, 2)), "bias": np.ones(2)}
    params = {f"block_{i}": {f"Dense_{j}": layer for j in range(5)} for i in range(100)}
    assert sum(leaf.dimensions is not None for leaf in describe_muon(params)) == 500
