"""Adam's relatives: each is its formula, and torch's where torch has it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers
from tests.catalogue.member import decay
from tests.optimizers.trajectories import (
    GRADS,
    ORIGIN,
    STEPS,
    TIME,
    distance,
    of_torch,
    running_means,
    torch_updates,
    updates_of,
)


M = running_means(GRADS, 0.8)
M_HAT = M / (1 - 0.8**TIME)
V_HAT = running_means(GRADS**2, 0.95) / (1 - 0.95**TIME)
CHANGE = np.diff(GRADS, axis=0, prepend=GRADS[:1])


def adabelief_by_hand():
    spread = running_means((GRADS - M) ** 2 + 1e-4 / 0.05, 0.95)  # eps_root is added outside 1 - b2
    return M_HAT / (np.sqrt(spread / (1 - 0.95**TIME)) + 1e-3)


def acprop_by_hand():
    before = np.vstack([np.zeros_like(M[:1]), M[:-1]])
    spread = running_means((GRADS - before) ** 2 + 1e-4 / 0.05, 0.95) / (1 - 0.95**TIME)
    known = np.vstack([np.ones_like(M[:1]), spread[:-1]])
    return GRADS / (np.sqrt(known) + 1e-3)


def adadelta_by_hand():
    updates, of_steps = [], np.zeros_like(GRADS[0])
    for g, of_grads in zip(GRADS, running_means(GRADS**2, 0.8), strict=True):
        x = np.sqrt(of_steps + 1e-3) / np.sqrt(of_grads + 1e-3) * g
        of_steps = 0.8 * of_steps + 0.2 * x**2
        updates.append(x)
    return np.stack(updates)


def largest(values, b):
    maxima, n = [], 0.0
    for x in values:
        n = np.maximum(b * n, x)
        maxima.append(n)
    return np.stack(maxima)


def adan_by_hand(ahead):
    v_hat = running_means(CHANGE, 0.7) / (1 - 0.7**TIME)
    n_hat = running_means((GRADS + ahead * CHANGE) ** 2, 0.95) / (1 - 0.95**TIME)
    return (M_HAT + ahead * v_hat) / (np.sqrt(n_hat + 1e-4) + 1e-3)


def yogi_by_hand():
    spread, n = [], 0.1
    for g in GRADS:
        n = n - 0.05 * np.sign(n - g**2) * g**2
        spread.append(n)
    m_hat = running_means(GRADS, 0.8, 0.1) / (1 - 0.8**TIME)
    return m_hat / (np.sqrt(np.stack(spread) / (1 - 0.95**TIME) + 1e-4) + 1e-3)


def radam_by_hand():
    longest = 2 / 0.05 - 1
    length = longest - 2 * TIME * 0.95**TIME / (1 - 0.95**TIME)
    with np.errstate(invalid="ignore"):
        r = np.sqrt((length - 4) * (length - 2) * longest)
        r /= np.sqrt((longest - 4) * (longest - 2) * length)
    scaled = r * M_HAT / (np.sqrt(V_HAT + 1e-4) + 1e-3)
    return np.where(length >= 5, scaled, M_HAT)


INTERPOLATION = (
    0.8 * np.vstack([np.zeros_like(M[:1]), running_means(GRADS, 0.95)[:-1]]) + 0.2 * GRADS
)
SETTING = (0.8, 0.95, 1e-3, 1e-4)  # b1, b2, eps, eps_root

FORMULAS = {
    "adabelief": (optimizers.scale_by_belief(*SETTING), adabelief_by_hand()),
    "acprop": (optimizers.scale_by_acprop(*SETTING), acprop_by_hand()),
    "adadelta": (optimizers.scale_by_adadelta(0.8, 1e-3), adadelta_by_hand()),
    "adamax": (
        optimizers.scale_by_adamax(0.8, 0.95, 1e-3),
        M_HAT / largest(np.abs(GRADS) + 1e-3, 0.95),
    ),
    "adan, as in optax": (optimizers.scale_by_adan(0.8, 0.7, 0.95, 1e-3, 1e-4), adan_by_hand(0.3)),
    "adan, as published": (
        optimizers.scale_by_adan(0.8, 0.7, 0.95, 1e-3, 1e-4, as_published=True),
        adan_by_hand(0.7),
    ),
    "yogi": (optimizers.scale_by_yogi(*SETTING, 0.1), yogi_by_hand()),
    "radam": (optimizers.scale_by_radam(*SETTING), radam_by_hand()),
    "optimistic": (
        optimizers.scale_by_optimistic_gradient(0.7, 0.4),
        0.7 * GRADS + 0.4 * CHANGE,
    ),
    "lion, smooth": (
        optimizers.scale_by_lion(0.8, 0.95, mode="smooth", smooth_beta=0.7),
        np.tanh(0.7 * INTERPOLATION),
    ),
    "lion, refined": (
        optimizers.scale_by_lion(0.8, 0.95, mode="refined"),
        np.clip(INTERPOLATION, -1, 1),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_link_is_its_formula(name):
    tx, scaled = FORMULAS[name]
    # 1e-11: near b2 = 1, NumPy's 1 - b2^t loses three digits that ours keeps
    assert distance(updates_of(tx), scaled) <= 1e-11


def test_novograd_is_its_formula():
    """One leaf: the whole gradient's norm scales every entry."""
    norms = np.linalg.norm(GRADS, axis=1) ** 2
    n, m, w = norms[0], 0.0, np.ones_like(GRADS[0])
    by_hand = []
    for t, g in enumerate(GRADS):
        n = n if t == 0 else 0.95 * n + 0.05 * norms[t]
        m = 0.8 * m + g / (np.sqrt(n + 1e-4) + 1e-3) + 0.1 * w
        by_hand.append(m)
    tx = optimizers.scale_by_novograd(*SETTING, weight_decay=0.1)
    step = lambda state, g: tx.update(g, state, jnp.asarray(w))[::-1]
    _, updates = jax.lax.scan(step, tx.init(jnp.asarray(w)), jnp.asarray(GRADS))
    assert distance(np.asarray(updates), np.stack(by_hand)) <= 1e-12


def test_novograd_keeps_one_number_a_leaf():
    state = optimizers.scale_by_novograd().init({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    assert jax.tree.map(jnp.shape, state.nu) == {"w": (), "b": ()}


@pytest.mark.parametrize(
    ("tx", "name", "options"),
    [
        (optimizers.adadelta(0.5, 0.8, 1e-3), "Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3}),
        (optimizers.adadelta(), "Adadelta", {}),  # the defaults too
        (optimizers.adamax(0.1, eps=1e-3), "Adamax", {"lr": 0.1, "eps": 1e-3}),
        (optimizers.radam(0.1, eps=0.0), "RAdam", {"lr": 0.1, "eps": 0.0}),
        # an infinite momentum_decay lets torch's b1 grow to its end at once
        (optimizers.nadam(0.1), "NAdam", {"lr": 0.1, "momentum_decay": 1e6}),
    ],
)
def test_torch_agrees(tx, name, options):
    # 1e-10: differences of points lose the digits that the points have more than the updates
    assert distance(updates_of(tx), torch_updates(of_torch(name, **options), ORIGIN)) <= 1e-10


def test_nadam_with_a_growing_b1_is_another_method():
    """torch's NAdam, as Dozat's, starts with half the momentum."""
    b1 = 0.9 * (1 - 0.5 * 0.96 ** (4e-3 * np.arange(1, STEPS + 2)[:, None]))
    product = np.cumprod(b1, axis=0)
    v_hat = running_means(GRADS**2, 0.999) / (1 - 0.999**TIME)
    ahead = b1[1:] / (1 - product[1:]) * running_means(GRADS, 0.9)
    now = (1 - b1[:-1]) / (1 - product[:-1]) * GRADS
    growing = -0.1 * (ahead + now) / (np.sqrt(v_hat) + 1e-8)
    assert distance(updates_of(optimizers.nadam(0.1)), growing) > 1e-2
    assert (
        distance(growing, torch_updates(of_torch("NAdam", lr=0.1, momentum_decay=4e-3), ORIGIN))
        <= 1e-10
    )


def test_amsgrad_is_torchs_up_to_where_the_maximum_is_taken():
    """torch takes it before the bias is corrected, and corrects the maximum."""
    theirs = torch_updates(of_torch("Adam", lr=0.1, eps=0.0, amsgrad=True), ORIGIN)
    uncorrected = updates_of(optimizers.amsgrad(0.1, eps=0.0, bias_correction_nu=False))
    assert distance(uncorrected * np.sqrt(1 - 0.999**TIME), theirs) <= 1e-10
    assert distance(updates_of(optimizers.amsgrad(0.1, eps=0.0)), theirs) > 1e-3


def test_adadelta_descends_without_a_learning_rate():
    params = jnp.array(2.0)
    tx = optimizers.adadelta()
    update, _ = tx.update(jnp.array(1.0), tx.init(params), params)
    assert update < 0


def test_adadeltas_decay_is_that_of_a_penalty():
    """Coupled: the same as adding the gradient of the penalty, which a step of Adadelta bounds."""
    params, grads = jnp.array([3.0, -1.0]), jnp.array([0.2, 0.5])
    tx, plain = optimizers.adadelta(0.5, weight_decay=0.1), optimizers.adadelta(0.5)
    update, _ = tx.update(grads, tx.init(params), params)
    expected, _ = plain.update(grads + 0.1 * params, plain.init(params), params)
    np.testing.assert_allclose(update, expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"nesterov": True}])
def test_radam_at_its_defaults_is_optaxs(options, standard_promotion):
    theirs = updates_of(optax.radam(0.1, **options))
    # 1e-10: optax's rho_t is the difference of two numbers near 2000
    assert distance(updates_of(optimizers.radam(0.1, **options)), theirs) <= 1e-10


def test_radam_is_exact_in_float32_where_the_length_is_short(standard_promotion):
    truth = updates_of(optimizers.radam(0.1))
    with jax.enable_x64(False):
        ours, theirs = (
            distance(updates_of(package.radam(0.1), dtype=np.float32), truth)
            for package in (optimizers, optax)
        )
    assert ours <= 1e-5  # some tens of float32 roundings
    assert theirs > 1e-5


def exact_length(b2, t):
    """rho_t in 60 digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        b, past = Decimal(b2), Decimal(b2) ** t
        return float(2 / (1 - b) - 1 - 2 * t * past / (1 - past))


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
def test_the_length_that_radam_waits_for_is_exact(b2):
    """By both of its forms, for short and for long means."""

    @jax.jit
    def rescales(t, threshold):
        tx = optimizers.scale_by_radam(0.0, b2, threshold=threshold)
        state = tx.init(jnp.zeros(()))._replace(count=t - 1)
        update, _ = tx.update(jnp.array(2.0), state)
        return update != 2.0  # until it rescales, the update is the gradient

    for t in (1, 2, 3, 5, 6, 10, 50, 100, 101, 1000, 10**5):
        length, count = exact_length(b2, t), jnp.asarray(t, jnp.int32)
        # 1e-12: the formula of long means still loses a digit and a half where it begins
        if length > 4.01:
            assert rescales(count, length * (1 - 1e-12))
            assert not rescales(count, length * (1 + 1e-12))
        else:
            assert not rescales(count, 4.01)


def test_radam_never_trusts_a_mean_that_stays_short():
    """b2 = 0.6: even in the long run the mean is as long as 4 gradients."""
    tx = optimizers.scale_by_radam(b2=0.6)
    assert distance(updates_of(tx), running_means(GRADS, 0.9) / (1 - 0.9**TIME)) <= 1e-12


def test_optimism_settles_a_game_that_descent_spirals_out_of():
    """min over x, max over y of x y."""

    def distance_from_the_equilibrium(tx):
        def body(carry, _):
            (x, y), state = carry
            updates, state = tx.update(jnp.stack([y, -x]), state)
            return (jnp.stack([x, y]) + updates, state), None

        start = jnp.array([3.0, -2.0])
        (end, _), _ = jax.lax.scan(body, (start, tx.init(start)), length=300)
        return jnp.linalg.norm(end)

    assert distance_from_the_equilibrium(optimizers.optimistic_gradient_descent(0.3)) < 1e-2
    assert distance_from_the_equilibrium(optimizers.sgd(0.3)) > 1e3


def test_adamax_without_eps_stays_put_where_no_gradient_came():
    tx = optimizers.scale_by_adamax(eps=0.0)
    update, _ = tx.update(jnp.array([0.0, -2.0]), tx.init(jnp.zeros(2)))
    np.testing.assert_allclose(update, [0.0, -1.0], rtol=1e-12)


def test_the_smooth_lion_of_complex_numbers_keeps_phases():
    tx = optimizers.scale_by_lion(0.0, 0.0, mode="smooth", smooth_beta=50.0)
    gradient = jnp.array([3 + 4j, -2j])
    update, _ = tx.update(gradient, tx.init(gradient))
    np.testing.assert_allclose(update, [0.6 + 0.8j, -1j], rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: optimizers.adabelief(0.1, 1.0), "scale_by_belief: `b1` must lie in [0, 1)"),
        (lambda: optimizers.adabelief(0.1, b2=-0.1), "scale_by_belief: `b2` must lie in [0, 1)"),
        (lambda: optimizers.acprop(0.1, eps=-1.0), "scale_by_acprop: `eps` must lie in [0, inf)"),
        (lambda: optimizers.adadelta(-0.1), "`learning_rate` must lie in [0, inf)"),
        (lambda: optimizers.adadelta(0.1, 1.0), "scale_by_adadelta: `rho` must lie in [0, 1)"),
        (lambda: optimizers.adamax(0.1, b2=1.0), "scale_by_adamax: `b2` must lie in [0, 1)"),
        (lambda: optimizers.adan(0.1, b3=1.0), "scale_by_adan: `b3` must lie in [0, 1)"),
        (lambda: optimizers.yogi(0.1, eps=-1.0), "scale_by_yogi: `eps` must lie in [0, inf)"),
        (
            lambda: optimizers.scale_by_yogi(initial_accumulator_value=-1.0),
            "scale_by_yogi: `initial_accumulator_value` must lie in [0, inf)",
        ),
        (
            lambda: optimizers.novograd(0.1, weight_decay=-1.0),
            "scale_by_novograd: `weight_decay` must lie in [0, inf)",
        ),
        (
            lambda: optimizers.radam(0.1, threshold=3.0),
            "scale_by_radam: `threshold` must lie in [4, inf), got 3.0.",
        ),
        (
            lambda: optimizers.optimistic_gradient_descent(0.1, beta=-1.0),
            "scale_by_optimistic_gradient: `beta` must lie in [0, inf)",
        ),
        (
            lambda: optimizers.scale_by_lion(smooth_beta=-1.0),
            "scale_by_lion: `smooth_beta` must lie in [0, inf)",
        ),
        (
            lambda: optimizers.scale_by_lion(mode="smoth"),
            "scale_by_lion: `mode` must be one of hard, smooth, refined, got 'smoth'. "
            "Did you mean 'smooth'?",
        ),
    ],
)
def test_bad_numbers_are_refused_by_name(build, message, as_users_run_it):
    with pytest.raises(ValueError) as caught:
        build()
    assert message in str(caught.value)


def test_novograd_says_that_it_wants_the_params():
    tx = optimizers.novograd(0.1)
    with pytest.raises(ValueError, match="scale_by_novograd reads the parameters"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_adadelta_refuses_the_rate_with_which_optax_ascends(as_users_run_it):
    with pytest.raises(TypeError, match="`learning_rate` must be a number in"):
        optimizers.adadelta(None)


SCHEDULED_DECAYS = {
    "novograd": lambda d: optimizers.novograd(0.1, weight_decay=d),
    "adan": lambda d: optimizers.adan(0.1, weight_decay=d),
    "acprop": lambda d: optimizers.acprop(0.1, weight_decay=d),
}


@pytest.mark.parametrize("name", SCHEDULED_DECAYS)
def test_a_decay_may_be_scheduled(name):
    """With a constant schedule it is the constant; falling, it is another."""
    build = SCHEDULED_DECAYS[name]
    assert distance(updates_of(build(lambda t: 0.1)), updates_of(build(0.1))) == 0
    assert distance(updates_of(build(decay)), updates_of(build(0.1))) > 1e-3
