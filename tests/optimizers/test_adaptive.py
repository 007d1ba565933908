"""The course's adaptive methods, variant by variant, against their formulas in plain NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import adagrad, adam, adamw, delta_bar_delta, rmsprop, rprop, sgd
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate
from tests.optimizers.trajectories import (
    GRADS,
    ORIGIN,
    TIME,
    distance,
    of_torch,
    running_means,
    torch_updates,
    updates_of,
)


M, V = running_means(GRADS, 0.9), running_means(GRADS**2, 0.999)
S = running_means(GRADS**2, 0.9)
SUM = np.cumsum(GRADS**2, axis=0)
FIRST = running_means(GRADS**2, 0.9, GRADS[0] ** 2)

FORMULAS = {
    "adagrad, eps inside": (adagrad(0.1, 0.0, 1e-3), GRADS / np.sqrt(SUM + 1e-3)),
    "adagrad, eps outside": (
        adagrad(0.1, 0.0, 1e-3, eps_in_sqrt=False),
        GRADS / (np.sqrt(SUM) + 1e-3),
    ),
    "adagrad, the rate over sqrt(t + 1) and the root of the mean square": (
        adagrad(0.1, 0.0, 0.0),
        GRADS / np.sqrt(TIME) / np.sqrt(SUM / TIME),
    ),
    "rmsprop, eps inside": (rmsprop(0.1, 0.9, 1e-3), GRADS / np.sqrt(S + 1e-3)),
    "rmsprop, eps outside": (
        rmsprop(0.1, 0.9, 1e-3, eps_in_sqrt=False),
        GRADS / (np.sqrt(S) + 1e-3),
    ),
    "rmsprop from the first gradient": (
        rmsprop(0.1, 0.9, 0.0, from_first_gradient=True),
        GRADS / np.sqrt(FIRST),
    ),
    "adam": (
        adam(0.1),
        M / (1 - 0.9**TIME) / (np.sqrt(V / (1 - 0.999**TIME)) + 1e-8),
    ),
    "adam, eps inside": (
        adam(0.1, eps=0.0, eps_root=1e-3),
        M / (1 - 0.9**TIME) / np.sqrt(V / (1 - 0.999**TIME) + 1e-3),
    ),
    "adam, no bias correction": (
        adam(0.1, bias_correction=False),
        M / (np.sqrt(V) + 1e-8),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_variant_is_its_formula(name):
    """Course, section 1: AdaGrad, RMSProp, Adam; eps inside and outside; both starts."""
    tx, scaled = FORMULAS[name]
    # 1e-11: near b2 = 1, NumPy's 1 - b2^t loses three digits that ours keeps
    assert distance(updates_of(tx), -0.1 * scaled) <= 1e-11


def test_a_negative_first_gradient_goes_downhill():
    """The course divides by g_0 with its sign, which would step uphill; |g_0| is meant."""
    tx = rmsprop(0.1, from_first_gradient=True)
    update, _ = tx.update(jnp.array(-2.0), tx.init(jnp.array(0.0)))
    np.testing.assert_allclose(update, 0.1, rtol=1e-8)


def test_correcting_by_one_minus_b1_instead_of_its_power_would_differ():
    """One part of the course prints 1 - b1 for 1 - b1^t: an error, not a variant."""
    printed = -0.1 * M / (1 - 0.9) / (np.sqrt(V / (1 - 0.999)) + 1e-8)
    assert distance(updates_of(adam(0.1)), printed) > 0.1


def test_decay_beside_and_before_the_moments_differ_for_adam_only():
    """Coupled and decoupled decay: one for gradient descent, two for Adam (course, section 2)."""
    before = chain(add_decayed_weights(0.1), sgd(0.1))
    beside = chain(add_decayed_weights(0.1), scale_by_learning_rate(0.1))
    assert distance(updates_of(before), updates_of(beside)) <= 1e-12
    before = chain(add_decayed_weights(0.1), adam(0.1))
    assert distance(updates_of(before), updates_of(adamw(0.1, weight_decay=0.1))) > 1e-2


def rprop_by_hand(grads, size, minus, plus, low, high):
    updates, before = [], np.zeros_like(grads[0])
    size = np.full_like(grads[0], size)
    for g in grads:
        same = np.sign(g) * np.sign(before)
        size = np.where(same > 0, np.minimum(size * plus, high), size)
        size = np.where(same < 0, np.maximum(size * minus, low), size)
        before = np.where(same < 0, 0.0, g)
        updates.append(-size * np.sign(before))
    return np.stack(updates)


def test_rprop_is_its_formula():
    tx = rprop(0.1, 0.5, 1.2, 1e-3, 0.3)
    assert distance(updates_of(tx), rprop_by_hand(GRADS, 0.1, 0.5, 1.2, 1e-3, 0.3)) <= 1e-12


def jacobs_by_hand(grads, rate, kappa, phi, theta):
    updates, gain, mean = [], np.ones_like(grads[0]), np.zeros_like(grads[0])
    for g in grads:
        gain = np.where(mean * g > 0, gain + kappa, np.where(mean * g < 0, gain * (1 - phi), gain))
        mean = theta * mean + (1 - theta) * g
        updates.append(-rate * gain * g)
    return np.stack(updates)


def test_delta_bar_delta_is_its_formula():
    """Course, section 1: rates per parameter from the sign of the gradient (Jacobs 1988)."""
    tx = delta_bar_delta(0.1, 0.05, 0.2, 0.7)
    assert distance(updates_of(tx), jacobs_by_hand(GRADS, 0.1, 0.05, 0.2, 0.7)) <= 1e-12


@pytest.mark.parametrize(
    ("tx", "name", "options"),
    [
        (adam(0.1), "Adam", {"lr": 0.1}),
        (adagrad(0.1, 0.2, 1e-3, eps_in_sqrt=False), "Adagrad",
         {"lr": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-3}),
        (rmsprop(0.1, 0.99, 1e-3, eps_in_sqrt=False), "RMSprop", {"lr": 0.1, "eps": 1e-3}),
        (rmsprop(0.1, 0.99, 1e-3, eps_in_sqrt=False, centered=True), "RMSprop",
         {"lr": 0.1, "eps": 1e-3, "centered": True}),
        (rprop(0.1, 0.5, 1.2, 1e-6, 50.0), "Rprop", {"lr": 0.1}),
    ],
)  # fmt: skip
def test_torch_agrees(tx, name, options):
    # 1e-10: differences of points lose the digits that the points have more than the updates
    assert distance(updates_of(tx), torch_updates(of_torch(name, **options), ORIGIN)) <= 1e-10


def test_a_constant_gradient_has_no_spread_and_does_no_harm():
    """Centered RMSProp: rounding may push the variance below 0, where a root would be NaN."""
    tx = rmsprop(0.1, 0.9, 1e-8, centered=True)
    state = tx.init(jnp.zeros((), jnp.float32))
    for _ in range(50):
        update, state = tx.update(jnp.asarray(0.1, jnp.float32), state)
        assert bool(jnp.isfinite(update))
