"""The names of ``optax.contrib``: this library's version where it has one, otherwise optax's."""
# ruff: noqa: F401

from typing import Any

import optax

from jaxopt_course.optimizers import (
    DAdaptAdamWState,
    DoGState,
    DoWGState,
    HutchinsonState,
    MadgradState,
    MuonDimensionNumbers,
    MuonState,
    ProdigyState,
    SAMState,
    ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState,
    ScheduleFreeState,
    SophiaState,
    acprop,
    ademamix,
    adopt,
    dadapt_adamw,
    dog,
    dowg,
    hutchinson_estimator_diag_hessian,
    madgrad,
    muon,
    prodigy,
    sam,
    scale_by_acprop,
    scale_by_ademamix,
    scale_by_adopt,
    scale_by_madgrad,
    scale_by_muon,
    scale_by_simplified_ademamix,
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_sgd,
    simplified_ademamix,
    sophia,
)
from jaxopt_course.transforms import (
    NormalizeState,
    ReduceLROnPlateauState,
    SplitRealAndImaginaryState,
    normalize,
    reduce_on_plateau,
    split_real_and_imaginary,
)


def __getattr__(name: str) -> Any:
    return getattr(optax.contrib, name)
