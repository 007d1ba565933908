"""Floor 3: named recipes, one algorithm to a file: mathematics, state, link, recipe."""

from ._acprop import acprop, scale_by_acprop
from ._adabelief import ScaleByBeliefState, adabelief, scale_by_belief
from ._adadelta import ScaleByAdaDeltaState, adadelta, scale_by_adadelta
from ._adafactor import FactoredState, adafactor, scale_by_factored_rms
from ._adagrad import ScaleByRssState, adagrad, scale_by_rss
from ._adagrad_norm import ScaleByAdagradNormState, adagrad_norm, scale_by_adagrad_norm
from ._adam import ScaleByAdamState, adam, adamw, nadam, nadamw, scale_by_adam
from ._adam_l2 import adam_l2
from ._adam_mini import ScaleByAdamMiniState, adam_mini, neuron_axes, scale_by_adam_mini
from ._adamax import adamax, adamaxw, scale_by_adamax
from ._adan import ScaleByAdanState, adan, scale_by_adan
from ._ademamix import ScaleByAdemamixState, ademamix, scale_by_ademamix
from ._adopt import adopt, scale_by_adopt
from ._amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from ._dadapt_adamw import DAdaptAdamWState, dadapt_adamw
from ._delta_bar_delta import (
    ScaleByDeltaBarDeltaState,
    delta_bar_delta,
    scale_by_delta_bar_delta,
)
from ._dimension_numbers import MuonDimensionNumbers
from ._dog import DoGState, dog, scale_by_dog
from ._dowg import DoWGState, dowg, scale_by_dowg
from ._ema_sgd import ema_sgd
from ._fista import AcceleratedState, accelerated, fista
from ._fromage import fromage
from ._ftrl import FtrlState, ftrl
from ._heavy_ball import heavy_ball
from ._hutchinson import HutchinsonState, hutchinson_estimator_diag_hessian
from ._ista import ista
from ._lamb import lamb
from ._lars import lars
from ._lbfgs import ScaleByLBFGSState, lbfgs, scale_by_lbfgs
from ._lion import ScaleByLionState, lion, scale_by_lion
from ._madgrad import MadgradState, madgrad, scale_by_madgrad
from ._mars import ScaleByMarsState, mars, scale_by_mars
from ._muon import MuonState, muon, scale_by_muon, scale_by_shape
from ._nesterov import NesterovState, nesterov, trace_lookahead
from ._newton_cg import ScaleByNewtonCGState, newton_cg, scale_by_newton_cg
from ._newton_schulz import orthogonalized
from ._noisy_sgd import noisy_sgd
from ._novograd import ScaleByNovogradState, novograd, scale_by_novograd
from ._optimistic import (
    ScaleByOptimisticGradientState,
    optimistic_adam_v2,
    optimistic_gradient_descent,
    scale_by_optimistic_gradient,
)
from ._polyak import polyak_sgd, scale_by_polyak
from ._prodigy import ProdigyState, prodigy
from ._proximal_adam import proximal_adam
from ._radam import radam, scale_by_radam
from ._rmsprop import (
    ScaleByRmsState,
    ScaleByRStdDevState,
    rmsprop,
    scale_by_rms,
    scale_by_stddev,
)
from ._rprop import ScaleByRpropState, rprop, scale_by_rprop
from ._sam import SAMState, sam
from ._schedule_free import (
    ScheduleFreeState,
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_sgd,
)
from ._sgd import sgd
from ._sgdw import sgdw
from ._shampoo import ScaleByShampooState, scale_by_shampoo, shampoo
from ._sign import scale_by_sign, sign_sgd, signum
from ._simplified_ademamix import (
    ScaleBySimplifiedAdEMAMixState,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from ._sm3 import ScaleBySM3State, scale_by_sm3, sm3
from ._soap import ScaleBySoapState, scale_by_soap, soap
from ._sophia import SophiaState, scale_by_sophia, sophia
from ._yogi import scale_by_yogi, yogi


__all__ = [
    "AcceleratedState",
    "DAdaptAdamWState",
    "DoGState",
    "DoWGState",
    "FactoredState",
    "FtrlState",
    "HutchinsonState",
    "MadgradState",
    "MuonDimensionNumbers",
    "MuonState",
    "NesterovState",
    "ProdigyState",
    "SAMState",
    "ScaleByAdaDeltaState",
    "ScaleByAdagradNormState",
    "ScaleByAdamMiniState",
    "ScaleByAdamState",
    "ScaleByAdanState",
    "ScaleByAdemamixState",
    "ScaleByAmsgradState",
    "ScaleByBeliefState",
    "ScaleByDeltaBarDeltaState",
    "ScaleByLBFGSState",
    "ScaleByLionState",
    "ScaleByMarsState",
    "ScaleByNewtonCGState",
    "ScaleByNovogradState",
    "ScaleByOptimisticGradientState",
    "ScaleByRStdDevState",
    "ScaleByRmsState",
    "ScaleByRpropState",
    "ScaleByRssState",
    "ScaleBySM3State",
    "ScaleByShampooState",
    "ScaleBySimplifiedAdEMAMixState",
    "ScaleBySoapState",
    "ScheduleFreeState",
    "SophiaState",
    "accelerated",
    "acprop",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adagrad_norm",
    "adam",
    "adam_l2",
    "adam_mini",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "amsgrad",
    "dadapt_adamw",
    "delta_bar_delta",
    "dog",
    "dowg",
    "ema_sgd",
    "fista",
    "fromage",
    "ftrl",
    "heavy_ball",
    "hutchinson_estimator_diag_hessian",
    "ista",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "madgrad",
    "mars",
    "muon",
    "nadam",
    "nadamw",
    "nesterov",
    "neuron_axes",
    "newton_cg",
    "noisy_sgd",
    "novograd",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "orthogonalized",
    "polyak_sgd",
    "prodigy",
    "proximal_adam",
    "radam",
    "rmsprop",
    "rprop",
    "sam",
    "scale_by_acprop",
    "scale_by_adadelta",
    "scale_by_adagrad_norm",
    "scale_by_adam",
    "scale_by_adam_mini",
    "scale_by_adamax",
    "scale_by_adan",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_delta_bar_delta",
    "scale_by_dog",
    "scale_by_dowg",
    "scale_by_factored_rms",
    "scale_by_lbfgs",
    "scale_by_lion",
    "scale_by_madgrad",
    "scale_by_mars",
    "scale_by_muon",
    "scale_by_newton_cg",
    "scale_by_novograd",
    "scale_by_optimistic_gradient",
    "scale_by_polyak",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_shampoo",
    "scale_by_shape",
    "scale_by_sign",
    "scale_by_simplified_ademamix",
    "scale_by_sm3",
    "scale_by_soap",
    "scale_by_sophia",
    "scale_by_stddev",
    "scale_by_yogi",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
    "sgd",
    "sgdw",
    "shampoo",
    "sign_sgd",
    "signum",
    "simplified_ademamix",
    "sm3",
    "soap",
    "sophia",
    "trace_lookahead",
    "yogi",
]
