"""Normalizations within a datapoint, against float64, Flax and torch."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import GroupNorm, RMSNorm, group_norm, rms_norm
from tests.nn.arrays import normal
from tests.tiers import everyday_first


FEATURES = 12
PARAMS = {"scale": 1 + 0.3 * normal(FEATURES, seed=1), "bias": normal(FEATURES, seed=2)}


def far_from_zero(*shape, dtype):
    """Datapoints whose means lie up to ten standard deviations from 0."""
    offset = np.linspace(-10, 10, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return jnp.asarray(np.asarray(normal(*shape)) + offset, dtype)


@pytest.mark.parametrize("shape", [(6, FEATURES), (6, 5, 5, FEATURES)])
@pytest.mark.parametrize("groups", everyday_first(2, [1, 4, 12]))
def test_group_norm_in_float32_meets_the_truth_in_float64(shape, groups):
    if shape == (6, groups):
        return  # one entry a group: nothing is left but bias
    x = far_from_zero(*shape, dtype=jnp.float32)
    grouped = np.asarray(x, np.float64).reshape(shape[0], -1, groups, FEATURES // groups)
    mean, var = (f(grouped, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    expected = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(shape)
    # atol: as a share of a normalized entry's size, 1, for float32 has rounded the input already
    np.testing.assert_allclose(group_norm(x, groups), expected, rtol=2e-6, atol=2e-6)


def test_rms_norm_in_float32_meets_the_truth_in_float64():
    x = far_from_zero(20, 100, dtype=jnp.float32)
    exact = np.asarray(x, np.float64)
    expected = exact / np.sqrt(np.mean(exact**2, -1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(rms_norm(x), expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("ours", "flaxs", "params"),
    [
        (GroupNorm(3, param_dtype=jnp.float64),
         nn.GroupNorm(3, param_dtype=jnp.float64, use_fast_variance=False), PARAMS),
        (RMSNorm(param_dtype=jnp.float64), nn.RMSNorm(param_dtype=jnp.float64),
         {"scale": PARAMS["scale"]}),
    ],
)  # fmt: skip
def test_values_slopes_and_parameters_are_flaxs(ours, flaxs, params, key, standard_promotion):
    x = far_from_zero(4, 3, 3, FEATURES, dtype=jnp.float64)

    def loss(layer):
        total = lambda params, x: jnp.sum(jnp.sin(layer.apply({"params": params}, x)))
        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(params, x)

    chex.assert_trees_all_close(loss(ours), loss(flaxs), rtol=1e-10, atol=1e-11)
    chex.assert_trees_all_equal_shapes(ours.init(key, x), flaxs.init(key, x))


def test_both_are_torchs():
    torch = pytest.importorskip("torch")
    x = far_from_zero(4, 3, 3, FEATURES, dtype=jnp.float64)
    weight, bias = (torch.tensor(np.array(PARAMS[name])) for name in ("scale", "bias"))
    channels_first = torch.tensor(np.array(x)).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.group_norm(channels_first, 3, weight, bias, eps=1e-6)
    ours = group_norm(x, 3, PARAMS["scale"], PARAMS["bias"])
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    theirs = torch.nn.functional.rms_norm(torch.tensor(np.array(x)), (FEATURES,), weight, eps=1e-6)
    np.testing.assert_allclose(rms_norm(x, PARAMS["scale"]), theirs, rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    """The sum of 4,096 squares of 100 is far above what float16 can hold."""
    x = jnp.full((2, 4096), 100, dtype)
    assert rms_norm(x).dtype == group_norm(x, 4).dtype == dtype
    np.testing.assert_allclose(np.asarray(rms_norm(x), float), 1.0)
    np.testing.assert_array_equal(np.asarray(group_norm(x, 4), float), 0.0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: group_norm(jnp.ones((2, 6)), 4), "must divide the number of features, 6, got 4"),
        (lambda: group_norm(jnp.ones((2, 6)), 7), r"`groups` must lie in \[1, 6\], got 7"),
        (lambda: GroupNorm(0), r"GroupNorm: `num_groups` must lie in \[1, inf\), got 0"),
        (lambda: GroupNorm(2, epsilon=0.0), r"GroupNorm: `epsilon` must lie in \(0, inf\)"),
        (lambda: RMSNorm(epsilon=-1.0), r"RMSNorm: `epsilon` must lie in \(0, inf\)"),
        (lambda: rms_norm(jnp.ones(3), epsilon=0.0), r"rms_norm: `epsilon` must lie in"),
    ],
)
def test_bad_numbers_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
