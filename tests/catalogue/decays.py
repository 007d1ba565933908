"""Spikes of gradients, kinds of weight decay, and averages of the parameters."""

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import Member


WINDOW = {
    "sharding": "the window of norms belongs to all params together",
    "tree_map_params": "the window of norms has an axis that is not that of params",
}

INNER = optimizers.adam(0.1)
DECAY = {"weight_decay": 0.1}


def corrected(weight_decay, learning_rate, peak_learning_rate):
    """Gradient descent with this decay, which knows its learning rate."""
    return transforms.chain(
        transforms.corrected_weight_decay(weight_decay, learning_rate, peak_learning_rate),
        transforms.scale_by_learning_rate(learning_rate),
    )


MEMBERS = {
    "cautious_weight_decay": Member(transforms.cautious_weight_decay, DECAY),
    "clip_by_quantile": Member(
        transforms.clip_by_quantile, {"quantile": 0.6}, {"window": 4}, exempt=WINDOW
    ),
    "corrected_weight_decay": Member(
        corrected,
        DECAY | {"learning_rate": 0.07, "peak_learning_rate": 0.2},
    ),
    "independent_weight_decay": Member(transforms.independent_weight_decay, DECAY),
    "latest_average": Member(
        transforms.latest_average, {"every": 1.5}, {"inner": INNER, "window": 2}
    ),
    "skip_spikes": Member(
        transforms.skip_spikes,
        {"quantile": 0.6, "factor": 1.3},
        {"inner": INNER, "window": 2},
        exempt=WINDOW,
    ),
    "tail_average": Member(
        transforms.tail_average, {"start": 1.5, "every": 1.5, "decay": 0.9}, {"inner": INNER}
    ),
    "tail_average:uniform": Member(transforms.tail_average, {"start": 1.5}, {"inner": INNER}),
}

PAIRS: dict = {}  # optax 0.2.8 has none of these
