"""Floor 2: Flax layers over pure functions. ``train`` is explicit, randomness a named stream."""

from ._autoencoder import Autoencoder as Autoencoder
from ._batch_norm import BatchNorm as BatchNorm
from ._batch_norm import batch_norm as batch_norm
from ._catalogue import MODELS as MODELS
from ._drop_connect import DropConnect as DropConnect
from ._dropout import ClassicalDropout as ClassicalDropout
from ._dropout import Dropout as Dropout
from ._dropout import GaussianDropout as GaussianDropout
from ._dropout import classical_dropout as classical_dropout
from ._dropout import dropout as dropout
from ._dropout import gaussian_dropout as gaussian_dropout
from ._group_norm import GroupNorm as GroupNorm
from ._group_norm import group_norm as group_norm
from ._layer_norm import LayerNorm as LayerNorm
from ._layer_norm import layer_norm as layer_norm
from ._maxout import Maxout as Maxout
from ._models import CNN as CNN
from ._models import MLP as MLP
from ._recompute import recompute_batch_stats as recompute_batch_stats
from ._residual import ResidualMLP as ResidualMLP
from ._residual import StochasticDepth as StochasticDepth
from ._residual import stochastic_depth as stochastic_depth
from ._rms_norm import RMSNorm as RMSNorm
from ._rms_norm import rms_norm as rms_norm
from ._sequence import GRU as GRU
from ._sequence import Transformer as Transformer
