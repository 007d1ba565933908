"""Floor 2: Flax layers over pure functions. ``train`` is explicit, randomness a named stream."""

from ._batch_norm import BatchNorm, batch_norm
from ._dropout import ClassicalDropout, Dropout, classical_dropout, dropout
from ._layer_norm import LayerNorm, layer_norm
from ._maxout import Maxout
from ._models import CNN, MLP, MODELS
from ._recompute import recompute_batch_stats


__all__ = [
    "CNN",
    "MLP",
    "MODELS",
    "BatchNorm",
    "ClassicalDropout",
    "Dropout",
    "LayerNorm",
    "Maxout",
    "batch_norm",
    "classical_dropout",
    "dropout",
    "layer_norm",
    "recompute_batch_stats",
]
