"""Floor 0: the interface, pytrees, safe numerics, checks. Imports nothing of this package."""

from ._checks import (
    check_choice,
    check_integer,
    check_learning_rate,
    check_like,
    check_number,
    is_traced,
    require_params,
)
from ._numerics import (
    abs_sq,
    as_float,
    complement,
    increment,
    one_minus_power,
    safe_divide,
    safe_sqrt,
    wide_dtype,
)
from ._protocols import (
    EmptyState,
    GradientTransformation,
    MaskedNode,
    Params,
    ScalarOrSchedule,
    Schedule,
    State,
    Updates,
)
from ._tree import accumulator_like, cast_like, global_norm, running_mean, scale_tree


__all__ = [
    "EmptyState",
    "GradientTransformation",
    "MaskedNode",
    "Params",
    "ScalarOrSchedule",
    "Schedule",
    "State",
    "Updates",
    "abs_sq",
    "accumulator_like",
    "as_float",
    "cast_like",
    "check_choice",
    "check_integer",
    "check_learning_rate",
    "check_like",
    "check_number",
    "complement",
    "global_norm",
    "increment",
    "is_traced",
    "one_minus_power",
    "require_params",
    "running_mean",
    "safe_divide",
    "safe_sqrt",
    "scale_tree",
    "wide_dtype",
]
