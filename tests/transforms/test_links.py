"""The links beyond the everyday ones: plateaus, measurements, clipping, noise, layouts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import global_norm


ONE = jnp.array(1.0)
TREE = {"dense": {"kernel": jnp.array([[3.0, -1.0], [4.0, 2.0]]), "bias": jnp.array([0.0, 2.0])}}


def step(tx, grads=TREE, params=TREE, **extra):
    return tx.update(grads, tx.init(params), params, **extra)


# Plateaus


def scales(tx, values):
    """The factor of the updates after each value."""
    body = lambda state, value: tx.update(ONE, state, value=value)[::-1]
    return np.asarray(jax.lax.scan(body, tx.init(ONE), jnp.asarray(values))[1])


def by_the_rule(values, factor, patience, rtol, atol, cooldown, size, min_scale):
    """The rule of the file's head in plain Python."""
    scale, best, bad, wait, seen = 1.0, np.inf, 0, 0, []
    for i, _ in enumerate(values):
        if (i + 1) % size == 0:
            mean = np.mean(values[i + 1 - size : i + 1])
            if mean < best - (rtol * abs(best) + atol if np.isfinite(best) else 0):
                best, bad = mean, 0
            else:
                bad += 1
            if wait > 0:
                wait, bad = wait - 1, 0
            elif bad >= patience:
                scale, bad, wait = max(scale * factor, min_scale), 0, cooldown
        seen.append(scale)
    return np.array(seen)


OPTIONS = [
    (0.1, 10, 1e-4, 0.0, 0, 1, 0.0),
    (0.5, 3, 0.1, 0.0, 2, 1, 0.1),
    (0.5, 2, 0.0, 0.05, 1, 4, 0.01),
    (0.7, 1, 1.0, 0.0, 0, 2, 0.3),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("level", [3.0, 0.0, -3.0])
def test_plateaus_are_found_at_any_level(options, level):
    noise = np.random.default_rng(0).normal(size=200)
    values = level + 2 * 0.97 ** np.arange(200) + 0.05 * noise
    ours = scales(transforms.reduce_on_plateau(*options), values)
    np.testing.assert_allclose(ours, by_the_rule(values, *options), rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_positive_plateaus_as_in_optax(options, standard_promotion):
    """Of a relative tolerance of 1 optax makes 0 * inf."""
    noise = np.random.default_rng(1).normal(size=200)
    values = 3 + 2 * 0.97 ** np.arange(200) + 0.05 * noise
    ours = scales(transforms.reduce_on_plateau(*options), values)
    theirs = scales(optax.contrib.reduce_on_plateau(*options), values)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert ours[-1] < 1


def test_the_peer_still_never_fires_for_negative_values(standard_promotion):
    values = np.full(30, -1.0)
    assert scales(transforms.reduce_on_plateau(), values)[-1] < 0.2
    assert scales(optax.contrib.reduce_on_plateau(), values)[-1] == 1.0


def test_a_plateau_asks_for_the_loss():
    with pytest.raises(ValueError, match=r"reduce_on_plateau reads the loss: call `update\("):
        step(transforms.reduce_on_plateau())
    theirs = optax.contrib.ReduceLROnPlateauState._fields
    assert transforms.ReduceLROnPlateauState._fields[: len(theirs)] == theirs


# Measurements


def test_measurements_keep_one_structure_from_the_start(standard_promotion):
    """optax's monitor starts with an empty dictionary, so that no scan takes its state."""
    measures = lambda place: {
        "norm": global_norm,
        "large": place.measure_with_ema(lambda u: global_norm(u) > 2.0, 0.9),
    }
    for place, is_stable in ((transforms, True), (optax, False)):
        tx = place.monitor(measures(place))
        before = tx.init(TREE)
        _, after = tx.update(TREE, before)
        assert (jax.tree.structure(before) == jax.tree.structure(after)) == is_stable
    tx = transforms.monitor(measures(transforms))
    jax.lax.scan(lambda s, _: (tx.update(TREE, s)[1], None), tx.init(TREE), length=3)


def test_measurements_are_those_of_optax(standard_promotion):
    average = {"average": transforms.measure_with_ema(global_norm, 0.8)}
    theirs = optax.monitor(
        {"norm": global_norm, "average": optax.measure_with_ema(global_norm, 0.8)}
    )
    ours = transforms.monitor({"norm": global_norm} | average)
    snapshots = transforms.snapshot("norm", global_norm), optax.snapshot("norm", global_norm)
    states = [tx.init(TREE) for tx in (ours, theirs, *snapshots)]
    for t in range(5):
        grads = jax.tree.map(lambda x, t=t: x * jnp.cos(t), TREE)
        for i, tx in enumerate((ours, theirs, *snapshots)):
            updates, states[i] = tx.update(grads, states[i])
            chex.assert_trees_all_equal(updates, grads)
        chex.assert_trees_all_close(states[0].measurements, states[1].measurements, rtol=1e-12)
        chex.assert_trees_all_close(states[2].measurement, states[3].measurement, rtol=1e-12)
    assert float(optax.tree.get(states[0], "norm")) == float(states[3].measurement["norm"])


def test_before_the_first_update_zeros_are_measured():
    tx = transforms.snapshot("norm", global_norm)
    assert float(tx.init(TREE).measurement["norm"]) == 0.0


def test_narrow_measurements_are_kept_wide():
    tx = transforms.snapshot("mean", lambda u: jnp.mean(u))
    params = jnp.ones(3, jnp.bfloat16)
    assert tx.init(params).measurement["mean"].dtype == jnp.float32
    _, state = tx.update(jnp.ones(3, jnp.float32), tx.init(params))
    assert state.measurement["mean"].dtype == jnp.float32


# Clipping


@pytest.mark.exhaustive
@pytest.mark.parametrize("shape", [(), (7,), (4, 3), (1, 5), (2, 3, 4), (2, 2, 3, 4), (2,) * 5])
def test_units_are_those_of_optax(shape, standard_promotion):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    np.testing.assert_allclose(transforms.unitwise_norm(x), optax.transforms.unitwise_norm(x))
    if len(shape) > 1:
        np.testing.assert_allclose(
            transforms.unitwise_norm(x, -1), optax.transforms.unitwise_norm(x, -1)
        )


def test_units_of_more_axes_must_be_named():
    x = jnp.ones((2,) * 6)
    with pytest.raises(ValueError, match="unitwise_norm: `axis` must be given for an array of 6"):
        transforms.unitwise_norm(x)
    assert transforms.unitwise_norm(x, (0, 1)).shape == x.shape


def test_no_unit_moves_by_more_than_its_share():
    rng = np.random.default_rng(0)
    params, grads = (jnp.asarray(rng.normal(size=(5, 4))) for _ in range(2))
    updates, _ = step(transforms.adaptive_grad_clip(0.1), grads, params)
    ratio = np.linalg.norm(updates, axis=0) / np.linalg.norm(params, axis=0)
    np.testing.assert_allclose(ratio, 0.1, rtol=1e-12)
    with pytest.raises(ValueError, match="adaptive_grad_clip reads the parameters"):
        transforms.adaptive_grad_clip(0.1).update(grads, transforms.AdaptiveGradClipState())


BATCH = [
    np.random.default_rng(i).normal(size=(6, *shape)) for i, shape in enumerate([(2,), (3, 2)])
]


@pytest.mark.parametrize("bound", [0.0, 1.5, np.inf])
def test_clipping_of_examples_as_in_optax(bound, standard_promotion):
    grads = [jnp.asarray(g) for g in BATCH]
    pairs = [
        (place.per_example_global_norm_clip(grads, bound),
         place.per_example_layer_norm_clip(grads, bound),
         place.per_example_layer_norm_clip(grads, bound, uniform=False))
        for place in (transforms, optax)
    ]  # fmt: skip
    chex.assert_trees_all_close(*pairs, rtol=1e-12)


def test_clipping_of_examples_needs_examples(as_users_run_it):
    with pytest.raises(ValueError, match="per_example_global_norm_clip: `grads` must have one"):
        transforms.per_example_global_norm_clip([jnp.ones((2, 3)), jnp.ones(3)], 1.0)
    with pytest.raises(ValueError, match="per_example_layer_norm_clip: `grads` must have one"):
        transforms.per_example_layer_norm_clip([jnp.ones(())], 1.0)


def test_many_float16_examples_sum_without_overflow():
    grads = jnp.full((4, 100_000), 1.0, jnp.float16)
    total, shrunk = transforms.per_example_global_norm_clip(grads, 1.0)
    assert int(shrunk) == 4
    np.testing.assert_allclose(total, 4 / np.sqrt(1e5), rtol=1e-3)  # float16's resolution


# Constraints, noise, layouts


def test_nans_become_zeros_and_are_reported():
    grads = {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.array(jnp.inf)}
    updates, state = step(transforms.zero_nans(), grads, grads)
    chex.assert_trees_all_equal(updates, {"a": jnp.array([0.0, 1.0]), "b": jnp.array(jnp.inf)})
    assert {name: bool(found) for name, found in state.found_nan.items()} == {"a": True, "b": False}


@pytest.mark.parametrize("narrow", [jnp.bfloat16, jnp.float16])
def test_params_stay_nonnegative_also_with_narrow_updates(narrow):
    """-0.1 rounded to bfloat16 is -0.10009766: added to 0.1 it gave a negative parameter."""
    params = jnp.asarray(np.random.default_rng(0).uniform(-0.1, 1, 1000), jnp.float32)
    updates, _ = step(transforms.keep_params_nonnegative(), jnp.full(1000, -2, narrow), params)
    moved = transforms.apply_updates(params, updates)
    assert updates.dtype == narrow
    assert float(moved.min()) >= 0
    np.testing.assert_allclose(moved, 0, atol=float(jnp.finfo(narrow).eps))


def test_noise_has_the_variance_of_the_paper(key):
    tx = transforms.add_noise(0.3, 0.55, key)
    zeros = jnp.zeros(100_000)
    state = tx.init(zeros)
    for t in (1, 2, 3):
        noise, state = tx.update(zeros, state)
        # the standard error of a variance of n normals is sqrt(2 / n) of it, here 0.45 %
        np.testing.assert_allclose(jnp.var(noise), 0.3 / t**0.55, rtol=0.02)


def test_a_seed_is_a_key_and_a_missing_key_is_told():
    noise = lambda tx: step(tx)[0]
    with pytest.warns(DeprecationWarning, match="use `key`, not `seed`"):
        seeded = transforms.add_noise(1.0, 0.5, seed=3)
    with pytest.warns(UserWarning, match="`key` is missing, 0 is used"):
        without = transforms.add_noise(1.0, 0.5)
    chex.assert_trees_all_equal(noise(seeded), noise(transforms.add_noise(1.0, 0.5, 3)))
    chex.assert_trees_all_equal(noise(without), noise(transforms.add_noise(1.0, 0.5, 0)))
    with (
        pytest.warns(DeprecationWarning, match="use `key`"),
        pytest.raises(ValueError, match="give `key` or `seed`, not both"),
    ):
        transforms.add_noise(1.0, 0.5, 1, seed=1)


def test_donating_the_state_leaves_the_key_of_the_factory_alone(key):
    tx = transforms.add_noise(1.0, 0.5, key)
    jax.jit(tx.update, donate_argnums=1)(ONE, tx.init(ONE))
    tx.update(ONE, tx.init(ONE))


def test_a_tree_of_several_dtypes_is_one_vector():
    tree = {
        "a": jnp.ones((2, 3), jnp.bfloat16),
        "b": jnp.ones(3, jnp.float32),
        "c": jnp.array(1 + 2j, jnp.complex64),
    }
    tx = transforms.flatten(transforms.trace(0.9))
    updates, state = step(tx, tree, tree)
    chex.assert_trees_all_equal(updates, tree)
    chex.assert_trees_all_equal_dtypes(updates, tree)
    assert state.inner_state.trace.shape == (10,)


def test_complex_params_move_as_pairs_of_real_ones():
    z = jnp.array([[0.1 + 0.5j, 0.2 - 0.5j], [-0.1 + 0.1j, 0.3j]])
    tx = transforms.split_real_and_imaginary(optimizers.adam(0.1))
    pair = (z.real, z.imag)
    real = optimizers.adam(0.1)
    updates, _ = step(tx, z, z)
    x, y = step(real, pair, pair)[0]
    np.testing.assert_allclose(updates, jax.lax.complex(x, y), rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("wrap", [transforms.flatten, transforms.split_real_and_imaginary])
def test_a_line_search_evaluates_the_loss_of_the_tree(wrap, standard_promotion):
    target = jnp.array([[3.0, -1.0], [4.0, 2.0]])

    def loss(params):
        return jnp.sum((params["w"] - target) ** 2) + jnp.sum((params["b"] + 1) ** 4)

    def path(tx):
        params = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(3)}
        state = tx.init(params)
        for _ in range(4):
            value, grad = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
            params = optax.apply_updates(params, updates)
        return params

    found = path(wrap(optax.lbfgs()))
    chex.assert_trees_all_close(found, path(optax.lbfgs()), rtol=1e-6)
    assert float(loss(found)) < 0.1


@pytest.mark.exhaustive
def test_a_line_search_among_complex_params_sees_pairs(standard_promotion):
    loss = lambda z: jnp.sum(jnp.abs(z - (1 - 2j)) ** 2)
    z, tx = jnp.zeros(3, jnp.complex64), transforms.split_real_and_imaginary(optax.lbfgs())
    state = tx.init(z)
    for _ in range(2):
        value, grad = loss(z), jnp.conj(jax.grad(loss)(z))
        updates, state = tx.update(grad, state, z, value=value, grad=grad, value_fn=loss)
        z = z + updates
    np.testing.assert_allclose(z, 1 - 2j, rtol=1e-4)


def test_the_direction_of_zero_is_zero(standard_promotion):
    zeros = jnp.zeros(3)
    np.testing.assert_array_equal(step(transforms.normalize(), zeros, zeros)[0], 0.0)
    theirs = optax.contrib.normalize()
    assert bool(jnp.isnan(theirs.update(zeros, theirs.init(zeros))[0]).all())


def test_rows_lose_their_mean():
    updates, _ = step(transforms.centralize())
    np.testing.assert_allclose(np.mean(updates["dense"]["kernel"], axis=1), 0, atol=1e-15)
    np.testing.assert_array_equal(updates["dense"]["bias"], TREE["dense"]["bias"])


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: transforms.reduce_on_plateau(1.0), r"`factor` must lie in \(0, 1\), got 1.0"),
        (lambda: transforms.reduce_on_plateau(patience=0), r"`patience` must lie in \[1, inf\)"),
        (lambda: transforms.reduce_on_plateau(rtol=2.0), r"`rtol` must lie in \[0, 1\], got 2.0"),
        (lambda: transforms.reduce_on_plateau(atol=-1.0), r"`atol` must lie in \[0, inf\)"),
        (lambda: transforms.reduce_on_plateau(cooldown=-1), r"`cooldown` must lie in \[0, inf\)"),
        (lambda: transforms.reduce_on_plateau(accumulation_size=0), "`accumulation_size` must"),
        (lambda: transforms.reduce_on_plateau(min_scale=2.0), r"`min_scale` must lie in \[0, 1\]"),
        (lambda: transforms.add_noise(-1.0, 0.5, 0), r"add_noise: `eta` must lie in \[0, inf\)"),
        (lambda: transforms.add_noise(1.0, -0.5, 0), r"add_noise: `gamma` must lie in"),
        (lambda: transforms.adaptive_grad_clip(-1.0), r"`clipping` must lie in \[0, inf\)"),
        (lambda: transforms.adaptive_grad_clip(1.0, -1.0), r"adaptive_grad_clip: `eps` must lie"),
        (lambda: transforms.per_example_global_norm_clip(BATCH, -1.0), "`l2_norm_clip` must lie"),
        (lambda: transforms.per_example_layer_norm_clip(BATCH, -1.0), "`global_l2_norm_clip` m"),
    ],
)
def test_bad_numbers_are_refused(build, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        build()
