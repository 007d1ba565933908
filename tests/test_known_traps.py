"""Defects known from optax 0.2.8, none of which this library may have. One test each."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_course as jc
from tests.catalogue import TRANSFORMATIONS
from tests.tiers import everyday_first


RECIPES = [name for name, m in TRANSFORMATIONS.items() if "learning_rate" in m.numbers]
VARIANTS = [pytest.param(name, marks=pytest.mark.exhaustive) for name in RECIPES if ":" in name]
ADAPTIVE = ["adagrad", "adam", "adamw", "rmsprop", "rmsprop:centered"]
OUTSIDE = ["sgd", "ema_sgd", "adagrad", "adam", "adamw"]  # the rate is the last factor
ONE = jnp.array(1.0)


def with_tiny_eps(name, **numbers):
    """The member with the eps that is usual, and none inside the root."""
    own = TRANSFORMATIONS[name].numbers
    usual = {key: value for key, value in {"eps": 1e-8, "eps_root": 0.0}.items() if key in own}
    return TRANSFORMATIONS[name].build(**usual, **numbers)


def after(tx, params, grads, steps):
    state = tx.init(params)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (jc.apply_updates(params, updates), state), updates

    return jax.lax.scan(body, (params, state), length=steps)


def test_rprop_moves_on_its_first_step():
    tx = jc.rprop(0.1)
    update, _ = tx.update(ONE, tx.init(ONE))
    np.testing.assert_allclose(update, -0.1, rtol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in RECIPES if ":" not in name] + VARIANTS)
def test_float16_gives_finite_updates(name):
    """With eps = 1e-8, which is 0 in float16, a zero gradient gave NaN, and 1e-4 gave -inf."""
    params = jnp.ones(3, jnp.float16)
    tx = with_tiny_eps(name)
    of_size = lambda size: after(tx, params, jnp.full_like(params, size), 3)[1]
    updates = jax.vmap(of_size)(jnp.array([0.0, 1e-4, 1e3], jnp.float16))
    assert bool(jnp.isfinite(updates).all()), updates


def test_narrow_params_with_wide_gradients_keep_their_state():
    """The dtypes of a bfloat16 state changed after the first float32 gradient."""
    for name in ADAPTIVE:  # the contracts ask it of every member
        tx = TRANSFORMATIONS[name].build()
        params, grads = jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float32)
        (params, _), _ = after(tx, params, grads, 2)  # scan refuses a state that changes
        assert params.dtype == jnp.bfloat16


def test_a_strongly_typed_rate_promotes_nothing():
    tx = jc.sgd(jnp.asarray(0.1, jnp.float32))
    grads = jnp.ones(2, jnp.bfloat16)
    assert tx.update(grads, tx.init(grads))[0].dtype == jnp.bfloat16


def test_running_means_of_bfloat16_do_not_stall():
    """After 2000 unit gradients the mean of squares is 1 - 0.999^2000 = 0.865, not 0.5."""
    tx = jc.scale_by_adam()
    params = jnp.zeros((), jnp.bfloat16)
    (_, state), _ = after(tx, params, jnp.ones((), jnp.bfloat16), 2000)
    np.testing.assert_allclose(state.nu, 1 - 0.999**2000, rtol=1e-4)  # 2000 float32 roundings


def test_injected_numbers_of_bfloat16_params_stay_wide():
    """b2 = 0.999 rounded to bfloat16 is 1: NaN at the first step."""
    tx = jc.inject_hyperparams(jc.adam)(0.1)
    params = jnp.ones(2, jnp.bfloat16)
    (_, state), updates = after(tx, params, params, 3)
    assert bool(jnp.isfinite(updates).all())
    assert all(value.dtype.itemsize >= 4 for value in state.hyperparams.values())


def test_an_injected_mask_is_no_schedule():
    """The mask was taken for a schedule, and decay was silently off."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    mask = lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)
    tx = jc.inject_hyperparams(jc.adamw)(0.1, weight_decay=0.5, mask=mask)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05)
    np.testing.assert_array_equal(updates["bias"], 0.0)


def test_an_injected_callable_that_is_no_schedule_is_refused():
    def factory(rate, mask):
        return jc.sgd(rate)

    with pytest.raises(TypeError, match="`mask` of factory is callable but not a schedule"):
        jc.inject_hyperparams(factory)(0.1, lambda tree: {"w": True})


def test_setting_a_scheduled_number_wins():
    tx = jc.inject_hyperparams(jc.sgd)(jc.linear_schedule(1.0, 0.0, 10))
    state = tx.init(ONE)
    _, state = tx.update(ONE, state)
    state.hyperparams["learning_rate"] = jnp.array(0.25)
    for _ in range(2):
        update, state = tx.update(ONE, state)
        np.testing.assert_allclose(update, -0.25)
    state.hyperparams["learning_rate"] = state.scheduled["learning_rate"]
    update, state = tx.update(ONE, state)  # handed back: the schedule has gone on meanwhile
    np.testing.assert_allclose(update, -0.7)


@pytest.mark.exhaustive
def test_every_length_of_a_schedule_can_be_traced_and_may_be_zero():
    """25 of 46 numeric arguments could not be traced; lengths <= 0 silently gave a constant."""
    rates = jax.vmap(lambda n: jc.warmup_cosine_decay_schedule(0.0, 1.0, n, 2 * n)(n))(
        jnp.array([0, 3, 10])
    )
    np.testing.assert_allclose(rates[1:], 1.0)
    with pytest.raises(ValueError, match="transition_steps"):
        jc.linear_schedule(1.0, 0.0, -1)


def test_clipping_zero_gradients_to_norm_zero_is_finite():
    tx = jc.clip_by_global_norm(0.0)
    updates, _ = tx.update(jnp.zeros(3), tx.init(jnp.zeros(3)))
    np.testing.assert_array_equal(updates, 0.0)


def test_the_norm_of_many_float16_ones_is_finite():
    tx = jc.clip_by_global_norm(1.0)
    ones = jnp.ones(100_000, jnp.float16)
    updates, _ = tx.update(ones, tx.init(ones))
    np.testing.assert_allclose(updates, 1 / np.sqrt(1e5), rtol=1e-3)  # float16's resolution


def test_one_nan_does_not_spread_to_other_leaves():
    tx = jc.clip_by_global_norm(1.0)
    grads = {"a": jnp.array([jnp.nan, 0.5]), "b": jnp.array(2.0)}
    updates, _ = tx.update(grads, tx.init(grads))
    assert bool(jnp.isnan(updates["a"][0]))
    assert bool(jnp.isfinite(updates["a"][1]) & jnp.isfinite(updates["b"]))


BAD = [
    (-0.1, ValueError, r"`learning_rate` must lie in \[0, inf\), got -0.1"),
    (float("nan"), ValueError, r"`learning_rate` must lie in \[0, inf\), got nan"),
    (float("inf"), ValueError, r"`learning_rate` must lie in \[0, inf\), got inf"),
    (None, TypeError, r"`learning_rate` must be a number in \[0, inf\).*, got None"),
    (True, TypeError, r"`learning_rate` must be a number in \[0, inf\).*, got True"),
    ("0.1", TypeError, r"`learning_rate` must be a number in \[0, inf\).*, got '0.1'"),
    (np.ones(2), TypeError, r"`learning_rate` must be .*, got an array of shape \(2,\)"),
]


@pytest.mark.parametrize(("rate", "error", "sentence"), BAD)
@pytest.mark.parametrize("name", RECIPES)
def test_bad_rates_are_refused(name, rate, error, sentence, as_users_run_it):
    arguments = inspect.signature(TRANSFORMATIONS[name].factory).parameters
    if rate is None and "learning_rate" in arguments and arguments["learning_rate"].default is None:
        return  # here None is optax's word for no rate
    with pytest.raises(error, match=sentence):
        TRANSFORMATIONS[name].build(learning_rate=rate)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: jc.adam(0.1, b1=1.0), r"scale_by_adam: `b1` must lie in \[0, 1\), got 1.0"),
        (lambda: jc.adam(0.1, b2=-0.1), r"scale_by_adam: `b2` must lie in \[0, 1\), got -0.1"),
        (lambda: jc.adam(0.1, eps=-1e-8), r"`eps` must lie in \[0, inf\), got -1e-08"),
        (lambda: jc.adamw(0.1, weight_decay=-1.0), r"`weight_decay` must lie in \[0, inf\)"),
        (lambda: jc.sgd(0.1, nesterov=True), "`nesterov` needs a `momentum`"),
        (lambda: jc.sgd(0.1, momentum=1.0), r"sgd: `momentum` must lie in \[0, 1\), got 1.0"),
        (lambda: jc.rmsprop(0.1, nesterov=True), "`nesterov` needs a `momentum`"),
        (lambda: jc.clip(-1.0), r"clip: `max_delta` must lie in \[0, inf\), got -1.0"),
        (lambda: jc.clip_by_global_norm(-1.0), r"`max_norm` must lie in \[0, inf\), got -1.0"),
        (lambda: jc.clip_by_block_rms(float("nan")), r"`threshold` must lie in"),
        (lambda: jc.rprop(0.1, eta_plus=0.9), r"`eta_plus` must lie in \(1, inf\), got 0.9"),
        (lambda: jc.delta_bar_delta(0.1, phi=2.0), r"`phi` must lie in \[0, 1\], got 2.0"),
    ],
)
def test_bad_numbers_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


WRONG = {"dense": {"kernel": jnp.ones((2, 3))}}
RIGHT = {"dense": {"kernel": jnp.ones(3)}}
KEEPS_SHAPES = [n for n in TRANSFORMATIONS if n in RECIPES or n in ("trace", "ema")]


@pytest.mark.parametrize("name", KEEPS_SHAPES)
def test_gradients_that_merely_broadcast_are_refused(name):
    """Plain descent turned (3,) parameters into (2, 3)."""
    tx = TRANSFORMATIONS[name].build()
    with pytest.raises(ValueError, match=r"\['kernel'\] has shape \(2, 3\), parameter has \(3,\)"):
        tx.update(WRONG, tx.init(RIGHT), RIGHT)


def test_applying_updates_that_merely_broadcast_is_refused():
    with pytest.raises(ValueError, match=r"apply_updates: update at \['dense'\]\['kernel'\]"):
        jc.apply_updates(RIGHT, WRONG)


def test_targets_that_merely_broadcast_are_refused(as_users_run_it):
    """Outputs (3,) and targets (3, 1) gave a table of all pairs."""
    for labels in (1.0, jnp.ones((3, 1))):
        with pytest.raises(ValueError, match="sigmoid_binary_cross_entropy: `labels` has shape"):
            jc.sigmoid_binary_cross_entropy(jnp.ones(3), labels)


def test_chain_says_what_is_wrong_with_its_state(as_users_run_it):
    """optax says "not enough values to unpack", or reports a raw pytree."""
    with pytest.raises(ValueError, match="chain: 2 transformations were given a state of 0 parts"):
        jc.sgd(0.1).update(ONE, ())
    with pytest.raises(TypeError, match=r"chain: `args.0.` must be .* Was it meant to be called\?"):
        jc.chain(jc.scale_by_adam)


@pytest.mark.parametrize("tx", [jc.adamw(0.1), jc.chain(jc.add_decayed_weights(0.1))])
def test_missing_params_are_asked_for_by_the_link_that_reads_them(tx):
    with pytest.raises(ValueError, match="add_decayed_weights reads the parameters: call"):
        tx.update(ONE, tx.init(ONE))


# the link of rprop takes a number; the rate of inject_hyperparams is in the state, to be assigned
@pytest.mark.parametrize(
    "name", everyday_first(30, [n for n in RECIPES if n != "scale_by_rprop" and "inject" not in n])
)
def test_a_state_goes_on_with_a_schedule(name):
    """Between a constant and a scheduled rate the state kept no common structure."""
    member = TRANSFORMATIONS[name]
    constant, scheduled = (
        member.build(learning_rate=rate) for rate in (0.1, jc.exponential_decay(0.1, 5, 0.5))
    )
    ones = jnp.ones(2)
    state = jax.eval_shape(constant.init, ones)
    _, new_state = jax.eval_shape(scheduled.update, ones, state, ones)
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
    if name in OUTSIDE:
        (params, state), _ = after(constant, ones, ones, 5)
        before, now = (tx.update(ones, state, params)[0] for tx in (constant, scheduled))
        np.testing.assert_allclose(now, before * 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_meta_gradients_are_finite_where_the_gradient_is_zero(name):
    """The slope of a root at 0 is infinite, and needed eps_root > 0."""

    def final(rate):
        tx = with_tiny_eps(name, learning_rate=rate)
        (params, _), _ = after(tx, jnp.ones(3), jnp.array([0.0, 1.0, -1.0]), 3)
        return params.sum()

    assert bool(jnp.isfinite(jax.grad(final)(0.1)))


def test_monitor_keeps_its_structure():
    tx = jc.monitor({"norm": jc.global_norm})
    state = tx.init(ONE)
    assert jax.tree.structure(tx.update(ONE, state)[1]) == jax.tree.structure(state)


def test_multi_steps_is_a_transformation_that_forgets_a_nan():
    """It ran the inner optimizer on every mini-step, and one NaN stayed in it for ever."""
    tx = jc.MultiSteps(jc.apply_if_finite(jc.sgd(1.0), 3), 2)
    assert isinstance(tx, optax.GradientTransformation)
    state, updates = tx.init(ONE), []
    for gradient in (jnp.nan, 1.0, 1.0, 3.0):
        update, state = tx.update(jnp.array(gradient), state)
        updates.append(float(update))
    np.testing.assert_allclose(updates, [0.0, 0.0, 0.0, -2.0])


@pytest.mark.parametrize("level", [3.0, 0.0, -3.0])
def test_a_plateau_is_noticed_whatever_the_sign(level):
    tx = jc.reduce_on_plateau(factor=0.5, patience=2)
    state = tx.init(ONE)
    for _ in range(6):
        _, state = tx.update(ONE, state, value=jnp.array(level))
    assert float(state.scale) < 1


def test_a_schedule_free_schedule_starts_at_zero():
    tx = jc.schedule_free_sgd(lambda t: jnp.where(t == 0, 0.0, 0.1))
    update, _ = tx.update(ONE, tx.init(ONE), ONE)
    assert float(update) == 0


def test_lbfgs_leaves_out_pairs_of_negative_curvature():
    tx = jc.scale_by_lbfgs()
    state = tx.init(ONE)
    for params, gradient in ((1.0, 1.0), (2.0, 0.5)):  # the gradient falls as the params rise
        update, state = tx.update(jnp.array(gradient), state, jnp.array(params))
    assert float(update) > 0, "and so the direction points uphill"
    assert not np.any(state.weights_memory)


def test_adadelta_descends_by_default():
    tx = jc.adadelta()
    update, _ = tx.update(ONE, tx.init(ONE), ONE)
    assert float(update) < 0


@pytest.mark.parametrize("name", ["rprop", "sm3"])
def test_rprop_and_sm3_take_schedules(name):
    tx = getattr(jc, name)(lambda t: jnp.where(t == 0, 0.1, 0.2))
    update, _ = tx.update(ONE, tx.init(ONE), ONE)
    assert np.isfinite(update)
    assert float(update) < 0


@pytest.mark.exhaustive
def test_the_peer_still_has_some_of_them(standard_promotion):
    """Were these to fail, optax has been mended: then say so in the documentation."""
    zeros = jnp.zeros(3, jnp.float16)
    tx = optax.adam(0.1)
    assert not bool(jnp.isfinite(tx.update(zeros, tx.init(zeros))[0]).all())
    tx = optax.rprop(0.1)
    assert float(tx.update(ONE, tx.init(ONE))[0]) == 0.0
    optax.adam(-0.1, b1=1.5)  # accepted
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda steps: optax.linear_schedule(1.0, 0.0, steps)(0))(3)

    def final(b2):
        tx = optax.adam(0.1, b2=b2)
        return tx.update(jnp.zeros(1), tx.init(jnp.ones(1)))[0].sum()

    assert not bool(jnp.isfinite(jax.grad(final)(0.9)))
