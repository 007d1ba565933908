"""Every public transformation, ready to build. The contract tests walk this table.

A name before a colon is that of the factory; behind it stands the variant.
``PAIRS``: name of a factory that optax has too -> arguments with which both must agree.
"""

from tests.catalogue import (
    adaptive,
    averaging,
    classics,
    decays,
    kl,
    links,
    matrix,
    muon_family,
    norms,
    precision,
    regularization,
    replicas,
    schedule_free_plus,
    second_order,
    transfer,
    whitening,
    wrappers,
)
from tests.catalogue.member import Member, factory_name, is_factory, numeric_arguments


__all__ = [
    "NO_TRANSFORMATIONS",
    "PAIRS",
    "RECIPES",
    "TRANSFORMATIONS",
    "Member",
    "factory_name",
    "is_factory",
    "is_link_of_a_recipe",
    "numeric_arguments",
]

FAMILIES = (
    classics,
    adaptive,
    norms,
    averaging,
    matrix,
    muon_family,
    kl,
    schedule_free_plus,
    second_order,
    links,
    transfer,
    wrappers,
    precision,
    replicas,
    regularization,
    decays,
    whitening,
)
TRANSFORMATIONS = {name: member for family in FAMILIES for name, member in family.MEMBERS.items()}
PAIRS = {name: args for family in FAMILIES for name, args in family.PAIRS.items()}


def is_link_of_a_recipe(name):
    """Whether another member is a chain of this one and common links, as adam of scale_by_adam."""
    return name.removeprefix("scale_by_") in set(TRANSFORMATIONS) - {name}


# The members of slow checks: what holds of a recipe holds of its link.
RECIPES = [name for name in TRANSFORMATIONS if not is_link_of_a_recipe(name)]

NO_TRANSFORMATIONS = {  # functions of states, params and updates
    "learning_rates",
    "apply_accumulated",
    "apply_updates",
    "describe_muon",
    "evaluation_params",
    "heads_in_flax",
    "lookahead_params",
    "loss_scale",
    "moment_kind",
    "muon_dimensions",
    "neuron_axes",
    "orthogonalized",
    "packed_params",
    "packed_state",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "polar_factor",
    "schedule_free_eval_params",
    "skip_large_updates",
    "skip_not_finite",
    "take_step",
    "two_axis_dimensions",
    "unitwise_clip",
    "unpack",
    "unitwise_norm",
}
