"""The catalogue lists every public factory, and every number of each."""

import pytest

from jaxopt_course import optimizers, transforms
from tests.catalogue import (
    NO_TRANSFORMATIONS,
    TRANSFORMATIONS,
    factory_name,
    is_factory,
    numeric_arguments,
)
from tests.names import public_names


PUBLIC = {
    name: getattr(package, name)
    for package in (optimizers, transforms)
    for name in public_names(package)
    if is_factory(getattr(package, name)) and name not in NO_TRANSFORMATIONS
}


def test_every_public_factory_is_listed():
    listed = {factory_name(name) for name in TRANSFORMATIONS}
    assert set(PUBLIC) <= listed, f"add to tests/catalogue: {sorted(set(PUBLIC) - listed)}"
    assert listed <= set(PUBLIC), f"no longer public: {sorted(listed - set(PUBLIC))}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_numeric_argument_is_listed(name):
    members = [m for key, m in TRANSFORMATIONS.items() if factory_name(key) == name]
    listed = {number for member in members for number in member.numbers}
    missing = sorted(set(numeric_arguments(PUBLIC[name])) - listed)
    assert not missing or not members, f"add to `numbers` of {name} in tests/catalogue: {missing}"
