import json

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxopt_course.initializers import initializer
from jaxopt_course.nn import CNN, MLP, Maxout
from tests.nn.arrays import normal, variables_of


MODELS = {"MLP": MLP(3, hidden=(8, 6)), "CNN": CNN(3, channels=(2,), dense=(6,))}
SHAPES = {"MLP": (5, 4), "CNN": (5, 8, 8)}


@pytest.fixture(params=MODELS)
def case(request):
    return MODELS[request.param], normal(*SHAPES[request.param], dtype=jnp.float32)


def biases(params):
    return {path[0] for path in flatten_dict(params) if path[-1] == "bias"}


@pytest.mark.parametrize(
    "model, shape",
    [
        (MLP(3), (5, 4)),
        (MLP(3, hidden=()), (5, 4)),
        (MLP(3, hidden=(7,)), (5, 4, 2)),
        (CNN(3), (5, 8, 8)),
        (CNN(3, channels=(2, 3, 4, 5, 6)), (5, 8, 8, 3)),
        (CNN(3, channels=(2,), dense=()), (5, 7, 9, 1)),
    ],
)
def test_outputs_have_the_shape_asked_for(model, shape, key):
    """Course 2, smaller models: as few layers and units as one likes, down to a linear map."""
    x = jnp.ones(shape, jnp.float32)
    y, variables = jax.eval_shape(lambda: model.init_with_output(key, x, train=False))
    assert y.shape == (5, 3)
    assert set(variables) == {"params"}


def test_mlp_is_its_formula():
    model, x = MLP(2, hidden=(4,), activation="tanh"), normal(5, 3)
    variables = variables_of(model, x, train=False)
    p = jax.tree.map(np.asarray, variables["params"])
    x = np.asarray(x)
    hidden = np.tanh(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
    expected = hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]
    np.testing.assert_allclose(model.apply(variables, x, False), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalization_stands_where_it_is_asked_to(normalization, position, activation):
    x = normal(64, 3, dtype=jnp.float32)
    model = MLP(2, (5,), activation, normalization=normalization, normalization_position=position)
    variables = variables_of(model, x, train=False)
    _, state = model.apply(
        variables, x, True, capture_intermediates=True, mutable=["intermediates", "batch_stats"]
    )
    names = {"batch": "BatchNorm_0", "layer": "LayerNorm_0"}
    inner = state["intermediates"]
    normalized = inner[names[normalization]]["__call__"][0]
    last = jax.nn.relu(normalized) if position == "before" else normalized
    if activation == "tanh" and position == "before":
        last = jnp.tanh(normalized)
    output = variables["params"]["Dense_1"]
    expected = np.asarray(last) @ np.asarray(output["kernel"]) + np.asarray(output["bias"])
    np.testing.assert_allclose(inner["__call__"][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["before", "after"])
def test_no_map_has_a_bias_that_batch_norm_would_take_away(case, position):
    model, x = case
    model = model.clone(normalization="batch", normalization_position=position)
    variables = variables_of(model, x, train=False)
    maps = {name for name in variables["params"] if name.startswith(("Dense", "Conv"))}
    with_bias = biases(variables["params"]) & maps
    last = max(name for name in maps if name.startswith("Dense"))
    assert with_bias == ({last} if position == "before" else maps)

    def loss(params):
        y, _ = model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y))

    slopes = flatten_dict(jax.jit(jax.grad(loss))(variables["params"]))
    assert all(np.abs(g).max() > 1e-4 for path, g in slopes.items() if path[-1] == "bias")


def test_layer_norm_leaves_the_bias(case):
    model, x = case
    params = variables_of(model.clone(normalization="layer"), x, train=False)["params"]
    assert {name for name in params if name.startswith(("Dense", "Conv"))} <= biases(params)


def test_each_layer_can_have_its_own_dropout(key):
    model = MLP(2, hidden=(500, 500), activation="sigmoid", dropout=(0.0, 0.75))
    x = jnp.ones((4, 3), jnp.float32)
    _, state = model.apply(
        variables_of(model, x, train=False),
        x,
        True,
        rngs={"dropout": key},
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    shares = [
        float(jnp.mean(state["intermediates"][f"Dropout_{i}"]["__call__"][0] == 0)) for i in (0, 1)
    ]
    assert shares[0] == 0
    assert abs(shares[1] - 0.75) < 3 * np.sqrt(0.75 * 0.25 / 2000)


def test_traced_rates_and_keys_in_one_vmapped_apply(case, key):
    model, x = case
    variables = variables_of(model, x, train=False)
    rates = jnp.asarray(np.linspace(0, 0.8, 8).reshape(4, 2))
    keys = jax.random.split(key, 4)

    def outputs(rates, key):
        dropping = model.clone(dropout=tuple(rates))
        return dropping.apply(variables, x, train=True, rngs={"dropout": key})

    together = jax.jit(jax.vmap(outputs))(rates, keys)
    one = jax.jit(outputs)
    one_by_one = np.stack([one(r, k) for r, k in zip(rates, keys, strict=True)])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5, atol=1e-6)


def test_a_traced_batch_momentum_reaches_the_layers(case):
    model, x = case
    model = model.clone(normalization="batch")
    variables = variables_of(model, x, train=False)

    @jax.jit
    def stats(momentum):
        return model.clone(batch_momentum=momentum).apply(
            variables, x, train=True, mutable=["batch_stats"]
        )[1]

    together = jax.vmap(stats)(jnp.array([0.0, 1.0]))
    unmoved = jax.tree.map(lambda leaf: leaf[1], together["batch_stats"])
    chex.assert_trees_all_close(unmoved, variables["batch_stats"])
    moved = jax.tree.map(lambda leaf: leaf[0], together["batch_stats"])
    chex.assert_trees_all_close(moved, stats(0.0)["batch_stats"], rtol=1e-5, atol=1e-6)


def test_padding_rows_change_no_statistics(case):
    model, x = case
    model = model.clone(normalization="batch", batch_momentum=0.5)
    variables = variables_of(model, x, train=False)
    padded = jnp.concatenate([x, 9 * jnp.ones_like(x[:2])])
    mask = jnp.arange(7) < 5

    @jax.jit
    def apply(x, mask):
        return model.apply(variables, x, True, mask, mutable=["batch_stats"])

    y, stats = apply(padded, mask)
    expected = apply(x, None)
    chex.assert_trees_all_close((y[:5], stats), expected, rtol=1e-5, atol=1e-5)


def test_training_without_statistics_is_refused_by_name(case):
    model, x = case
    model = model.clone(normalization="batch")
    params = {"params": variables_of(model, x, train=False)["params"]}
    with pytest.raises(ValueError, match="BatchNorm at BatchNorm_0: the variables have no `b"):
        model.apply(params, x, train=True, mutable=["batch_stats"])


@pytest.mark.exhaustive
def test_remat_changes_nothing(case, key):
    model, x = case
    fewer = {"hidden": (8,)} if isinstance(model, MLP) else {"dense": ()}
    model = model.clone(normalization="batch", dropout=0.5, **fewer)
    names = set(model.__dataclass_fields__) - {"parent", "name"}
    again = nn.remat(type(model), static_argnums=(2,))(**{n: getattr(model, n) for n in names})
    variables = variables_of(model, x, train=False)

    def loss(params, rate, model):
        y, stats = model.clone(dropout=rate).apply(
            variables | {"params": params},
            x,
            True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.sin(y)), stats

    got, expected = (
        jax.jit(jax.value_and_grad(lambda p, r, m=m: loss(p, r, m), argnums=(0, 1), has_aux=True))(
            variables["params"], jnp.float32(0.3)
        )
        for m in (again, model)
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
@pytest.mark.parametrize(
    "inputs, params, computed, outputs",
    [
        (jnp.float32, jnp.float32, None, jnp.float32),
        (jnp.float64, jnp.float32, None, jnp.float64),
        (jnp.float32, jnp.float64, None, jnp.float64),
        (jnp.uint8, jnp.float32, None, jnp.float32),
        (jnp.float32, jnp.float32, jnp.bfloat16, jnp.bfloat16),
        (jnp.bfloat16, jnp.bfloat16, None, jnp.bfloat16),
    ],
)
def test_dtypes_are_flaxs_under_strict_promotion(
    case, inputs, params, computed, outputs, normalization, key
):
    model, x = case
    model = model.clone(
        dtype=computed, param_dtype=params, normalization=normalization, dropout=0.1
    )
    x = jnp.asarray(np.abs(x), inputs)
    variables = variables_of(model, x, train=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(params)}
    for train in (True, False):
        y, state = jax.eval_shape(
            lambda train=train: model.apply(
                variables, x, train=train, rngs={"dropout": key}, mutable=["batch_stats"]
            )
        )
        assert y.dtype == outputs
        stats = variables.get("batch_stats", {})
        chex.assert_trees_all_equal_dtypes(state.get("batch_stats", {}), stats)


def test_numpy_inputs_will_do(case):
    model, x = case
    variables = variables_of(model, np.asarray(x), train=False)
    y = model.apply(variables, np.asarray(x), train=False)
    np.testing.assert_array_equal(y, model.apply(variables, x, train=False))


def test_a_config_comes_back_from_json(case):
    model, x = case
    fields = {
        "activation": "tanh",
        "normalization": "batch",
        "dropout": [0.1] * (2 if isinstance(model, MLP) else 3),
        "outputs": 4,
    }
    again = type(model)(**json.loads(json.dumps(fields)))
    assert again.apply(variables_of(again, x, train=False), x, train=False).shape == (5, 4)


@pytest.mark.parametrize(
    "fields, error, sentence",
    [
        ({"outputs": 0}, ValueError, r"MLP: `outputs` must lie in \[1, inf\), got 0"),
        ({"hidden": (4, 0)}, ValueError, r"MLP: `hidden` must lie in \[1, inf\), got 0"),
        ({"hidden": (4.0,)}, TypeError, r"MLP: `hidden` must be an int in \[1, inf\), got 4.0"),
        ({"hidden": 4}, TypeError, "MLP: `hidden` must be a sequence of ints in .*, got 4"),
        ({"activation": "rellu"}, ValueError, "got 'rellu'. Did you mean 'relu'"),
        ({"kernel_init": "glorot"}, ValueError, "got 'glorot'"),
        (
            {"normalization": "bach"},
            ValueError,
            "MLP: `normalization` must be one of batch, layer, got 'bach'",
        ),
        ({"normalization_position": "befor"}, ValueError, "Did you mean 'before'"),
        ({"batch_momentum": 2.0}, ValueError, r"MLP: `batch_momentum` must lie in \[0, 1\]"),
        ({"dropout": 1.0}, ValueError, r"MLP: `dropout` must lie in \[0, 1\), got 1.0"),
        ({"dropout": (0.5,)}, ValueError, "one for each of the 2 hidden layers, got 1"),
        ({"dropout": (0.5, -0.5)}, ValueError, r"MLP: `dropout` must lie in \[0, 1\), got -0.5"),
        ({"dropout": "0.5"}, (TypeError, ValueError), "MLP: `dropout` must be"),
    ],
)
def test_bad_fields_get_a_sentence(fields, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        MLP(**({"outputs": 2} | fields))


def test_a_number_in_place_of_widths_gets_a_sentence(as_users_run_it):
    with pytest.raises(TypeError, match=r"CNN: `dense` must be a sequence of ints in .*, got 32"):
        CNN(10, (8, 16), 32)


def test_maxout_is_the_largest_of_its_affine_maps():
    layer, x = Maxout(3, pieces=4, param_dtype=jnp.float64), normal(2, 7, 5)
    params = variables_of(layer, x)["params"]
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    assert kernel.shape == (4, 5, 3)
    expected = np.max([np.asarray(x) @ kernel[k] + bias[k] for k in range(4)], axis=0)
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, rtol=1e-12)


def test_two_pieces_make_the_absolute_value():
    params = {"kernel": jnp.array([[[1.0]], [[-1.0]]]), "bias": jnp.zeros((2, 1))}
    x = jnp.array([[-2.0], [3.0]])
    np.testing.assert_array_equal(Maxout(1, 2).apply({"params": params}, x), abs(x))


@pytest.mark.parametrize("name", ["glorot_uniform", "fan_in_normal", "orthogonal"])
def test_each_piece_starts_like_a_dense_layer(name, key):
    layer, x = Maxout(30, pieces=3, kernel_init=name), jnp.ones((1, 20), jnp.float32)
    kernel = layer.init(key, x)["params"]["kernel"]
    dense = initializer(name)(key, (20, 30), jnp.float32)
    np.testing.assert_allclose(np.std(kernel, axis=(1, 2)), np.std(dense), rtol=0.1)
    assert not np.allclose(kernel[0], kernel[1])


def test_maxout_refuses_traced_and_empty_shapes(as_users_run_it):
    with pytest.raises(ValueError, match=r"Maxout: `pieces` must lie in \[1, inf\), got 0"):
        Maxout(2, pieces=0)
    with pytest.raises(TypeError, match="Maxout: `features` is static"):
        jax.jit(lambda n: Maxout(n, pieces=2).features)(3)
