"""Every public name of optax is here: this library's own, or optax's, handed on."""

import types

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxopt_course
from jaxopt_course import core
from tests.names import public_names


def public(module):
    is_name = lambda name: not name.startswith("_")
    things = {name: getattr(module, name) for name in dir(module) if is_name(name)}
    visible = {name for name, thing in things.items() if not isinstance(thing, types.ModuleType)}
    return visible | set(getattr(module, "__all__", ()))  # which names what is resolved late


def test_the_top_level_has_every_name():
    assert [name for name in public(optax) if getattr(jaxopt_course, name, None) is None] == []


# In optax a wrapper of transformations, found among the schedules too; here in `transforms` only.
ELSEWHERE = {"schedules": {"InjectHyperparamsState", "inject_hyperparams"} | core.ALIASES.keys()}


def test_second_names_lead_to_this_librarys_own_things():
    for name, own in core.ALIASES.items():
        assert getattr(jaxopt_course, name) is getattr(jaxopt_course, own)
        theirs = getattr(optax, name)
        assert getattr(optax.schedules, name, theirs) is theirs


@pytest.mark.parametrize("package", ["losses", "schedules", "transforms", "contrib"])
def test_a_package_has_every_name_of_its_namesake(package):
    ours, theirs = getattr(jaxopt_course, package), getattr(optax, package)
    names = public(theirs) - ELSEWHERE.get(package, set())
    assert not [name for name in sorted(names) if not hasattr(ours, name)]


@pytest.mark.parametrize("package", core.HANDED_ON)
def test_the_list_names_nothing_that_the_library_defines(package):
    handed_on = set(core.HANDED_ON[package])
    assert not handed_on & set(public_names(getattr(jaxopt_course, package)))
    for name in handed_on:
        assert getattr(getattr(jaxopt_course, package), name) is getattr(
            getattr(optax, package), name
        )


def test_the_rest_of_the_list_is_optaxs_own():
    assert not set(core.OTHERS) & set(jaxopt_course.__all__)
    for name in core.OTHERS:
        assert getattr(jaxopt_course, name) is getattr(optax, name)


def test_contrib_prefers_this_library():
    assert jaxopt_course.contrib.sophia is jaxopt_course.sophia
    assert jaxopt_course.contrib.cocob is optax.contrib.cocob


def test_muon_of_contrib_takes_every_leaf_with_two_axes_as_optax_does():
    params = {"embedding": jnp.ones((3, 4)), "Dense_0": {"kernel": jnp.ones((4, 4, 2))}}
    states = {}
    for module in (jaxopt_course, jaxopt_course.contrib, optax.contrib):
        state = module.muon(0.1).init(params)
        is_masked = lambda x: type(x).__name__ == "MaskedNode"
        mu = state[0]["muon"].inner_state[0].mu
        states[module.__name__] = [
            jax.tree_util.keystr(path)
            for path, x in jax.tree.leaves_with_path(mu, is_leaf=is_masked)
            if not is_masked(x)
        ]
    assert states == {
        "jaxopt_course": ["['Dense_0']['kernel']"],  # stacked
        "jaxopt_course.contrib": ["['embedding']"],
        "optax.contrib": ["['embedding']"],
    }


@pytest.mark.parametrize("module", [jaxopt_course, jaxopt_course.losses])
def test_an_unknown_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match=f"{module.__name__}.*adamm"):
        _ = module.adamm
