"""What every ``update`` refuses, in one sentence: gradients of integers, and another's state.

Both are seen while an update is traced, so the states here are shapes and dtypes alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_course as jc
from tests.catalogue import RECIPES, TRANSFORMATIONS
from tests.catalogue.member import offers
from tests.tiers import everyday


PARAMS = {"w": jnp.linspace(0.5, 1.5, 6).reshape(2, 3), "b": jnp.ones(3)}
GRADS = jax.tree.map(lambda x: jnp.round(3 * x), PARAMS)  # floats, exact as integers


def updated(tx, grads, state):
    return tx.update(grads, state, PARAMS, **offers(GRADS, PARAMS))


def refusal(tx, grads, state):
    """The sentence with which ``update`` refuses these; empty if it does not."""
    try:
        jax.eval_shape(functools.partial(updated, tx), grads, state)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@functools.cache
def state_of(name):
    return jax.eval_shape(TRANSFORMATIONS[name].build().init, PARAMS)


@pytest.mark.parametrize("name", everyday(TRANSFORMATIONS, RECIPES))
def test_a_gradient_of_integers_is_refused_or_comes_out_as_if_of_floats(name):
    tx = TRANSFORMATIONS[name].build()
    for dtype in (jnp.int32, jnp.uint8):
        grads = GRADS | {"w": GRADS["w"].astype(dtype)}
        if refused := refusal(tx, grads, state_of(name)):
            assert "must have a float or complex dtype" in refused
            assert "['w']" in refused or name in ("flatten", "packed")
        else:
            updates, right = (updated(tx, g, tx.init(PARAMS))[0]["w"] for g in (grads, GRADS))
            np.testing.assert_array_equal(np.asarray(updates, float), right)


def test_parameters_of_integers_may_be_left_out():
    """Where their gradients are ``float0``, as ``jax.grad(allow_int=True)`` gives them, too."""
    params = {"w": jnp.ones(3), "steps": jnp.arange(3)}
    loss = lambda params: jnp.sum(params["w"] ** 2)
    grads = jax.grad(loss, allow_int=True)(params)
    assert grads["steps"].dtype == jax.dtypes.float0
    own = {"w": True, "steps": False}
    for tx in (
        jc.masked(jc.adam(0.1), own),
        jc.partition({"on": jc.adam(0.1), "off": jc.set_to_zero()}, {"w": "on", "steps": "off"}),
        jc.selective_transform(jc.adam(0.1), freeze_mask={"w": False, "steps": True}),
    ):
        updates, _ = tx.update(grads, tx.init(params), params)
        moved = jc.apply_updates(params, updates)
        assert moved["w"][0] == pytest.approx(0.9)
        assert moved["steps"].tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=r"scale_by_adam: gradient at \['steps'\] must have"):
        jc.adam(0.1).update(grads, jc.adam(0.1).init(params), params)


def kind(state):
    return jax.tree.structure(state), tuple(x.shape for x in jax.tree.leaves(state))


def check_refused(name, others):
    tx, own = TRANSFORMATIONS[name].build(), state_of(name)
    unpacked = kind(jax.eval_shape(jc.transforms.unpack, own))  # `packed` takes it too
    family = lambda name: name.split(":")[0]  # one optimizer, with other options
    for other in others:
        if family(other) == family(name):
            continue
        state = state_of(other)
        nothing_lost = not jax.tree.leaves(own) and not jax.tree.leaves(state)
        if kind(state) in (kind(own), unpacked) or nothing_lost:
            continue
        refused = refusal(tx, GRADS, state)
        names_the_state = "the state" in refused or "tree must have the structure" in refused
        assert names_the_state and refused.endswith("."), f"{other}: {refused}"  # noqa: PT018


@functools.cache
def one_of_each_kind():
    """A member for each kind of state."""
    return list({kind(state_of(name)): name for name in TRANSFORMATIONS}.values())


COMMON = ["sgd", "sgd:momentum", "adam", "adamw", "lion", "rmsprop", "lbfgs", "muon", "masked"]
COMMON = [name for name in COMMON if name in TRANSFORMATIONS]


@pytest.mark.parametrize("name", COMMON)
def test_the_state_of_a_common_optimizer_is_refused_by_others(name, as_users_run_it):
    check_refused(name, COMMON)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("turn", "name"), list(enumerate(TRANSFORMATIONS)))
def test_the_state_of_another_is_refused(turn, name, as_users_run_it):
    """Each member is given a sixth of all kinds of states; the sixths take turns."""
    check_refused(name, one_of_each_kind()[turn % 6 :: 6])


def test_the_sentence_names_owner_expected_and_given(as_users_run_it):
    state = jc.sgd(0.1, 0.9).init(PARAMS)
    with pytest.raises(TypeError) as error:
        jc.adam(0.1).update(GRADS, state, PARAMS)
    assert str(error.value) == (
        "scale_by_adam: the state must be the ScaleByAdamState that the `init` of the same "
        "transformation returned, got a TraceState."
    )
    with pytest.raises(
        TypeError, match=r"identity: the state must be the EmptyState .* ScaleByAdam"
    ):
        jc.sgd(0.1).update(GRADS, jc.adam(0.1).init(PARAMS), PARAMS)
