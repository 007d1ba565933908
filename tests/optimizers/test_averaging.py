"""Averages of iterates and rates found on the way: the papers' formulas, and what they promise."""

import functools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers
from jaxopt_course.transforms import (
    apply_updates,
    evaluation_params,
    inject_hyperparams,
)
from tests.optimizers import record_schedule_free as record
from tests.optimizers.trajectories import GRADIENTS, PARAMS, distance, flat, updates_of


def along(step, *, params=PARAMS, gradients=GRADIENTS):
    """The updates of ``step(w, g, t) -> new w``, in NumPy; one flat vector for the whole tree."""
    w = flat(jax.tree.map(lambda x: np.asarray(x)[None], params))[0]
    updates = []
    for t, g in enumerate(flat(gradients)):
        new = step(w, g, t)
        updates.append(new - w)
        w = new
    return np.stack(updates)


def schedule(t):
    t = t.astype(float) if isinstance(t, jax.Array) else t  # int32 / int32 would be float32
    return 0.1 * (t / (t + 3))


def mars_by_hand(a=0.1, b1=0.9, b2=0.97, eps=1e-3, gamma=0.3, d=0.1):
    m = v = 0.0
    last = None

    def step(w, g, t):
        nonlocal m, v, last
        last = g if last is None else last
        c = g + gamma * b1 / (1 - b1) * (g - last)
        c = c / np.linalg.norm(c) if np.linalg.norm(c) > 1 else c
        m, v, last = b1 * m + (1 - b1) * c, b2 * v + (1 - b2) * c**2, g
        m_hat, v_hat = m / (1 - b1 ** (t + 1)), v / (1 - b2 ** (t + 1))
        return w - a * (m_hat / (np.sqrt(v_hat) + eps) + d * w)

    return step


def madgrad_by_hand(rate=schedule, momentum=0.8, d=0.1, eps=1e-3):
    s = squares = 0.0
    first = None

    def step(w, g, t):
        nonlocal s, squares, first
        first = w if first is None else first
        g = g + d * w
        lamb = (rate(t) + eps) * np.sqrt(t + 1)
        s, squares = s + lamb * g, squares + lamb * g**2
        z = first - s / (np.cbrt(squares) + eps)
        return momentum * w + (1 - momentum) * z

    return step


def schedule_free_by_hand(rate=schedule, b1=0.8, power=1.5, d=0.1, adam=None):
    """The three sequences as they stand in the paper; the step returns y."""
    x = z = None
    v = largest = weights = 0.0

    def step(y, g, t):
        nonlocal x, z, v, largest, weights
        x, z = (y, y) if x is None else (x, z)
        if adam is not None:
            b2, eps = adam
            v = b2 * v + (1 - b2) * g**2
            g = g / (np.sqrt(v / (1 - b2 ** (t + 1))) + eps)
        z = z - rate(t) * (g + d * y)
        largest = max(largest, rate(t))
        weights += largest**power
        c = largest**power / weights if weights > 0 else 0.0
        x = (1 - c) * x + c * z
        step.x = x
        return (1 - b1) * z + b1 * x

    return step


def dadapt_by_hand(b1=0.8, b2=0.95, eps=1e-3, d=0.1, decay=0.1):
    """The paper's algorithm 5, with optax's bias corrections and its order of v and s."""
    m = v = s = r = np.zeros(16)

    def step(w, g, t):
        nonlocal m, v, s, r, d
        q = np.sqrt(b2)
        length = d * schedule(t) * np.sqrt(1 - b2 ** (t + 1)) / (1 - b1 ** (t + 1))
        r = q * r + (1 - q) * length * np.sum(g * s / (np.sqrt(v) + eps))
        m = b1 * m + (1 - b1) * length * g
        v = b2 * v + (1 - b2) * g**2
        s = q * s + (1 - q) * length * g
        if np.abs(s).sum() > 0:
            d = max(d, np.max(r) / ((1 - q) * np.abs(s).sum()))
        return w - m / (np.sqrt(v) + eps) - decay * length * w

    return step


BY_HAND = {
    "mars": (
        lambda: optimizers.mars(0.1, 0.9, 0.97, 1e-3, gamma=0.3, weight_decay=0.1),
        mars_by_hand,
    ),
    "madgrad": (lambda: optimizers.madgrad(schedule, 0.8, 0.1, 1e-3), madgrad_by_hand),
    "schedule_free": (
        lambda: optimizers.schedule_free(
            optax.chain(optax.add_decayed_weights(0.1), optimizers.sgd(schedule)),
            schedule,
            0.8,
            1.5,
        ),
        schedule_free_by_hand,
    ),
    "schedule_free_sgd": (
        lambda: optimizers.schedule_free_sgd(0.1, 7, 0.8, 0.1, 1.5),
        functools.partial(schedule_free_by_hand, lambda t: 0.1 * min(t / 7, 1)),
    ),
    "schedule_free_adamw": (
        lambda: optimizers.schedule_free_adamw(0.1, 7, 0.8, 0.95, 1e-3, 0.1, 1.5),
        functools.partial(schedule_free_by_hand, lambda t: 0.1 * min(t / 7, 1), adam=(0.95, 1e-3)),
    ),
    "dadapt_adamw": (
        lambda: optimizers.dadapt_adamw(schedule, (0.8, 0.95), 1e-3, 0.1, 0.1),
        dadapt_by_hand,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_updates_are_those_of_the_formulas(name, standard_promotion):
    build, by_hand = BY_HAND[name]
    # by hand an update is a difference of params of size 10, which rounds by 1e-15
    np.testing.assert_allclose(updates_of(build()), along(by_hand()), rtol=1e-10, atol=1e-13)


def test_madgrad_is_as_near_to_optax_as_its_float32_root(standard_promotion):
    theirs = updates_of(optax.contrib.madgrad(0.1, weight_decay=0.1))
    assert distance(updates_of(optimizers.madgrad(0.1, weight_decay=0.1)), theirs) <= 1e-6


def test_evaluation_params_are_the_average(standard_promotion):
    tx = optimizers.schedule_free(optimizers.sgd(schedule), schedule, 0.8)
    step = schedule_free_by_hand(b1=0.8, power=2.0, d=0.0)
    along(step)
    params, state = jax.tree.map(jnp.asarray, PARAMS), tx.init(PARAMS)
    update = jax.jit(tx.update)
    for t in range(200):
        updates, state = update(jax.tree.map(lambda x, t=t: x[t], GRADIENTS), state, params)
        params = jax.tree.map(jnp.add, params, updates)
    average = optimizers.schedule_free_eval_params(state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(average, params)
    ours = flat(jax.tree.map(lambda x: x[None], average))[0]
    np.testing.assert_allclose(ours, step.x, rtol=1e-11)
    theirs = optax.contrib.schedule_free_eval_params(state, params)
    chex.assert_trees_all_close(average, theirs, rtol=1e-14)


def test_evaluation_params_are_found_in_a_chain():
    tx = optax.chain(optax.clip(1.0), optimizers.schedule_free_sgd(0.1))
    params = jnp.array([1.0, -2.0])
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(2 * params, state, params)
        params = params + updates
    expected = optimizers.schedule_free_eval_params(state[1], params)
    chex.assert_trees_all_equal(evaluation_params(state, params), expected)
    assert np.abs(expected - params).max() > 1e-3


def test_evaluation_params_of_masked_leaves_are_themselves():
    tx = optax.masked(optimizers.schedule_free_sgd(0.1), {"a": True, "b": False})
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    updates, state = tx.update(params, tx.init(params), params)
    evaluated = evaluation_params(state, jax.tree.map(jnp.subtract, params, updates))
    np.testing.assert_array_equal(evaluated["b"], 0.0)


def test_the_first_step_of_a_warmup_from_zero_stands_still():
    """optax's Schedule-Free reads its schedule at 1 first."""
    tx = optimizers.schedule_free(optimizers.sgd(schedule), schedule)
    params = jnp.array([1.0, 2.0])
    updates, state = tx.update(params, tx.init(params), params)
    assert not updates.any()
    assert float(state.max_lr) == schedule(0) == 0.0
    _, state = tx.update(params, state, params)
    np.testing.assert_allclose(state.max_lr, schedule(1))


def test_an_equal_average_of_gradient_descent_has_a_closed_form():
    """With b1 = 1 and equal weights the params are the mean of z_1 to z_t."""
    tx = optimizers.schedule_free(optimizers.sgd(0.1), 0.1, b1=1.0, weight_lr_power=0.0)
    params = jnp.array([1.0, -2.0])
    state, gradient = tx.init(params), jnp.array([3.0, 1.0])
    first = params
    for _ in range(9):
        updates, state = tx.update(gradient, state, params)
        params = params + updates
    np.testing.assert_allclose(params, first - 0.1 * gradient * np.mean(range(1, 10)), rtol=1e-12)


# Convergence

CURVATURE = jnp.array([1.0, 0.3, 3.0])
TARGET = jnp.array([1.0, -2.0, 0.5])


def trained(tx, steps, start, target, evaluate=lambda state, params: params):
    loss = lambda w: jnp.sum(CURVATURE * (w - target) ** 2) / 2

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (apply_updates(params, updates), state), None

    run = jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), length=steps)[0])
    params, state = run(start)
    return evaluate(state, params)


def fading(peak, steps=1000):
    return lambda t: peak * (1 - t / steps)


CONVERGE = {
    "ademamix": lambda: optimizers.ademamix(fading(0.1), b3=0.99),
    "adopt": lambda: optimizers.adopt(fading(0.1), b2=0.99),
    "madgrad": lambda: optimizers.madgrad(0.1),
    "mars": lambda: optimizers.mars(fading(0.1)),
    "schedule_free": lambda: optimizers.schedule_free(optimizers.sgd(0.3), 0.3),
    "schedule_free_adamw": lambda: optimizers.schedule_free_adamw(0.3),
    "schedule_free_sgd": lambda: optimizers.schedule_free_sgd(0.3, warmup_steps=10),
    "simplified_ademamix": lambda: optimizers.simplified_ademamix(fading(0.01), b1=0.9, alpha=5.0),
}


@pytest.mark.parametrize("name", CONVERGE)
def test_a_quadratic_is_minimized(name):
    evaluate = optimizers.schedule_free_eval_params if "schedule_free" in name else lambda s, p: p
    params = trained(CONVERGE[name](), 1000, jnp.zeros(3), TARGET, evaluate)
    np.testing.assert_allclose(params, TARGET, atol=0.02)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("name", ["dadapt_adamw", "dog", "dowg", "prodigy"])
def test_no_rate_needs_tuning(name, scale):
    """From the defaults to the solution, a tenth or a hundred away; a fixed rate cannot."""
    params = trained(getattr(optimizers, name)(), 5000, jnp.zeros(3), scale * TARGET)
    gap = np.linalg.norm(params - scale * TARGET) / np.linalg.norm(scale * TARGET)
    assert gap < 0.02, f"{gap:.1e}"


# States

COPIES = {  # those that keep params
    "schedule_free_sgd": lambda: optimizers.schedule_free_sgd(),
    "prodigy": lambda: optimizers.prodigy(),
    "dog": lambda: optimizers.dog(),
    "dowg": lambda: optimizers.dowg(),
    "madgrad": lambda: optimizers.madgrad(0.1),
}


DONATED = COPIES | {
    "ademamix": lambda: optimizers.ademamix(0.1),
    "adopt": lambda: optimizers.adopt(0.1),
    "dadapt_adamw": lambda: optimizers.dadapt_adamw(),
    "mars": lambda: optimizers.mars(0.1),
    "schedule_free_adamw": lambda: optimizers.schedule_free_adamw(warmup_steps=3),
    "simplified_ademamix": lambda: optimizers.simplified_ademamix(0.1),
}


@pytest.mark.parametrize("name", DONATED)
def test_params_and_state_can_both_be_donated(name):
    tx, params = DONATED[name](), {"w": jnp.ones(3)}
    state = tx.init(params)
    jax.jit(lambda p, s: tx.update(p, s, p), donate_argnums=(0, 1))(params, state)


@pytest.mark.parametrize("name", COPIES)
def test_shared_numbers_are_wide_and_finite_in_float16(name):
    """Zero gradients, then ones whose squares sum to more than float16 holds."""
    tx, params = COPIES[name](), jnp.full(70_000, 0.5, jnp.float16)
    state = tx.init(params)
    for gradient in (jnp.zeros_like(params), jnp.ones_like(params)):
        updates, state = tx.update(gradient, state, params)
        assert updates.dtype == jnp.float16
        for leaf in jax.tree.leaves((updates, state)):
            assert np.isfinite(np.asarray(leaf, np.float32)).all()
            assert (
                leaf.shape
                or not jnp.issubdtype(leaf.dtype, jnp.floating)
                or (leaf.dtype.itemsize >= 4)
            )


def test_b1_of_injected_hyperparameters_reaches_the_evaluation():
    tx = inject_hyperparams(optimizers.schedule_free_sgd)(b1=0.5)
    params = jnp.ones(2)
    state = tx.init(params)
    state.hyperparams["b1"] = jnp.asarray(0.8, state.hyperparams["b1"].dtype)
    _, state = tx.update(params, state, params)
    np.testing.assert_allclose(state.inner_state.b1, 0.8, rtol=1e-6)


# Error sentences

BAD = [
    ("schedule_free", {"base_optimizer": optax.sgd(0.1), "learning_rate": 0.1, "b1": 0.0}, "b1"),
    ("schedule_free", {"base_optimizer": optax.sgd(0.1), "learning_rate": -1.0}, "learning_rate"),
    ("schedule_free_sgd", {"weight_lr_power": -1.0}, "weight_lr_power"),
    ("schedule_free_adamw", {"warmup_steps": -1.0}, "warmup_steps"),
    ("prodigy", {"betas": (0.9, 1.0)}, r"betas\[1\]"),
    ("prodigy", {"estim_lr_coef": 0.0}, "estim_lr_coef"),
    ("dadapt_adamw", {"estim_lr0": 0.0}, "estim_lr0"),
    ("dadapt_adamw", {"weight_decay": -0.1}, "weight_decay"),
    ("dog", {"init_step": ("distances", 0.1)}, "Did you mean 'distance'"),
    ("dog", {"init_step": ("distance", 0.0)}, r"init_step\[1\]"),
    ("dowg", {"eps": 0.0}, "init_estim_sq_dist"),
    ("ademamix", {"learning_rate": 0.1, "b3": 1.0}, "b3"),
    ("simplified_ademamix", {"learning_rate": 0.1, "alpha": -1.0}, "alpha"),
    ("adopt", {"learning_rate": 0.1, "b2": 1.0}, "b2"),
    ("madgrad", {"learning_rate": 0.1, "momentum": 1.0}, "momentum"),
    ("mars", {"learning_rate": 0.1, "gamma": -1.0}, "gamma"),
]


@pytest.mark.parametrize(("name", "args", "says"), BAD)
def test_bad_arguments_are_named(name, args, says, as_users_run_it):
    with pytest.raises(ValueError, match=says):
        getattr(optimizers, name)(**args)


@pytest.mark.parametrize("name", COPIES)
def test_missing_params_are_named(name):
    tx, params = COPIES[name](), jnp.ones(2)
    with pytest.raises(ValueError, match="reads the parameters"):
        tx.update(params, tx.init(params))


def test_a_warmup_multiplies_a_schedule():
    warmed = lambda t: schedule(t) * jnp.minimum(jnp.asarray(t, float) / 3, 1)
    ours = optimizers.schedule_free_sgd(schedule, warmup_steps=3)
    assert distance(updates_of(ours), updates_of(optimizers.schedule_free_sgd(warmed))) <= 1e-12


def test_evaluation_wants_the_state_of_schedule_free():
    with pytest.raises(TypeError, match="must be a ScheduleFreeState, got tuple"):
        optimizers.schedule_free_eval_params((), jnp.ones(2))


RECORDED = json.loads((pathlib.Path(__file__).parent / "schedule_free.json").read_text())
WARMUP = lambda t: record.RATE * jnp.minimum((t.astype(float) + 1) / record.WARMUP, 1)  # from 1
SCHEDULE_FREE = {
    "sgd": optimizers.schedule_free_sgd(record.RATE, b1=record.B1),
    "sgd_warmup": optimizers.schedule_free_sgd(WARMUP, b1=record.B1),
    "adamw": optimizers.schedule_free_adamw(record.RATE, b1=record.B1, b2=record.B2),
    "adamw_decay": optimizers.schedule_free_adamw(
        record.RATE, b1=record.B1, b2=record.B2, weight_decay=record.DECAY
    ),
}


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_is_the_package_of_its_authors_step_by_step(name):
    """In both of its modes; recorded by ``record_schedule_free.py`` in float64."""
    tx, recorded = SCHEDULE_FREE[name], RECORDED[name]
    matrix, targets = jnp.array(record.MATRIX), jnp.array(record.TARGETS)
    params = jnp.array(record.START)
    state, slope = tx.init(params), jax.grad(lambda w: jnp.sum((matrix @ w - targets) ** 2) / 2)
    for trained, evaluated in zip(recorded["trained"], recorded["evaluated"], strict=True):
        updates, state = tx.update(slope(params), state, params)
        params = apply_updates(params, updates)
        np.testing.assert_allclose(params, trained, rtol=1e-12)
        np.testing.assert_allclose(evaluation_params(state, params), evaluated, rtol=1e-12)
