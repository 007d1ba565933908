"""States that move from optax, and the sentences of the page."""

import inspect
import re

import chex
import flax.serialization
import flax.training.early_stopping
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_course as jc
from tests.migration.page import PAGE
from tests.migration.sides import the_keras
from tests.optimizers.trajectories import (
    GRADIENTS,
    PARAMS,
    flat,
)
from tests.tiers import everyday


SINGLE = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)


MOVED_AT = 100  # steps


def steps_of(tx, params, state, gradients):
    """The params after these gradients, all of them, and the state then."""

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    gradients = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients)
    (params, state), path = jax.jit(jax.lax.scan, static_argnums=0)(
        body, (params, state), gradients
    )
    return params, state, flat(path)


def continued(theirs, ours, move):
    """The points after that of optax, and of ``ours`` from the state that ``move`` makes."""
    early = jax.tree.map(lambda g: g[:MOVED_AT], GRADIENTS)
    late = jax.tree.map(lambda g: g[MOVED_AT:], GRADIENTS)
    params, old, _ = steps_of(theirs, SINGLE, theirs.init(SINGLE), early)
    state = move(old, ours.init(SINGLE))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, ours.init(SINGLE))
    return [steps_of(tx, params, s, late)[2] for tx, s in ((theirs, old), (ours, state))]


def recipe():
    """`moved`, as the page has it."""
    return named_on_the_page("moved")


def named_on_the_page(name):
    """The function of that name, as a block of the page has it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    (block,) = (block for block in blocks if f"def {name}(" in block)
    names = {}
    exec(block, names)
    return names[name]


def with_trace(old, fresh):
    return jc.tree_utils.tree_set(
        fresh, trace=jc.tree_utils.tree_get(old, "trace"), step=jnp.array(MOVED_AT, jnp.int32)
    )


def with_nu(old, fresh):
    step = jnp.array(MOVED_AT, jnp.int32)
    nu = jc.tree_utils.tree_get(old, "nu")
    return jc.tree_utils.tree_set(fresh, nu=nu, count=step, step=step)


def with_injected_count(old, fresh):
    return fresh._replace(
        count=old.count,
        inner_state=recipe()(old, fresh.inner_state),
        hyperparams_states={"learning_rate": old.hyperparams_states["learning_rate"].count},
    )


MOVES = {
    "adam": (lambda m: m.adam(0.1), recipe()),
    "adam, scheduled": (lambda m: m.adam(m.cosine_decay_schedule(0.1, 200)), recipe()),
    "adamw": (lambda m: m.adamw(0.1, weight_decay=0.1), recipe()),
    "sgd": (lambda m: m.sgd(m.exponential_decay(0.1, 50, 0.5), 0.9), with_trace),
    "rmsprop": (lambda m: m.rmsprop(m.exponential_decay(0.1, 50, 0.5)), with_nu),
    "adam, injected": (
        lambda m: m.inject_hyperparams(m.adam)(m.linear_schedule(0.1, 0.01, 200)),
        with_injected_count,
    ),
}


@pytest.mark.parametrize("name", everyday(MOVES, {"adam", "sgd"}))
def test_a_state_of_optax_goes_on_here(name, standard_promotion):
    build, move = MOVES[name]
    theirs, ours = continued(build(optax), build(jc), move)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)
    if "adam" in name:  # and not without the moments
        untouched = continued(build(optax), build(jc), lambda old, fresh: fresh)[1]
        assert np.abs(untouched - theirs).max() > 1e-2 * scale


def test_a_state_of_optax_is_not_restored_here():
    saved = flax.serialization.to_bytes(optax.adam(0.1).init(SINGLE))
    with pytest.raises(ValueError, match="do not match"):
        flax.serialization.from_bytes(jc.adam(0.1).init(SINGLE), saved)


def test_what_is_said_of_fields():
    schedules = {m: m.linear_schedule(1.0, 0.0, 10) for m in (optax, jc)}
    get = jc.tree_utils.tree_get
    theirs, ours = (m.adam(schedules[m]).init(SINGLE) for m in (optax, jc))
    assert get(theirs, "ScaleByScheduleState") is not None
    assert get(ours, "ScaleByScheduleState") is None
    assert get(ours, "step") == 0
    assert "count" in jc.rmsprop(0.1).init(SINGLE)[0]._fields
    assert "count" not in optax.rmsprop(0.1).init(SINGLE)[0]._fields
    theirs, ours = (m.inject_hyperparams(m.adam)(schedules[m]).init(SINGLE) for m in (optax, jc))
    assert theirs.hyperparams_states["learning_rate"].count == 0
    assert ours.hyperparams_states["learning_rate"] == 0
    assert set(ours._fields) - set(theirs._fields) == {"scheduled"}


@pytest.mark.parametrize("library", [optax, jc], ids=["optax", "here"])
def test_setting_an_injected_rate_by_its_name(library, standard_promotion, as_users_run_it):
    one, rate = jnp.ones(()), jnp.array(0.25, jnp.float32)
    after = lambda tx, state: float(tx.update(one, state, one)[0])
    tx = library.inject_hyperparams(library.sgd)(0.1)
    assert after(tx, jc.tree_utils.tree_set(tx.init(one), learning_rate=rate)) == -0.25
    tx = library.inject_hyperparams(library.sgd)(library.linear_schedule(1.0, 0.0, 10))
    state = jc.tree_utils.tree_set(tx.init(one), learning_rate=rate)
    with pytest.raises((AttributeError, ValueError)):
        after(tx, state)
    state = tx.init(one)
    state.hyperparams["learning_rate"] = rate
    assert after(tx, state) == (-0.25 if library is jc else -1.0)


def test_the_shardings_of_a_state():
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    alike = jax.tree.map(lambda x: place, PARAMS)
    state_shardings = named_on_the_page("state_shardings")
    for tx in (jc.sgd(0.1, 0.9), jc.adamw(0.1)):
        shardings = state_shardings(tx, PARAMS, alike, place)
        assert jax.tree.structure(shardings) == jax.tree.structure(tx.init(PARAMS))
    trace, rate = state_shardings(jc.sgd(0.1, 0.9), PARAMS, alike, "copied")
    assert isinstance(trace, jc.TraceState)
    assert trace.trace == alike
    assert rate == jc.transforms.ScaleByLearningRateState("copied")


def test_modules_of_optax_are_attributes():
    said = re.search(r"other modules\n\((.*?), \.\.\.\)", PAGE, re.S).group(1)
    for name in re.findall(r"`(\w+)`", said):
        assert getattr(jc, name) is getattr(optax, name)
        with pytest.raises(ModuleNotFoundError):
            __import__(f"jaxopt_course.{name}")
    for name in ("contrib", "losses", "schedules", "transforms"):
        __import__(f"jaxopt_course.{name}")


def test_small_differences():
    assert jc.cosine_decay_schedule(0.1, 0)(0) == 0
    with pytest.raises(ValueError, match="positive decay_steps"):
        optax.cosine_decay_schedule(0.1, 0)
    one = jc.constant_schedule(0.1)
    with pytest.raises(ValueError, match="one number less than"):
        jc.join_schedules([one], [10])
    optax.join_schedules([one], [10])  # accepted
    assert jc.multi_transform is jc.partition
    with pytest.raises(ValueError, match=r"label 'b' at \['w'\]"):
        jc.partition({"a": jc.sgd(0.1)}, {"w": "b"}).init({"w": jnp.ones(())})
    assert jc.global_norm(updates=jnp.ones(4)) == 2
    assert "updates" in inspect.signature(optax.global_norm).parameters
    assert jc.inject_hyperparams is jc.transforms.inject_hyperparams
    assert not hasattr(jc.schedules, "inject_hyperparams")


@pytest.mark.exhaustive
def test_where_keras_starts_its_mean_of_the_parameters():
    """At those after the first step, ours without debiasing at the initial ones."""
    keras = the_keras()
    keras.config.set_floatx("float64")
    variable = keras.Variable(np.ones(3))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    optimizer.build([variable])
    tx = jc.ema_params(jc.sgd(0.1), 0.9, debias=False)
    params, state, points = jnp.ones(3), tx.init(jnp.ones(3)), []
    for grads in GRADIENTS["dense"]["bias"][:5]:
        optimizer.apply([keras.ops.array(grads)], [variable])
        updates, state = tx.update(jnp.asarray(grads), state, params)
        params = params + updates
        points.append(params)
    optimizer.finalize_variable_values([variable])  # the mean takes their place
    apart = np.asarray(variable) - state.ema
    np.testing.assert_allclose(apart, 0.9**5 * (points[0] - 1), rtol=1e-9)


@pytest.mark.exhaustive
def test_a_cosine_of_torch_rises_again_after_its_end():
    torch = pytest.importorskip("torch")
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    for _ in range(20):
        opt.step()
        scheduler.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1)
    assert jc.cosine_decay_schedule(0.1, 10)(20) == 0
