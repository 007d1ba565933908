"""Floor 2: links to chain, and wrappers that say where or how a transformation runs."""

from ._apply_if_finite import ApplyIfFiniteState, apply_if_finite
from ._apply_updates import apply_updates
from ._chain import chain, named_chain
from ._clip import clip, clip_by_block_rms, clip_by_global_norm
from ._decay import AddDecayedWeightsState, add_decayed_weights
from ._inject import InjectHyperparamsState, ScheduledHyperparameter, inject_hyperparams
from ._masked import MaskedState, PartitionState, masked, partition
from ._scale import (
    ScaleByLearningRateState,
    ScaleByScheduleState,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
)
from ._stateless import identity, set_to_zero, stateless
from ._trace import EmaState, TraceState, ema, trace


__all__ = [
    "AddDecayedWeightsState",
    "ApplyIfFiniteState",
    "EmaState",
    "InjectHyperparamsState",
    "MaskedState",
    "PartitionState",
    "ScaleByLearningRateState",
    "ScaleByScheduleState",
    "ScheduledHyperparameter",
    "TraceState",
    "add_decayed_weights",
    "apply_if_finite",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "ema",
    "identity",
    "inject_hyperparams",
    "masked",
    "named_chain",
    "partition",
    "scale",
    "scale_by_learning_rate",
    "scale_by_schedule",
    "set_to_zero",
    "stateless",
    "trace",
]
