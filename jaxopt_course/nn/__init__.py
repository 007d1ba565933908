"""Flax Linen layers and models over pure functions, with explicit ``train`` and RNG streams."""

from ._batch_norm import BatchNorm as BatchNorm
from ._batch_norm import batch_norm as batch_norm
from ._batch_norm import recompute_batch_stats as recompute_batch_stats
from ._dense import DropConnect as DropConnect
from ._dense import Maxout as Maxout
from ._dropout import ClassicalDropout as ClassicalDropout
from ._dropout import Dropout as Dropout
from ._dropout import GaussianDropout as GaussianDropout
from ._dropout import StochasticDepth as StochasticDepth
from ._dropout import classical_dropout as classical_dropout
from ._dropout import dropout as dropout
from ._dropout import gaussian_dropout as gaussian_dropout
from ._dropout import stochastic_depth as stochastic_depth
from ._layer_norm import GroupNorm as GroupNorm
from ._layer_norm import LayerNorm as LayerNorm
from ._layer_norm import RMSNorm as RMSNorm
from ._layer_norm import group_norm as group_norm
from ._layer_norm import layer_norm as layer_norm
from ._layer_norm import rms_norm as rms_norm
from ._models import CNN as CNN
from ._models import MLP as MLP
from ._models import MODELS as MODELS
from ._models import Autoencoder as Autoencoder
from ._models import ResidualMLP as ResidualMLP
from ._sequence import GRU as GRU
from ._sequence import Transformer as Transformer
