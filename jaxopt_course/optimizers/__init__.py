"""Floor 3: named recipes, one algorithm to a file: mathematics, state, link, recipe."""

from ._adagrad import ScaleByRssState, adagrad, scale_by_rss
from ._adam import ScaleByAdamState, adam, adamw, scale_by_adam
from ._amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from ._delta_bar_delta import (
    ScaleByDeltaBarDeltaState,
    delta_bar_delta,
    scale_by_delta_bar_delta,
)
from ._ema_sgd import ema_sgd
from ._heavy_ball import heavy_ball
from ._lion import ScaleByLionState, lion, scale_by_lion
from ._nesterov import NesterovState, lookahead_params, nesterov, trace_lookahead
from ._rmsprop import (
    ScaleByRmsState,
    ScaleByRStdDevState,
    rmsprop,
    scale_by_rms,
    scale_by_stddev,
)
from ._rprop import ScaleByRpropState, rprop, scale_by_rprop
from ._sgd import sgd
from ._sign import scale_by_sign, sign_sgd, signum


__all__ = [
    "NesterovState",
    "ScaleByAdamState",
    "ScaleByAmsgradState",
    "ScaleByDeltaBarDeltaState",
    "ScaleByLionState",
    "ScaleByRStdDevState",
    "ScaleByRmsState",
    "ScaleByRpropState",
    "ScaleByRssState",
    "adagrad",
    "adam",
    "adamw",
    "amsgrad",
    "delta_bar_delta",
    "ema_sgd",
    "heavy_ball",
    "lion",
    "lookahead_params",
    "nesterov",
    "rmsprop",
    "rprop",
    "scale_by_adam",
    "scale_by_amsgrad",
    "scale_by_delta_bar_delta",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_sign",
    "scale_by_stddev",
    "sgd",
    "sign_sgd",
    "signum",
    "trace_lookahead",
]
