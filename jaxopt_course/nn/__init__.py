"""Floor 2: Flax layers over pure functions. ``train`` is explicit, randomness a named stream."""

from ._autoencoder import Autoencoder
from ._batch_norm import BatchNorm, batch_norm
from ._catalogue import MODELS
from ._drop_connect import DropConnect
from ._dropout import (
    ClassicalDropout,
    Dropout,
    GaussianDropout,
    classical_dropout,
    dropout,
    gaussian_dropout,
)
from ._group_norm import GroupNorm, group_norm
from ._layer_norm import LayerNorm, layer_norm
from ._maxout import Maxout
from ._models import CNN, MLP
from ._recompute import recompute_batch_stats
from ._residual import ResidualMLP, StochasticDepth, stochastic_depth
from ._rms_norm import RMSNorm, rms_norm
from ._sequence import GRU, Transformer


__all__ = [
    "CNN",
    "GRU",
    "MLP",
    "MODELS",
    "Autoencoder",
    "BatchNorm",
    "ClassicalDropout",
    "DropConnect",
    "Dropout",
    "GaussianDropout",
    "GroupNorm",
    "LayerNorm",
    "Maxout",
    "RMSNorm",
    "ResidualMLP",
    "StochasticDepth",
    "Transformer",
    "batch_norm",
    "classical_dropout",
    "dropout",
    "gaussian_dropout",
    "group_norm",
    "layer_norm",
    "recompute_batch_stats",
    "rms_norm",
    "stochastic_depth",
]
