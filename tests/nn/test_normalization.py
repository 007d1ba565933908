import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import BatchNorm, LayerNorm, batch_norm, layer_norm
from tests.nn.arrays import normal
from tests.tiers import everyday_first


SHAPES = [(32, 5), (8, 4, 4, 3)]


def sample(shape, dtype=jnp.float64, mean=10.0):
    """Features whose means lie up to ``mean`` standard deviations from 0."""
    offset, spread = (np.linspace(*ends, shape[-1]) for ends in ((-mean, mean), (0.5, 3.0)))
    return jnp.asarray((np.asarray(normal(*shape)) + offset) * spread, dtype)


def learned(features, dtype=jnp.float64):
    scale, bias = normal(2, features, dtype=dtype, seed=1)
    return {"scale": 1 + 0.3 * scale, "bias": bias}


def start(features, dtype=jnp.float64):
    return {"mean": jnp.linspace(-1, 1, features, dtype=dtype), "var": jnp.full(features, 2, dtype)}


def train(layer, variables, x, mask=None):
    @jax.jit
    def apply(variables, x, mask):
        return layer.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])

    y, state = apply(variables, x, mask)
    return y, state["batch_stats"]


def truth(x, axes, epsilon):
    x = np.asarray(x, np.float64)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + epsilon), mean, var


# Errors are measured against the size of a normalized entry, 1: an entry near its mean is the
# small difference of two numbers that float32 has rounded already.
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.mark.parametrize("shape", [*SHAPES, (1024, 7)])
def test_batch_norm_in_float32_meets_the_truth_in_float64(shape):
    x = sample(shape, jnp.float32)
    expected, mean, var = truth(x, tuple(range(len(shape) - 1)), 1e-5)
    y, seen = jax.jit(batch_norm)(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, **TOLERANCE)
    np.testing.assert_allclose(seen.mean, mean.ravel(), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(seen.var, var.ravel(), rtol=2e-6)


@pytest.mark.parametrize("features", [5, 1000])
def test_layer_norm_in_float32_meets_the_truth_in_float64(features):
    x = np.asarray(normal(20, features)) + np.linspace(-10, 10, 20)[:, None]
    x = jnp.asarray(x, jnp.float32)
    expected, *_ = truth(x, (-1,), 1e-6)
    np.testing.assert_allclose(jax.jit(layer_norm)(x), expected, **TOLERANCE)


def test_the_second_pass_is_what_keeps_the_variance():
    x = normal(256, 3, dtype=jnp.float32) + 1000
    one_pass = np.mean(np.square(x), 0) - np.square(np.mean(x, 0))
    exact = np.asarray(x, np.float64).var(0)
    np.testing.assert_allclose(batch_norm(x)[1].var, exact, rtol=2e-6)
    assert (abs(one_pass - exact) > 1e-3 * exact).any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_batch_norm_is_flaxs(shape, masked, key, standard_promotion):
    """Course 2, batch normalization: biased variance, eps in the root, the variance averaged."""
    x = sample(shape)
    rows = jnp.arange(shape[0]) % 3 > 0 if masked else None
    flat = None if rows is None else rows.reshape(-1, *(1,) * (len(shape) - 1))
    params, stats = learned(shape[-1]), start(shape[-1])
    variables = {"params": params, "batch_stats": stats}
    ours = BatchNorm(momentum=0.9, param_dtype=jnp.float64)
    flaxs = nn.BatchNorm(momentum=0.9, param_dtype=jnp.float64, use_fast_variance=False)

    def our_loss(params, x):
        y, state = train(ours, variables | {"params": params}, x, rows)
        return jnp.sum(jnp.sin(y)), (y, state)

    def flax_loss(params, x):
        y, state = flaxs.apply(
            variables | {"params": params},
            x,
            use_running_average=False,
            mask=flat,
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.sin(y)), (y, state["batch_stats"])

    got, expected = (
        jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, x)
        for loss in (our_loss, flax_loss)
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-10, atol=1e-11)
    chex.assert_trees_all_close(
        ours.apply(variables, x, train=False),
        flaxs.apply(variables, x, use_running_average=True),
        rtol=1e-12,
    )
    started = flaxs.init(key, x, use_running_average=False)
    chex.assert_trees_all_equal_shapes(ours.init(key, x, train=True), started)


def test_layer_norm_is_flaxs(key, standard_promotion):
    """Course 2, layer normalization: divided by the root of the variance, not the variance."""
    x, params = sample((6, 4, 9)), learned(9)
    ours = LayerNorm(param_dtype=jnp.float64)
    flaxs = nn.LayerNorm(param_dtype=jnp.float64, use_fast_variance=False)

    def loss(layer):
        return lambda params, x: jnp.sum(jnp.sin(layer.apply({"params": params}, x)))

    chex.assert_trees_all_close(
        jax.jit(jax.value_and_grad(loss(ours), argnums=(0, 1)))(params, x),
        jax.jit(jax.value_and_grad(loss(flaxs), argnums=(0, 1)))(params, x),
        rtol=1e-10,
        atol=1e-11,
    )
    chex.assert_trees_all_equal_shapes(ours.init(key, x), flaxs.init(key, x))


def test_both_are_torchs():
    torch = pytest.importorskip("torch")
    n, features = 16, 5
    x = sample((n, features))
    params, stats = learned(features), start(features)
    theirs = torch.nn.BatchNorm1d(features, eps=1e-5, momentum=0.1, dtype=torch.float64)
    with torch.no_grad():
        for name, value in (("weight", params["scale"]), ("bias", params["bias"])):
            getattr(theirs, name).copy_(torch.tensor(np.array(value)))
        theirs.running_mean.copy_(torch.tensor(np.array(stats["mean"])))
        theirs.running_var.copy_(torch.tensor(np.array(stats["var"])))
    layer = BatchNorm(momentum=0.9, param_dtype=jnp.float64)
    batch = torch.tensor(np.array(x))
    y, stats = train(layer, {"params": params, "batch_stats": stats}, x)
    np.testing.assert_allclose(y, theirs(batch).detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(stats["mean"], theirs.running_mean.numpy(), rtol=1e-12)
    # torch averages the unbiased variance: its share of the new value is n / (n - 1) of ours
    biased = 0.9 * 2 + (theirs.running_var.numpy() - 0.9 * 2) * (n - 1) / n
    np.testing.assert_allclose(stats["var"], biased, rtol=1e-12)
    with torch.no_grad():
        theirs.running_var.copy_(torch.tensor(np.array(stats["var"])))
    evaluated = layer.apply({"params": params, "batch_stats": stats}, x, train=False)
    expected = theirs.eval()(batch).detach().numpy()
    np.testing.assert_allclose(evaluated, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        layer_norm(x, params["scale"], params["bias"]),
        torch.nn.functional.layer_norm(
            batch, (features,), theirs.weight, theirs.bias, eps=1e-6
        ).detach(),
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_masked_rows_do_not_count_whatever_they_hold(shape, as_float):
    x, half = sample(shape), shape[0] // 2
    mask = np.arange(shape[0]) < half
    mask = jnp.asarray(mask, jnp.float32 if as_float else bool)
    spoilt = jnp.asarray(np.concatenate([x[:half], np.nan * x[half:]]))
    variables = {"params": learned(shape[-1]), "batch_stats": start(shape[-1])}
    layer = BatchNorm(param_dtype=jnp.float64)
    y, stats = train(layer, variables, spoilt, mask)
    expected = train(layer, variables, jnp.asarray(np.asarray(x)[:half]))
    chex.assert_trees_all_close((y[:half], stats), expected, rtol=1e-12)

    def loss(x):
        return jnp.sum(jnp.sin(train(layer, variables, x, mask)[0][:half]))

    slope = jax.jit(jax.grad(loss))(x)
    assert (slope[half:] == 0).all()
    assert np.isfinite(slope).all()


def test_a_weight_of_two_is_the_row_twice():
    x = sample((6, 3))
    weights = jnp.array([1.0, 2.0, 0.0, 1.0, 1.0, 3.0])
    repeated = np.repeat(np.asarray(x), np.asarray(weights, int), axis=0)
    seen = batch_norm(x, mask=weights)[1]
    np.testing.assert_allclose(seen.mean, repeated.mean(0), rtol=1e-12)
    np.testing.assert_allclose(seen.var, repeated.var(0), rtol=1e-12)


def test_a_mask_may_single_out_pixels():
    x, mask = sample((4, 3, 3, 2)), normal(4, 3, 3, seed=1) > 0
    seen = batch_norm(x, mask=mask)[1]
    np.testing.assert_allclose(seen.mean, np.asarray(x)[np.asarray(mask)].mean(0), rtol=1e-12)
    np.testing.assert_array_equal(seen.weight, np.sum(mask))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 3, 1)])
def test_a_mask_of_other_axes_gets_a_sentence(shape):
    with pytest.raises(ValueError, match=r"leading axes of the input, \(4, 3\), got shape"):
        batch_norm(jnp.ones((4, 3)), mask=jnp.ones(shape))


def test_a_batch_without_rows_changes_nothing():
    x, variables = sample((4, 3)), {"params": learned(3), "batch_stats": start(3)}
    y, stats = train(BatchNorm(param_dtype=jnp.float64), variables, x, jnp.zeros(4))
    chex.assert_trees_all_equal(stats, variables["batch_stats"])
    assert np.isfinite(y).all()
    slope = jax.jit(jax.grad(lambda x: train(BatchNorm(), variables, x, jnp.zeros(4))[0].sum()))(x)
    assert np.isfinite(slope).all()


def test_a_constant_feature_stays_finite():
    x = jnp.full((5, 2), 3e4, jnp.float16)
    for function in (lambda x: batch_norm(x)[0], layer_norm):
        y, slope = jax.jit(jax.value_and_grad(lambda x, f=function: f(x).sum()))(x)
        assert np.isfinite(y)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_training_runs_inside_scan_and_keeps_every_dtype(dtype, key):
    layer, x = BatchNorm(), sample((10, 4, 3), dtype)
    variables = layer.init(key, x[0], train=True)

    def step(stats, batch):
        y, stats = train(layer, variables | {"batch_stats": stats}, batch)
        return stats, y

    stats, y = jax.lax.scan(step, variables["batch_stats"], x)
    assert y.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype("float32")}


def test_evaluation_leaves_the_statistics_alone_bit_for_bit(key):
    x, layer = sample((4, 3), jnp.float32), BatchNorm()
    variables = layer.init(key, x, train=True)
    for mutable in (["batch_stats"], True):
        _, state = layer.apply(variables, x, train=False, mutable=mutable)
        chex.assert_trees_all_equal(state["batch_stats"], variables["batch_stats"])
    chex.assert_trees_all_equal(
        variables["batch_stats"], {"mean": jnp.zeros(3, "f4"), "var": jnp.ones(3, "f4")}
    )


def test_the_training_loss_has_no_gradient_in_the_running_statistics():
    x, variables = sample((4, 3)), {"params": learned(3), "batch_stats": start(3)}

    def loss(stats):
        return train(BatchNorm(), variables | {"batch_stats": stats}, x)[0].sum()

    slopes = jax.jit(jax.grad(loss))(variables["batch_stats"])
    chex.assert_trees_all_equal(slopes, jax.tree.map(jnp.zeros_like, slopes))


def test_momentum_is_data():
    x, variables = sample((8, 3)), {"params": learned(3), "batch_stats": start(3)}

    def stats(momentum):
        return train(BatchNorm(momentum, param_dtype=jnp.float64), variables, x)[1]

    momenta = jnp.array([0.0, 0.5, 0.99, 1.0])
    together = jax.jit(jax.vmap(stats))(momenta)
    for i, momentum in enumerate(momenta):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        chex.assert_trees_all_close(one, stats(momentum), rtol=1e-12)
    seen = batch_norm(x)[1]
    chex.assert_trees_all_close(stats(0.0), {"mean": seen.mean, "var": seen.var}, rtol=1e-12)
    chex.assert_trees_all_close(stats(1.0), variables["batch_stats"], rtol=1e-12)
    slope = jax.jacfwd(lambda m: stats(m)["mean"])(jnp.array(0.3))
    np.testing.assert_allclose(slope, variables["batch_stats"]["mean"] - seen.mean, rtol=1e-10)


def test_a_batch_spread_over_a_mapped_axis_is_one_batch(key):
    x, layer = sample((8, 3)), BatchNorm(axis_name="rows", param_dtype=jnp.float64)
    variables = layer.init(key, x, train=True)
    mask = jnp.array([1.0, 1, 1, 0, 1, 0, 0, 0])
    whole = train(BatchNorm(param_dtype=jnp.float64), variables, x, mask)
    parts = jax.vmap(
        lambda x, m: train(layer, variables, x, m), axis_name="rows", out_axes=(0, None)
    )(x.reshape(2, 4, 3), mask.reshape(2, 4))
    chex.assert_trees_all_close((parts[0].reshape(8, 3), parts[1]), whole, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", everyday_first(1, range(-4, 4)))
def test_batch_norm_over_any_axis_is_flaxs(axis, masked, key, standard_promotion):
    x = normal(5, 4, 3, 6)
    rows = jnp.arange(5).reshape(-1, 1, 1, 1) % 3 > 0 if masked and axis not in (0, -4) else None
    inits = {"scale_init": nn.initializers.normal(0.5), "bias_init": nn.initializers.constant(0.3)}
    ours = BatchNorm(momentum=0.9, axis=axis, param_dtype=jnp.float64, **inits)
    flaxs = nn.BatchNorm(
        momentum=0.9, axis=axis, param_dtype=jnp.float64, use_fast_variance=False, **inits
    )
    variables = ours.init(key, x, train=True)
    chex.assert_trees_all_equal(variables, flaxs.init(key, x, use_running_average=False))
    variables |= {"batch_stats": start(x.shape[axis])}
    options = {"use_running_average": False, "mask": rows, "mutable": ["batch_stats"]}
    expected, state = flaxs.apply(variables, x, **options)
    got = train(ours, variables, x, rows)
    chex.assert_trees_all_close(got, (expected, state["batch_stats"]), rtol=1e-10, atol=1e-12)
    scale, bias = (variables["params"][name] for name in ("scale", "bias"))
    y, seen = batch_norm(x, scale, bias, mask=rows, axis=axis)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    assert seen.mean.shape == (x.shape[axis],)
    chex.assert_trees_all_close(
        ours.apply(variables, x, train=False),
        flaxs.apply(variables, x, use_running_average=True),
        rtol=1e-12,
    )


def test_the_statistics_start_as_their_initializers_say(key):
    """And are averaged from there; a random initializer draws one value for each feature."""
    x, constant = normal(8, 3, 5), nn.initializers.constant
    layer = BatchNorm(
        momentum=0.9,
        axis=1,
        param_dtype=jnp.float64,
        mean_init=constant(0.2),
        var_init=nn.initializers.uniform(1.0),
    )
    variables = layer.init(key, x, train=True)
    mean, var = (variables["batch_stats"][name] for name in ("mean", "var"))
    np.testing.assert_array_equal(mean, np.full(3, 0.2))
    assert len(np.unique(var)) == 3
    assert mean.dtype == var.dtype == jnp.float64
    stats = train(layer, variables, x)[1]
    np.testing.assert_allclose(stats["mean"], 0.9 * 0.2 + 0.1 * x.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(stats["var"], 0.9 * var + 0.1 * x.var((0, 2)), rtol=1e-12)


@pytest.mark.parametrize("axis", [1, -2])
def test_any_axis_of_a_batch_spread_over_a_mapped_axis(axis, key):
    x, mask = normal(8, 3, 2), jnp.array([1.0, 1, 1, 0, 1, 0, 0, 0])
    layer = BatchNorm(axis_name="rows", axis=axis, param_dtype=jnp.float64)
    variables = layer.init(key, x, train=True)
    whole = train(BatchNorm(axis=axis, param_dtype=jnp.float64), variables, x, mask)
    parts = jax.vmap(
        lambda x, m: train(layer, variables, x, m), axis_name="rows", out_axes=(0, None)
    )(x.reshape(2, 4, 3, 2), mask.reshape(2, 4))
    chex.assert_trees_all_close((parts[0].reshape(8, 3, 2), parts[1]), whole, rtol=1e-12)


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_out_of_range_gets_a_sentence(axis, key, as_users_run_it):
    sentence = rf"`axis` must lie in \[-2, 2\), got {axis}"
    with pytest.raises(ValueError, match=f"batch_norm: {sentence}"):
        batch_norm(jnp.ones((4, 3)), axis=axis)
    with pytest.raises(ValueError, match=f"BatchNorm: {sentence}"):
        BatchNorm(axis=axis).init(key, jnp.ones((4, 3)), train=True)
    with pytest.raises(TypeError, match="BatchNorm: `axis` must be an int"):
        BatchNorm(axis=(1, 2))
    with pytest.raises(TypeError, match="BatchNorm: `var_init` must be a function"):
        BatchNorm(var_init=1.0)


def test_missing_statistics_are_refused_not_made_up(key):
    x, layer = jnp.ones((4, 3)), BatchNorm()
    params = {"params": layer.init(key, x, train=True)["params"]}
    for mutable in (["batch_stats"], False):
        with pytest.raises(ValueError, match="BatchNorm at the top: the variables have no `batch"):
            layer.apply(params, x, train=True, mutable=mutable)
    with pytest.raises(Exception, match="batch_stats"):
        layer.apply(layer.init(key, x, train=True), x, train=True)  # there, but immutable


def test_scale_and_bias_can_be_left_out(key):
    x = sample((4, 3))
    for layer, arguments in ((BatchNorm, {"train": True}), (LayerNorm, {})):
        bare = layer(use_scale=False, use_bias=False).init(key, x, **arguments)
        assert "params" not in bare
        assert set(layer(use_scale=False).init(key, x, **arguments)["params"]) == {"bias"}


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: BatchNorm(momentum=1.5), r"BatchNorm: `momentum` must lie in \[0, 1\], got 1.5"),
        (lambda: BatchNorm(epsilon=0.0), r"BatchNorm: `epsilon` must lie in \(0, inf\), got 0.0"),
        (lambda: LayerNorm(epsilon=-1.0), r"LayerNorm: `epsilon` must lie in \(0, inf\), got -1"),
        (lambda: layer_norm(jnp.ones(2), epsilon=0.0), r"layer_norm: `epsilon` must lie in"),
        (lambda: batch_norm(jnp.ones((2, 1)), epsilon=0.0), r"batch_norm: `epsilon` must lie in"),
    ],
)
def test_bad_numbers_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
