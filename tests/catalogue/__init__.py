"""Every public transformation, ready to build. The contract tests walk this table.

A name before a colon is that of the factory; behind it stands the variant.
``PAIRS``: name of a factory that optax has too -> arguments with which both must agree.
"""

from tests.catalogue import (
    adaptive,
    averaging,
    classics,
    links,
    matrix,
    norms,
    second_order,
    wrappers,
)
from tests.catalogue.member import Member, factory_name, numeric_arguments


__all__ = [
    "NO_TRANSFORMATIONS",
    "PAIRS",
    "TRANSFORMATIONS",
    "Member",
    "factory_name",
    "numeric_arguments",
]

FAMILIES = (classics, adaptive, norms, averaging, matrix, second_order, links, wrappers)
TRANSFORMATIONS = {name: member for family in FAMILIES for name, member in family.MEMBERS.items()}
PAIRS = {name: args for family in FAMILIES for name, args in family.PAIRS.items()}

NO_TRANSFORMATIONS = {"apply_updates", "lookahead_params"}  # functions of states and params
