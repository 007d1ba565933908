"""Spikes of gradients, kinds of weight decay, and averages of the parameters."""

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import Member


WINDOW = {
    "sharding": "the window of norms belongs to all params together",
    "tree_map_params": "the window of norms has an axis that is not that of params",
}

MEMBERS = {
    "clip_by_quantile": Member(
        transforms.clip_by_quantile, {"quantile": 0.6}, {"window": 4}, exempt=WINDOW
    ),
    "skip_spikes": Member(
        transforms.skip_spikes,
        {"quantile": 0.6, "factor": 1.3},
        {"inner": optimizers.adam(0.1), "window": 2},
        exempt=WINDOW,
    ),
}

PAIRS: dict = {}  # optax 0.2.8 has none of these
