"""Wrappers that keep states or weights in fewer bits."""

from jaxopt_course import optimizers, transforms
from tests.catalogue.member import Member


INNER = optimizers.adam(0.1)

MEMBERS = {
    "quantized_state:4 bits": Member(
        transforms.quantized_state,
        fixed={"optimizer": INNER, "bits": 4, "min_size": 2, "block": 4, "chunk": 4},
    ),
    "quantized_state:float8": Member(
        transforms.quantized_state,
        fixed={"optimizer": INNER, "float8": True, "min_size": 2, "block": 4, "chunk": 4},
        exempt={"wide": "moments are kept in floats of 8 bits, by design"},
    ),
    "split_weights": Member(transforms.split_weights, fixed={"optimizer": INNER}),
}

PAIRS: dict[str, list] = {}
