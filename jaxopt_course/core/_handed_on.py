"""Names that are re-exported from optax, because this library does not implement them itself.

``HANDED_ON`` maps a package of this library to names in optax's package of the same name. The top
level re-exports them all, and ``OTHERS`` from optax's top level. ``ALIASES`` maps names of optax to
names of this library.
"""

from collections.abc import Callable
from typing import Any

import optax


ALIASES: dict[str, str] = {
    "InjectStatefulHyperparamsState": "InjectHyperparamsState",
    "MultiTransformState": "PartitionState",
    "inject_stateful_hyperparams": "inject_hyperparams",
    "multi_transform": "partition",
}

HANDED_ON: dict[str, tuple[str, ...]] = {
    "losses": (
        "binary_dice_loss",
        "dice_loss",
        "make_fenchel_young_loss",
        "multiclass_generalized_dice_loss",
        "multiclass_sparsemax_loss",
        "ntxent",
        "perceptron_loss",
        "ranking_softmax_loss",
    ),
    "schedules": (
        "Schedule",
        "StatefulSchedule",
        "WrappedSchedule",
    ),
    "transforms": ("MaskedNode",),
    "contrib": ("DifferentiallyPrivateAggregateState", "differentially_private_aggregate", "dpsgd"),
}
OTHERS: tuple[str, ...] = (
    "ClipByGlobalNormState",
    "ClipState",
    "MaskOrFn",
    "OptState",
    "ScaleByBacktrackingLinesearchState",
    "ScaleByZoomLinesearchState",
    "ScaleState",
    "TransformInitFn",
    "TransformUpdateExtraArgsFn",
    "TransformUpdateFn",
    "ZoomLinesearchInfo",
    "assignment",
    "bias_correction",
    "experimental",
    "incremental_update",
    "init_empty_state",
    "matrix_inverse_pth_root",
    "microbatch",
    "microbatching",
    "multi_normal",
    "nnls",
    "optimistic_adam",
    "periodic_update",
    "perturbations",
    "power_iteration",
    "projections",
    "safe_increment",
    "safe_int32_increment",
    "safe_norm",
    "safe_root_mean_squares",
    "scale_by_backtracking_linesearch",
    "scale_by_zoom_linesearch",
    "scale_gradient",
    "second_order",
    "tree",
    "tree_map_params",
    "tree_utils",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "value_and_grad_from_state",
    "with_extra_args_support",
)


def handed_on(package: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package, which returns optax's object if the name is listed.

    Args:
        package: a key of ``HANDED_ON``, or ``""`` for the top level, which re-exports all.
    """

    def get(name: str) -> Any:
        if not package and name in OTHERS:
            return getattr(optax, name)
        for place in [package] if package else HANDED_ON:
            if name in HANDED_ON[place]:
                return getattr(getattr(optax, place), name)
        owner = f"jaxopt_course.{package}".rstrip(".")
        raise AttributeError(f"module {owner!r} has no attribute {name!r}")

    return get
