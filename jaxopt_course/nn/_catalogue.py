"""The models that a saved configuration may name."""

import flax.linen as nn

from ._autoencoder import Autoencoder
from ._models import CNN, MLP
from ._residual import ResidualMLP
from ._sequence import GRU, Transformer


MODELS: dict[str, type[nn.Module]] = {
    "Autoencoder": Autoencoder,
    "CNN": CNN,
    "GRU": GRU,
    "MLP": MLP,
    "ResidualMLP": ResidualMLP,
    "Transformer": Transformer,
}
