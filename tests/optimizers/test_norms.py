"""Methods that look at norms, or at the loss, against their formulas in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.schedules import warmup_constant_schedule
from tests.optimizers.trajectories import (
    FIRST,
    GRADIENTS,
    GRADS,
    MATRICES,
    PARAMS,
    STEPS,
    distance,
    flat,
    of_torch,
    rates,
    torch_updates,
    updates_of,
)


START = flat(jax.tree.map(lambda x: np.asarray(x)[None], PARAMS))[0]


def points_of(update, start=START):
    """The updates of 200 steps of ``update(t, w, g) -> step`` from ``start``, t from 0."""
    steps, w = [], start
    for t, g in enumerate(GRADS):
        steps.append(update(t, w, g))
        w = w + steps[-1]
    return np.stack(steps)


def test_adagrad_norm_is_its_formula():
    """Ward, Wu & Bottou 2019, algorithm 1."""
    norms = np.sqrt(0.2 + np.cumsum(np.sum(GRADS**2, axis=1)))
    ours = updates_of(optimizers.adagrad_norm(rates, 0.2))
    expected = -rates(np.arange(STEPS))[:, None] * GRADS / norms[:, None]
    assert distance(ours, expected) <= 1e-12


def test_adagrad_norm_of_one_entry_is_adagrad():
    grads = {"w": GRADS[:, :1]}
    ours, theirs = (
        updates_of(tx, {"w": START[:1]}, grads)
        for tx in (optimizers.adagrad_norm(0.1, 0.2), optimizers.adagrad(0.1, 0.2, 0.0))
    )
    assert distance(ours, theirs) <= 1e-12


def ftrl_by_hand(alpha, beta, l1, l2):
    """McMahan et al. 2013, algorithm 1, as printed: from z = n = 0, which means w = 0."""
    z, n, points = np.zeros_like(START), np.zeros_like(START), []
    for g in GRADS:
        w = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2)
        w = np.where(np.abs(z) <= l1, 0.0, w)
        points.append(w)
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z, n = z + g - sigma * w, n + g**2
    w = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2)
    points.append(np.where(np.abs(z) <= l1, 0.0, w))
    return np.stack(points)


@pytest.mark.parametrize(
    "numbers", [(0.3, 1.0, 2.0, 0.5), (0.3, 0.5, 0.0, 0.1), (1.0, 0.1, 5.0, 0)]
)
def test_ftrl_is_its_formula(numbers):
    zeros = jax.tree.map(np.zeros_like, PARAMS)
    steps = updates_of(optimizers.ftrl(*numbers), zeros, GRADIENTS)
    points = np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])
    expected = ftrl_by_hand(*numbers)
    # sums of updates, whose digits are lost where a point returns to zero
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-12)
    if numbers[2] > 0:
        assert 0.05 < np.mean(expected[1:] == 0) < 0.95


def test_ftrl_leaves_zero_when_the_gradients_exceed_l1():
    tx, w = optimizers.ftrl(0.1, l1=1.05), jnp.zeros(1)
    state, moves = tx.init(w), []
    for _ in range(15):
        updates, state = tx.update(jnp.full(1, 0.1), state, w)
        w = w + updates
        moves.append(bool(w[0] != 0))
    assert moves == [False] * 10 + [True] * 5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_ftrl_stops_at_an_exact_zero(dtype):
    """It starts where the params are; without a rate nothing moves."""
    w, g = jnp.asarray([0.7, -0.3, 3.0], dtype), jnp.asarray([4.0, -4.0, 1.0], dtype)
    still, _ = optimizers.ftrl(0.0, l1=1.0).update(g, optimizers.ftrl(0.0).init(w), w)
    np.testing.assert_array_equal(still, 0.0)
    tx = optimizers.ftrl(1.0, l1=10.0)
    updates, _ = tx.update(g, tx.init(w), w)
    np.testing.assert_array_equal(w + updates, [0.0, 0.0, 2.5])  # 3 - 1 / (1 + 1)


@pytest.mark.parametrize("rate", [0.1, rates])
def test_ftrl_without_penalties_is_adagrad(rate):
    adagrad = optimizers.adagrad(rate, 0.0, 0.5, eps_in_sqrt=False)
    assert distance(updates_of(optimizers.ftrl(rate, 0.5)), updates_of(adagrad)) <= 1e-12


@pytest.mark.parametrize("rate", [0.1, rates])
def test_sgdw_is_its_formula(rate):
    """Loshchilov & Hutter 2019, algorithm 1: schedule eta_t, rate alpha, lambda = d alpha."""
    momentum, lamda, alpha = 0.9, 0.03, 0.3
    m = np.zeros_like(START)

    def step(t, w, g):
        nonlocal m
        eta = (rate(t) if callable(rate) else rate) / alpha
        m = momentum * m + eta * alpha * g
        return -m - eta * lamda * w

    tx = optimizers.sgdw(rate, momentum, weight_decay=lamda / alpha)
    assert distance(updates_of(tx), points_of(step)) <= 1e-12


def test_sgdw_without_momentum_is_coupled_decay_and_with_it_is_not():
    coupled = lambda momentum: transforms.chain(
        transforms.add_decayed_weights(0.1), optimizers.sgd(0.1, momentum)
    )
    ours = [updates_of(optimizers.sgdw(0.1, momentum, 0.1)) for momentum in (0.0, 0.9)]
    assert distance(ours[0], updates_of(coupled(0.0))) <= 1e-12
    assert distance(ours[1], updates_of(coupled(0.9))) > 1e-2


@pytest.mark.parametrize(
    ("tx", "name", "options"),
    [
        (optimizers.adam_l2(0.1, weight_decay=0.2), "Adam", {"weight_decay": 0.2}),
        (optimizers.adamw(0.1, weight_decay=0.2), "AdamW", {"weight_decay": 0.2}),
        (
            transforms.chain(transforms.add_decayed_weights(0.2), optimizers.sgd(0.1, 0.9)),
            "SGD",
            {"weight_decay": 0.2, "momentum": 0.9},
        ),
        (optimizers.sgdw(0.1, 0.0, 0.2), "SGD", {"weight_decay": 0.2}),
    ],
)
def test_torch_agrees_on_decay(tx, name, options):
    theirs = torch_updates(of_torch(name, lr=0.1, **options))
    assert distance(updates_of(tx), theirs) <= 1e-10


def value_of(params, grads):
    return {"value": 0.3 + 0.1 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))}


@pytest.mark.parametrize("variant", ["sps", "sps+"])
@pytest.mark.parametrize("numbers", [(1.0, 1.0, 0.0, 0.0), (0.05, 1.0, 2.0, 1e-2)])
def test_polyak_sgd_is_that_of_optax(numbers, variant, standard_promotion):
    ours, theirs = (
        updates_of(library.polyak_sgd(*numbers, variant), PARAMS, GRADIENTS, value_of)
        for library in (optimizers, optax)
    )
    assert distance(ours + 1e-300, theirs + 1e-300) <= 1e-12


@pytest.mark.parametrize("scaling", [0.5, rates])
def test_polyak_sgd_scales_the_step_as_its_formula_says(scaling):
    """In optax a scaling of 1/2 doubles the step."""

    def step(t, w, g):
        size = min((0.3 + 0.1 * np.sum(w**2) + 1) / np.sum(g**2), 0.02)
        return -(scaling(t) if callable(scaling) else scaling) * size * g

    tx = optimizers.polyak_sgd(0.02, scaling, -1.0)
    assert distance(updates_of(tx, PARAMS, GRADIENTS, value_of), points_of(step)) <= 1e-12


def test_polyak_step_lands_on_the_minimum_of_a_cone():
    """f = |w - c|: the step f / |g|^2 g = w - c."""
    center, w = jnp.array([1.0, 2.0]), jnp.array([4.0, -2.0])
    value, grad = jax.value_and_grad(lambda w: jnp.linalg.norm(w - center))(w)
    tx = optimizers.polyak_sgd(jnp.inf)
    updates, _ = tx.update(grad, tx.init(w), w, value=value)
    np.testing.assert_allclose(w + updates, center, rtol=1e-14)


def test_distance_over_gradients_is_that_of_optax(standard_promotion):
    """Except on scalars, whose state changes its shape there."""
    ours, theirs = (
        updates_of(
            library.scale_by_distance_over_gradients(1e-2, 1e-8, jnp.float64, -0.1), FIRST, MATRICES
        )
        for library in (transforms, optax)
    )
    assert distance(ours, theirs) <= 1e-12


@pytest.mark.parametrize("min_scale", [1e-3, 10.0])
@pytest.mark.parametrize("name", ["scale_by_param_block_norm", "scale_by_param_block_rms"])
def test_block_scaling_is_that_of_optax(name, min_scale, standard_promotion):
    params = jax.tree.map(jnp.asarray, PARAMS)
    grads = jax.tree.map(lambda g: jnp.asarray(g[0]), GRADIENTS)
    ours, theirs = (
        getattr(library, name)(min_scale).update(grads, (), params)[0]
        for library in (transforms, optax)
    )
    for mine, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-14)


LEAFWISE = {
    "lamb": optimizers.lamb(0.1, eps=1e-8),
    "lamb, decaying": optimizers.lamb(0.1, eps=1e-8, weight_decay=0.1),
    "lars": optimizers.lars(0.1),
    "fromage": optimizers.fromage(0.1),
    "fromage, no least norm": optimizers.fromage(0.1, 0.0),
    "adafactor": optimizers.adafactor(0.1),
    "adafactor, factored": optimizers.adafactor(0.1, 2),
    "sm3": optimizers.sm3(0.1),
    "ftrl": optimizers.ftrl(0.1),
    "ftrl, no beta": optimizers.ftrl(0.1, 0.0),
    "adagrad_norm": optimizers.adagrad_norm(0.1, 0.0),
    "ldog": transforms.scale_by_distance_over_gradients(eps=0.0),
    "normalized": transforms.normalize_by_update_norm(eps=0.0),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", LEAFWISE)
def test_zero_params_and_zero_updates_give_no_nan(name, dtype):
    """Norms, squares and ratios of narrow numbers; 1e-4 squared is 0 in float16."""
    tx = LEAFWISE[name]
    for w in (0.0, 1e-4, 300.0):
        for g in (0.0, 1e-7, 1e-4, 300.0):
            params = {"w": jnp.full((3, 40), w, dtype), "b": jnp.full(3, w, dtype)}
            grads = jax.tree.map(lambda p, g=g: jnp.full_like(p, g), params)
            updates, state = tx.update(grads, tx.init(params), params)
            updates, _ = tx.update(grads, state, params)
            for leaf in jax.tree.leaves(updates):
                assert leaf.dtype == dtype
                assert bool(jnp.isfinite(leaf).all()), (name, w, g, leaf)


def test_a_float16_leaf_moves_by_its_own_norm():
    """The norm of 300s in float16 is infinite; of 1e-4s it is 0."""
    w, g = jnp.full(1000, 300, jnp.float16), jnp.full(1000, 1e-4, jnp.float16)
    updates, _ = transforms.scale_by_trust_ratio().update(g, (), w)
    np.testing.assert_allclose(updates, 300, rtol=1e-3)  # float16's resolution


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "name", ["adafactor", "adafactor, factored", "sm3", "ftrl", "lamb", "lars"]
)
def test_slopes_of_a_training_are_finite_where_gradients_are_zero(name, dtype):
    """With eps = 1e-30 the slope of 1 / sqrt overflows in float32, and meets a zero."""

    def final(w):
        params = {"w": w, "b": w[0]}
        tx = LEAFWISE[name]
        state = tx.init(params)
        for _ in range(3):
            grads = {"w": params["w"].at[:, 1].set(0.0), "b": params["b"] * 0}
            updates, state = tx.update(grads, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return jnp.sum(params["w"] ** 2)

    slope = jax.grad(final)(jnp.asarray(np.linspace(1.0, 2.0, 12).reshape(3, 4), dtype))
    assert bool(jnp.isfinite(slope).all()), slope


def test_a_constant_and_a_scheduled_rate_of_rprop():
    """A schedule gives the first length, and scales the steps by its value over the first."""
    constant = updates_of(optimizers.rprop(0.3))
    assert distance(updates_of(optimizers.rprop(lambda t: 0.3)), constant) <= 1e-15
    scaled = constant * np.exp(-0.01 * np.arange(STEPS))[:, None]
    assert distance(updates_of(optimizers.rprop(rates)), scaled) <= 1e-12


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: optimizers.adafactor(-1.0), r"`learning_rate` must lie in \[0, inf\), got -1.0"),
        (lambda: optimizers.adafactor(momentum=1.0), r"adafactor: `momentum` must lie in \[0, 1\)"),
        (lambda: optimizers.adafactor(decay_rate=-1.0), "scale_by_factored_rms: `decay_rate`"),
        (lambda: optimizers.adafactor(clipping_threshold=-1.0), "adafactor: `clipping_threshold`"),
        (lambda: optimizers.adafactor(weight_decay_rate=-1.0), "adafactor: `weight_decay_rate`"),
        (lambda: optimizers.adagrad_norm(0.1, -1.0), "`initial_accumulator_value` must lie"),
        (lambda: optimizers.fromage(0.1, -1.0), "fromage: `min_norm` must lie"),
        (lambda: optimizers.ftrl(0.1, l1=-1.0), r"ftrl: `l1` must lie in \[0, inf\), got -1.0"),
        (lambda: optimizers.lars(0.1, momentum=1.0), r"lars: `momentum` must lie in \[0, 1\)"),
        (lambda: optimizers.lars(0.1, eps=-1.0), "scale_by_trust_ratio: `eps` must lie"),
        (lambda: optimizers.polyak_sgd(scaling=-1.0), "polyak_sgd: `scaling` must lie"),
        (lambda: optimizers.polyak_sgd(variant="sps-"), "must be one of sps, sps\\+, got 'sps-'"),
        (
            lambda: optimizers.rprop(warmup_constant_schedule(0.0, 0.1, 10)),
            r"rprop: `learning_rate\(0\)` must lie in \(0, inf\)",
        ),
        (lambda: optimizers.sgdw(0.1, weight_decay=-1.0), "sgdw: `weight_decay` must lie"),
        (lambda: optimizers.sm3(0.1, 1.0), r"sm3: `momentum` must lie in \[0, 1\), got 1.0"),
        (
            lambda: transforms.scale_by_trust_ratio().update(jnp.ones(2), ()),
            "scale_by_trust_ratio reads the parameters: call",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_polyak_steps_need_the_loss():
    with pytest.raises(TypeError, match="scale_by_polyak reads the loss: call `update"):
        optimizers.polyak_sgd().update(jnp.ones(2), ((), ((), ())), jnp.ones(2))


def test_what_shapes_the_state_is_static(as_users_run_it):
    with pytest.raises(TypeError, match="`min_dim_size_to_factor` is static"):
        jax.jit(lambda n: optimizers.adafactor(0.1, n).init(jnp.ones(3)))(3)
