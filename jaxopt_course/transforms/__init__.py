"""Floor 2: links to chain, and wrappers that say where or how a transformation runs."""

from jaxopt_course.core import handed_on

from ._adaptive_clip import AdaptiveGradClipState, adaptive_grad_clip, unitwise_clip, unitwise_norm
from ._apply_accumulated import apply_accumulated
from ._apply_every import ApplyEvery, apply_every
from ._apply_if_finite import ApplyIfFiniteState, apply_if_finite
from ._apply_updates import apply_updates
from ._cautious import CautiousState, cautious
from ._centralize import centralize
from ._chain import chain, named_chain
from ._clip import clip, clip_by_block_rms, clip_by_global_norm
from ._companding import QuantizedArray
from ._complex import SplitRealAndImaginaryState, split_real_and_imaginary
from ._conditionally import (
    ConditionallyMaskState,
    ConditionallyTransformState,
    ConditionFn,
    conditionally_mask,
    conditionally_transform,
)
from ._decay import AddDecayedWeightsState, add_decayed_weights
from ._distance_over_gradients import (
    ScaleByDistanceOverGradientsState,
    scale_by_distance_over_gradients,
)
from ._ema_params import EmaParamsState, ema_params
from ._flatten import FlatState, flatten
from ._freeze import freeze, selective_transform
from ._inject import InjectHyperparamsState, inject_hyperparams
from ._kahan import KahanState, kahan
from ._lookahead import LookaheadParams, LookaheadState, lookahead
from ._loss_scale import DynamicLossScaleState, dynamic_loss_scale, loss_scale
from ._masked import MaskedState, PartitionState, masked, partition
from ._master_weights import MasterWeightsState, master_weights
from ._monitor import MonitorState, SnapshotState, measure_with_ema, monitor, snapshot
from ._multi_steps import (
    MultiSteps,
    MultiStepsState,
    ShouldSkipUpdateFunction,
    skip_large_updates,
    skip_not_finite,
)
from ._noise import AddNoiseState, add_noise
from ._nonnegative import NonNegativeParamsState, keep_params_nonnegative
from ._norms import (
    NormalizeState,
    ScaleByTrustRatioState,
    normalize,
    normalize_by_update_norm,
    scale_by_param_block_norm,
    scale_by_param_block_rms,
    scale_by_trust_ratio,
)
from ._packed import PackedState, packed, packed_params, packed_state, unpacked_state
from ._packing import PackedTree, unpack
from ._penalty import AddL1State, add_l1, add_penalty
from ._per_example_clip import per_example_global_norm_clip, per_example_layer_norm_clip
from ._points import evaluation_params, lookahead_params
from ._proximal import (
    ProximalState,
    ScaledProximalState,
    projected,
    proximal,
    scaled_proximal,
)
from ._quantized_state import QuantizedState, moment_kind, quantized_state
from ._reduce_on_plateau import ReduceLROnPlateauState, reduce_on_plateau
from ._scale import (
    ScaleByLearningRateState,
    ScaleByScheduleState,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
)
from ._stateless import identity, set_to_zero, stateless, stateless_with_tree_map
from ._stochastic_rounding import StochasticRoundingState, stochastic_rounding
from ._trace import EmaState, TraceState, ema, trace
from ._zero_nans import ZeroNansState, zero_nans


__all__ = [
    "AdaptiveGradClipState",
    "AddDecayedWeightsState",
    "AddL1State",
    "AddNoiseState",
    "ApplyEvery",
    "ApplyIfFiniteState",
    "CautiousState",
    "ConditionFn",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "DynamicLossScaleState",
    "EmaParamsState",
    "EmaState",
    "FlatState",
    "InjectHyperparamsState",
    "KahanState",
    "LookaheadParams",
    "LookaheadState",
    "MaskedState",
    "MasterWeightsState",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "NonNegativeParamsState",
    "NormalizeState",
    "PackedState",
    "PackedTree",
    "PartitionState",
    "ProximalState",
    "QuantizedArray",
    "QuantizedState",
    "ReduceLROnPlateauState",
    "ScaleByDistanceOverGradientsState",
    "ScaleByLearningRateState",
    "ScaleByScheduleState",
    "ScaleByTrustRatioState",
    "ScaledProximalState",
    "ShouldSkipUpdateFunction",
    "SnapshotState",
    "SplitRealAndImaginaryState",
    "StochasticRoundingState",
    "TraceState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_l1",
    "add_noise",
    "add_penalty",
    "apply_accumulated",
    "apply_every",
    "apply_if_finite",
    "apply_updates",
    "cautious",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conditionally_mask",
    "conditionally_transform",
    "dynamic_loss_scale",
    "ema",
    "ema_params",
    "evaluation_params",
    "flatten",
    "freeze",
    "identity",
    "inject_hyperparams",
    "kahan",
    "keep_params_nonnegative",
    "lookahead",
    "lookahead_params",
    "loss_scale",
    "masked",
    "master_weights",
    "measure_with_ema",
    "moment_kind",
    "monitor",
    "named_chain",
    "normalize",
    "normalize_by_update_norm",
    "packed",
    "packed_params",
    "packed_state",
    "partition",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "projected",
    "proximal",
    "quantized_state",
    "reduce_on_plateau",
    "scale",
    "scale_by_distance_over_gradients",
    "scale_by_learning_rate",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "scale_by_trust_ratio",
    "scaled_proximal",
    "selective_transform",
    "set_to_zero",
    "skip_large_updates",
    "skip_not_finite",
    "snapshot",
    "split_real_and_imaginary",
    "stateless",
    "stateless_with_tree_map",
    "stochastic_rounding",
    "trace",
    "unitwise_clip",
    "unitwise_norm",
    "unpack",
    "unpacked_state",
    "zero_nans",
]

__getattr__ = handed_on("transforms")  # what optax has besides
