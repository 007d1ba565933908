"""One table of every numeric argument of every optimizer, link and schedule: each one vmaps.

``pytest -s -m exhaustive tests/test_every_number_is_data.py`` prints it.
"""

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course import optimizers, schedules, transforms
from tests.catalogue import (
    NO_TRANSFORMATIONS,
    TRANSFORMATIONS,
    factory_name,
    is_factory,
    numeric_arguments,
)
from tests.names import public_names
from tests.schedules.cases import SCHEDULES


GRADS = {"w": jnp.array([1.0, -2.0, 0.5]), "m": jnp.array([[0.3, -0.7]])}
COUNT = 5


def factories():
    for package in (optimizers, transforms, schedules):
        for name in public_names(package):
            factory = getattr(package, name)
            if is_factory(factory) and name not in NO_TRANSFORMATIONS:
                yield name, factory


def one_update(member, **numbers):
    tx = member.build(**numbers)
    _, state = tx.update(GRADS, tx.init(GRADS), GRADS)
    return tx.update(GRADS, state, GRADS)[0]


def result_of(name, argument):
    """A value of the argument, and the function of it that must vmap."""
    if name in SCHEDULES:
        factory, kwargs = SCHEDULES[name]
        if argument not in kwargs:
            return None
        return kwargs[argument], lambda x: factory(**(kwargs | {argument: x}))(COUNT)
    for key, member in TRANSFORMATIONS.items():
        if factory_name(key) == name and argument in member.numbers:
            value = member.numbers[argument]
            return value, lambda x, member=member: one_update(member, **{argument: x})
    return None


def vmaps(value, function):
    """Traced only: that the numbers are right is tested member by member elsewhere."""
    values = jnp.full(3, value, float)
    results = jax.eval_shape(jax.vmap(function), values)
    return all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(results))


@pytest.mark.exhaustive
def test_every_number_of_every_factory_vmaps():
    table = {}
    for name, factory in factories():
        for argument in numeric_arguments(factory):
            found = result_of(name, argument)
            table[name, argument] = found is not None and vmaps(*found)
    width = max(len(name) for name, _ in table)
    for (name, argument), good in table.items():
        print(f"{name:{width}}  {argument:26} {'vmaps' if good else 'does not'}")  # noqa: T201
    print(f"{sum(table.values())} of {len(table)} numeric arguments vmap")  # noqa: T201
    assert len(table) > 100
    assert all(table.values())
