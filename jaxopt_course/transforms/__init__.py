"""Gradient transformations to chain, and wrappers around transformations."""

from jaxopt_course.core import handed_on as _handed_on

from ._apply_updates import apply_updates as apply_updates
from ._averaging import EmaParamsState as EmaParamsState
from ._averaging import LookaheadParams as LookaheadParams
from ._averaging import LookaheadState as LookaheadState
from ._averaging import ema_params as ema_params
from ._averaging import lookahead as lookahead
from ._cautious import CautiousState as CautiousState
from ._cautious import cautious as cautious
from ._chain import chain as chain
from ._chain import named_chain as named_chain
from ._clip import AdaptiveGradClipState as AdaptiveGradClipState
from ._clip import adaptive_grad_clip as adaptive_grad_clip
from ._clip import clip as clip
from ._clip import clip_by_block_rms as clip_by_block_rms
from ._clip import clip_by_global_norm as clip_by_global_norm
from ._clip import per_example_global_norm_clip as per_example_global_norm_clip
from ._clip import per_example_layer_norm_clip as per_example_layer_norm_clip
from ._clip import unitwise_clip as unitwise_clip
from ._clip import unitwise_norm as unitwise_norm
from ._companding import QuantizedArray as QuantizedArray
from ._complex import SplitRealAndImaginaryState as SplitRealAndImaginaryState
from ._complex import split_real_and_imaginary as split_real_and_imaginary
from ._conditionally import ApplyEvery as ApplyEvery
from ._conditionally import ConditionallyMaskState as ConditionallyMaskState
from ._conditionally import ConditionallyTransformState as ConditionallyTransformState
from ._conditionally import ConditionFn as ConditionFn
from ._conditionally import apply_every as apply_every
from ._conditionally import conditionally_mask as conditionally_mask
from ._conditionally import conditionally_transform as conditionally_transform
from ._flatten import FlatState as FlatState
from ._flatten import flatten as flatten
from ._inject import InjectHyperparamsState as InjectHyperparamsState
from ._inject import inject_hyperparams as inject_hyperparams
from ._loss_scale import DynamicLossScaleState as DynamicLossScaleState
from ._loss_scale import dynamic_loss_scale as dynamic_loss_scale
from ._masked import MaskedState as MaskedState
from ._masked import PartitionState as PartitionState
from ._masked import freeze as freeze
from ._masked import masked as masked
from ._masked import partition as partition
from ._masked import selective_transform as selective_transform
from ._monitor import MonitorState as MonitorState
from ._monitor import SnapshotState as SnapshotState
from ._monitor import measure_with_ema as measure_with_ema
from ._monitor import monitor as monitor
from ._monitor import snapshot as snapshot
from ._multi_steps import MultiSteps as MultiSteps
from ._multi_steps import MultiStepsState as MultiStepsState
from ._multi_steps import ShouldSkipUpdateFunction as ShouldSkipUpdateFunction
from ._multi_steps import skip_large_updates as skip_large_updates
from ._multi_steps import skip_not_finite as skip_not_finite
from ._narrow import KahanState as KahanState
from ._narrow import MasterWeightsState as MasterWeightsState
from ._narrow import StochasticRoundingState as StochasticRoundingState
from ._narrow import kahan as kahan
from ._narrow import master_weights as master_weights
from ._narrow import stochastic_rounding as stochastic_rounding
from ._noise import AddNoiseState as AddNoiseState
from ._noise import add_noise as add_noise
from ._norms import NormalizeState as NormalizeState
from ._norms import (
    ScaleByDistanceOverGradientsState as ScaleByDistanceOverGradientsState,
)
from ._norms import ScaleByTrustRatioState as ScaleByTrustRatioState
from ._norms import centralize as centralize
from ._norms import normalize as normalize
from ._norms import normalize_by_update_norm as normalize_by_update_norm
from ._norms import (
    scale_by_distance_over_gradients as scale_by_distance_over_gradients,
)
from ._norms import scale_by_param_block_norm as scale_by_param_block_norm
from ._norms import scale_by_param_block_rms as scale_by_param_block_rms
from ._norms import scale_by_trust_ratio as scale_by_trust_ratio
from ._not_finite import ApplyIfFiniteState as ApplyIfFiniteState
from ._not_finite import ZeroNansState as ZeroNansState
from ._not_finite import apply_if_finite as apply_if_finite
from ._not_finite import zero_nans as zero_nans
from ._packed import PackedState as PackedState
from ._packed import packed as packed
from ._packing import PackedTree as PackedTree
from ._penalty import AddDecayedWeightsState as AddDecayedWeightsState
from ._penalty import AddL1State as AddL1State
from ._penalty import add_decayed_weights as add_decayed_weights
from ._penalty import add_l1 as add_l1
from ._penalty import add_penalty as add_penalty
from ._proximal import NonNegativeParamsState as NonNegativeParamsState
from ._proximal import ProximalState as ProximalState
from ._proximal import ScaledProximalState as ScaledProximalState
from ._proximal import keep_params_nonnegative as keep_params_nonnegative
from ._proximal import projected as projected
from ._proximal import proximal as proximal
from ._proximal import scaled_proximal as scaled_proximal
from ._quantized_state import QuantizedState as QuantizedState
from ._quantized_state import moment_kind as moment_kind
from ._quantized_state import quantized_state as quantized_state
from ._reduce_on_plateau import ReduceLROnPlateauState as ReduceLROnPlateauState
from ._reduce_on_plateau import reduce_on_plateau as reduce_on_plateau
from ._scale import ScaleByLearningRateState as ScaleByLearningRateState
from ._scale import ScaleByScheduleState as ScaleByScheduleState
from ._scale import scale as scale
from ._scale import scale_by_learning_rate as scale_by_learning_rate
from ._scale import scale_by_schedule as scale_by_schedule
from ._stateless import identity as identity
from ._stateless import set_to_zero as set_to_zero
from ._stateless import stateless as stateless
from ._stateless import stateless_with_tree_map as stateless_with_tree_map
from ._states import evaluation_params as evaluation_params
from ._states import lookahead_params as lookahead_params
from ._states import loss_scale as loss_scale
from ._states import packed_params as packed_params
from ._states import packed_state as packed_state
from ._states import unpack as unpack
from ._take_step import ValueFn as ValueFn
from ._take_step import apply_accumulated as apply_accumulated
from ._take_step import take_step as take_step
from ._trace import EmaState as EmaState
from ._trace import TraceState as TraceState
from ._trace import ema as ema
from ._trace import trace as trace


__getattr__ = _handed_on("transforms")  # re-exported from optax
