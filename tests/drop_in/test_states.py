"""A state has one class: this library's where it makes the state, with optax's fields first."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxopt_course as jc


def state_classes(module):
    """Public name -> NamedTuple class of optax."""
    things = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    is_state = lambda thing: isinstance(thing, type) and hasattr(thing, "_fields")
    return {name: thing for name, thing in things.items() if is_state(thing)}


def here(name):
    return getattr(jc, name, None) or getattr(jc.contrib, name)


THEIRS = state_classes(optax.contrib) | state_classes(optax)
# The deprecated class of optax; ours has the fields of the one that took its place, in its order.
BY_KEYWORD = {"InjectHyperparamsState"}


@pytest.mark.parametrize("name", THEIRS)
def test_a_state_is_built_from_the_fields_that_it_has_in_optax(name):
    ours, fields = here(name), THEIRS[name]._fields
    assert set(fields) <= set(ours._fields)
    if name not in BY_KEYWORD:
        assert ours._fields[: len(fields)] == fields
    values = {field: jnp.zeros(()) for field in fields}
    state = ours(**values)  # further fields have defaults
    assert all(getattr(state, field) is value for field, value in values.items())


def test_no_state_has_two_classes():
    """A class that is handed on from optax is not one that this library makes as well."""
    made = {cls.__name__ for cls in map(here, THEIRS) if cls.__module__.startswith("jaxopt_course")}
    handed_on = {cls.__name__ for cls in map(here, THEIRS) if cls.__module__.startswith("optax")}
    assert not made & handed_on


def classes_in(tree):
    is_state = lambda node: isinstance(node, tuple) and hasattr(node, "_fields")
    nodes, found = [tree], set()
    while nodes:
        node = nodes.pop()
        found |= {type(node)} if is_state(node) else set()
        parts = node.values() if isinstance(node, dict) else node
        nodes += parts if isinstance(node, dict | tuple) else ()
    return found


ARGUMENTS = {
    "differentially_private_aggregate": (0.1, 0.1, 0),
    "dpsgd": (0.1, 0.1, 0.1, 0),
    "mechanize": (jc.sgd(0.1),),
}
ASSEMBLED = {  # by optax, of its own links
    *("galore", "optimistic_adam", "scale_by_galore"),
}


def handed_on_transformations():
    names = sorted({*dir(optax), *dir(optax.contrib)})
    functions = {name: here(name) for name in names if not name.startswith("_")}
    for name, function in functions.items():
        if str(getattr(function, "__module__", "")).startswith("optax") and callable(function):
            for args in (ARGUMENTS.get(name, ()), (0.1,)):
                try:
                    tx = function(*args)
                except Exception:  # most of them are no factories
                    continue
                if isinstance(tx, optax.GradientTransformation):
                    yield name, tx


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformations_of_optax_keep_states_of_one_class(standard_promotion):
    found = dict(handed_on_transformations())
    assert len(found) > 9
    for name in found.keys() - ASSEMBLED:
        for cls in classes_in(found[name].init({"w": jnp.ones((3, 2))})):
            assert here(cls.__name__) is cls if hasattr(optax, cls.__name__) else True, name


def test_a_state_that_is_built_by_hand_goes_on():
    params = {"w": jnp.ones(3)}
    grads = {"w": jnp.full(3, 0.5)}
    tx = jc.scale_by_rms()
    own, _ = tx.update(grads, tx.init(params))
    by_hand, state = jax.jit(tx.update)(grads, jc.ScaleByRmsState(nu={"w": jnp.zeros(3)}))
    assert jnp.array_equal(own["w"], by_hand["w"])
    assert state.count == 1
    tx = jc.inject_hyperparams(jc.sgd)(0.1)
    inner = jc.sgd(0.1).init(params)
    state = jc.InjectHyperparamsState(
        count=jnp.zeros((), jnp.int32), hyperparams={"learning_rate": 0.1}, inner_state=inner
    )
    updates, _ = jax.jit(tx.update)(grads, state)
    assert updates["w"][0] == pytest.approx(-0.05)


def test_factored_moments_have_the_structure_of_the_params(standard_promotion):
    params = {"matrix": jnp.ones((200, 130)), "bias": jnp.ones(4), "scalar": jnp.ones(())}
    ours, theirs = (m.scale_by_factored_rms().init(params) for m in (jc, optax))
    shapes = lambda state: jax.tree.map(jnp.shape, tuple(state))
    assert shapes(ours) == shapes(theirs)
    assert jax.tree.map(lambda p, v: p.ndim - v.ndim, params, ours.v)["matrix"] == 1
