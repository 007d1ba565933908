"""Flax NNX layers and models over the pure functions that the Linen modules use.

Their numbers may be traced. Methods ``train`` and ``eval`` of a model switch its mode; a new one is
in training mode. Random numbers come from the stream ``"dropout"`` of the ``nnx.Rngs`` given, or
from its default stream.
"""

from ._dense import DropConnect as DropConnect
from ._dense import Maxout as Maxout
from ._dropout import ClassicalDropout as ClassicalDropout
from ._dropout import Dropout as Dropout
from ._dropout import GaussianDropout as GaussianDropout
from ._dropout import StochasticDepth as StochasticDepth
from ._hyperparameter import Hyperparameter as Hyperparameter
from ._models import CNN as CNN
from ._models import MLP as MLP
from ._normalization import BatchNorm as BatchNorm
from ._normalization import GroupNorm as GroupNorm
from ._normalization import LayerNorm as LayerNorm
from ._normalization import RMSNorm as RMSNorm
from ._transformer import Transformer as Transformer
