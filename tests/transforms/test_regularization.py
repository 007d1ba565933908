"""The links of regularization: the rows of section 2 of the course, one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq

from jaxopt_course import data, optimizers, regularizers, transforms
from jaxopt_course.regularizers import by_path, l1_penalty, l2_penalty, prox_l1, prox_l2
from tests.transforms.stepping import run


PARAMS = {"kernel": jnp.array([2.0, 0.0, -0.03]), "bias": jnp.array([0.01])}
GRADS = {"kernel": jnp.array([1.0, -0.02, 0.0]), "bias": jnp.array([0.0])}
RATE, STRENGTH = 0.1, 0.5
LASSO = functools.partial(prox_l1, strength=STRENGTH)


def after(tx, params=PARAMS, grads=GRADS, steps=1):
    """The params after so many steps along the same gradients."""
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = transforms.apply_updates(params, updates)
    return params


def test_the_slope_of_the_l2_penalty_is_weight_decay_of_the_weights():
    """Course 2, L2 in the loss: its gradient is lambda w, biases left out."""
    decayed = transforms.add_decayed_weights(STRENGTH, mask=regularizers.weights_only)
    by_slope = transforms.add_penalty(functools.partial(l2_penalty, strength=STRENGTH))
    ours, theirs = (after(transforms.chain(tx, optimizers.sgd(RATE))) for tx in (by_slope, decayed))
    for name in PARAMS:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-15)
    np.testing.assert_array_equal(ours["bias"], PARAMS["bias"])


def test_coupled_and_decoupled_decay_are_one_for_descent_and_two_for_adam():
    """Course 2, weight decay: w <- (1 - eta lambda) w - eta g."""
    w, g = PARAMS["kernel"], GRADS["kernel"]
    formula = (1 - RATE * STRENGTH) * w - RATE * g
    coupled = lambda tx: transforms.chain(transforms.add_decayed_weights(STRENGTH), tx)
    decoupled = optimizers.sgdw(RATE, momentum=0.0, weight_decay=STRENGTH)
    for tx in (coupled(optimizers.sgd(RATE)), decoupled):
        np.testing.assert_allclose(after(tx)["kernel"], formula, rtol=1e-14)
    # Adam's first step has the size of the rate: coupled decay drowns in it, decoupled does not.
    adam, adamw = coupled(optimizers.adam(RATE)), optimizers.adamw(RATE, weight_decay=STRENGTH)
    np.testing.assert_allclose(after(adam)["kernel"][0], 2.0 - RATE, rtol=1e-7)
    np.testing.assert_allclose(
        after(adamw)["kernel"][0], (1 - RATE * STRENGTH) * 2.0 - RATE, rtol=1e-7
    )


def test_a_hard_constraint_is_met_and_its_multiplier_is_positive():
    """Course 2, L2 as a hard constraint: minimise subject to |theta|^2 <= lambda.

    At the solution |theta|^2 = lambda and -grad f = mu theta with mu > 0: it is the ridge
    solution of that strength, found here by the root of |theta(mu)|^2 = lambda.
    """
    rng = np.random.default_rng(0)
    a, limit = rng.normal(size=(20, 4)), 0.5
    gram, moment = a.T @ a / 20, a.T @ rng.normal(size=20) * 0.5
    ridge = lambda mu: np.linalg.solve(gram + mu * np.eye(4), moment)
    mu = brentq(lambda mu: ridge(mu) @ ridge(mu) - limit, 0.0, 1e3, xtol=1e-14)
    assert mu > 0.1
    project = functools.partial(regularizers.project_l2_constraint, limit=limit)
    tx = transforms.chain(optimizers.sgd(0.2), transforms.projected(project))

    def body(w, _):
        updates, _ = tx.update(gram @ w - moment, tx.init(w), w)
        return w + updates, None

    w, _ = jax.lax.scan(body, jnp.ones(4), length=500)
    np.testing.assert_allclose(w, ridge(mu), atol=1e-12)
    np.testing.assert_allclose(w @ w, limit, rtol=1e-14)


def test_any_projection_of_optax_keeps_the_params_in_its_set(standard_promotion):
    tx = transforms.projected(optax.projections.projection_non_negative)
    np.testing.assert_array_equal(
        after(transforms.chain(optimizers.sgd(1.0), tx))["kernel"], [1.0, 0.02, 0.0]
    )


def test_the_subgradient_link_adds_signs():
    """Course 2, L1 by subgradient: w <- w - eta lambda sgn(w) - eta g, with sgn(0) = 0."""
    link = transforms.add_l1(STRENGTH)
    expected = PARAMS["kernel"] - RATE * (GRADS["kernel"] + STRENGTH * np.array([1.0, 0.0, -1.0]))
    for tx in (link, transforms.add_penalty(functools.partial(l1_penalty, strength=STRENGTH))):
        new = after(transforms.chain(tx, optimizers.sgd(RATE)))
        np.testing.assert_allclose(new["kernel"], expected, rtol=1e-14)
        np.testing.assert_array_equal(new["bias"], PARAMS["bias"])
    everywhere = after(transforms.add_l1(STRENGTH, mask=None))
    np.testing.assert_allclose(everywhere["bias"], [0.01 + STRENGTH])


def test_a_strength_may_follow_a_schedule():
    updates, _ = run(
        transforms.add_l1(lambda step: 0.5 / (step.astype(float) + 1)), [1.0, 1.0, 1.0]
    )
    np.testing.assert_allclose(updates, [1.5, 1.25, 1.0 + 0.5 / 3], rtol=1e-7)


def test_the_threshold_is_the_rate_times_the_strength():
    """Course 2, L1 by soft threshold: S(x) = sign(x) max(0, |x| - eta lambda) after the step.

    The course's S hides the step size; the operator itself takes its threshold.
    """
    x = PARAMS["kernel"] - RATE * GRADS["kernel"]
    expected = np.sign(x) * np.maximum(0, np.abs(x) - RATE * STRENGTH)
    new = after(optimizers.ista(LASSO, RATE))
    np.testing.assert_allclose(new["kernel"], expected, rtol=1e-14)
    np.testing.assert_array_equal(new["kernel"] == 0, [False, True, True])
    np.testing.assert_array_equal(new["bias"], PARAMS["bias"])
    np.testing.assert_allclose(prox_l1(x, RATE * STRENGTH), expected, rtol=1e-14)


def test_the_threshold_follows_the_schedule_of_the_rate():
    schedule = lambda step: jnp.where(step == 0, 0.1, 0.02)
    tx = optimizers.ista(LASSO, schedule)
    updates, states = run(tx, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(updates, [-0.05, -0.01, -0.01], rtol=1e-6)
    assert [int(state[1].inner_state.step) for state in states] == [1, 2, 3]


def test_each_layer_may_have_its_own_penalty():
    """Course 2, L1 + L2, per-layer strengths: by masks in a chain, or by a partition."""
    params = {"first": {"w": jnp.array([1.0, -0.02])}, "second": {"w": jnp.array([1.0, -0.02])}}
    zeros = jax.tree.map(jnp.zeros_like, params)
    ridge = functools.partial(prox_l2, strength=2.0)
    is_first = by_path({"first": True}, otherwise=False)
    is_second = by_path({"second": True}, otherwise=False)
    chained = transforms.chain(
        transforms.proximal(LASSO, RATE, is_first), transforms.proximal(ridge, RATE, is_second)
    )
    links = {
        "lasso": transforms.proximal(LASSO, RATE),
        "ridge": transforms.proximal(ridge, RATE),
    }
    parted = transforms.partition(links, by_path({"first": "lasso"}, otherwise="ridge"))
    for tx in (chained, parted):
        new = after(tx, params, zeros)
        np.testing.assert_allclose(new["first"]["w"], [0.95, 0.0], rtol=1e-14)
        np.testing.assert_allclose(new["second"]["w"], np.array([1.0, -0.02]) / 1.2, rtol=1e-14)
    net = lambda w: regularizers.elastic_net_penalty(w, l1=STRENGTH, l2=2.0)
    sloped = transforms.add_penalty(net, by_path({"first": 1.0, "second": 0.1}, otherwise=False))
    added, _ = sloped.update(zeros, sloped.init(params), params)
    slope = np.array([STRENGTH + 2.0, -STRENGTH - 0.04])
    np.testing.assert_allclose(added["first"]["w"], slope, rtol=1e-14)
    np.testing.assert_allclose(added["second"]["w"], 0.1 * slope, rtol=1e-14)


@pytest.mark.exhaustive
def test_only_soft_thresholds_make_exact_zeros_of_a_real_training():
    """Course 2, L1 by soft threshold and by subgradient, on logistic regression of tumours."""
    raw = data.breast_cancer()
    x = (raw.inputs - raw.inputs.mean(0)) / raw.inputs.std(0)
    x, t = jnp.asarray(x, float), jnp.asarray(raw.targets, float)
    strength = 0.02
    rate = float(4 * len(t) / np.linalg.norm(x, ord=2) ** 2)  # 1 / (largest curvature)

    def loss(params):
        z = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, z) - t * z)

    def trained(tx):
        def body(carry, _):
            params, state = carry
            ahead = transforms.lookahead_params(state, params)
            updates, state = tx.update(jax.grad(loss)(ahead), state, params)
            return (transforms.apply_updates(params, updates), state), None

        start = {"w": jnp.full(x.shape[1], 0.1), "b": jnp.zeros(())}
        return jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), length=6000)[0][0])(start)

    proximal = trained(optimizers.fista(functools.partial(prox_l1, strength=strength), rate))
    slope = transforms.chain(transforms.add_l1(strength), optimizers.sgd(rate))
    subgradient = trained(slope)
    zero = np.asarray(proximal["w"] == 0)
    assert 15 < zero.sum() < 30
    assert not np.any(subgradient["w"] == 0)
    # It chatters about the minimum, within rate |slope|^2 / 2 of it, a slope being 2 s at most.
    total = lambda params: loss(params) + regularizers.penalty(params, l1_penalty) * strength
    gap = total(subgradient) - total(proximal)
    assert 0 < gap < rate * len(zero) * (2 * strength) ** 2 / 2
    grads = jax.grad(loss)(proximal)
    np.testing.assert_allclose(
        grads["w"][~zero], -strength * jnp.sign(proximal["w"])[~zero], atol=1e-8
    )
    assert (np.abs(grads["w"])[zero] <= strength).all()
    np.testing.assert_allclose(grads["b"], 0.0, atol=1e-8)  # not penalized


def test_zeros_are_exact_in_narrow_params_too():
    params = jnp.array([0.3, -0.07, 1e-3], jnp.bfloat16)
    new = after(optimizers.ista(LASSO, 1.0), params, jnp.zeros_like(params))
    np.testing.assert_array_equal(new, jnp.zeros(3, jnp.bfloat16))
    assert new.dtype == jnp.bfloat16


def test_complex_penalties_pull_towards_zero():
    w = jnp.array([3.0 + 4.0j, 0.0j])
    size = functools.partial(l1_penalty, strength=5.0)
    for tx in (transforms.add_l1(5.0), transforms.add_penalty(size)):
        updates, _ = tx.update(jnp.zeros_like(w), tx.init(w), w)
        np.testing.assert_allclose(updates, [3.0 + 4.0j, 0.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: transforms.add_l1(-1.0), r"add_l1: `strength` must lie in \[0, inf\), got -1.0"),
        (lambda: transforms.proximal(LASSO, -1.0), "proximal: `learning_rate` must lie in"),
        (
            lambda: transforms.scaled_proximal(optax.identity(), lambda s: 1.0, LASSO, np.nan),
            "scaled_proximal: `learning_rate` must lie in",
        ),
        (
            lambda: after(transforms.projected(lambda tree: tree["bias"])),
            "projected: the result of the operator tree must have the structure",
        ),
    ],
)
def test_bad_arguments_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


@pytest.mark.parametrize(
    "tx",
    [
        transforms.add_l1(0.1),
        transforms.add_penalty(l1_penalty),
        transforms.proximal(LASSO, 0.1),
        transforms.projected(lambda tree: tree),
        transforms.scaled_proximal(optax.identity(), lambda s: 1.0, LASSO, 0.1),
        optimizers.accelerated(optimizers.sgd(0.1)),
    ],
)
def test_each_asks_for_the_params(tx):
    with pytest.raises(ValueError, match="reads the parameters"):
        tx.update(jnp.ones(()), tx.init(jnp.ones(())))
