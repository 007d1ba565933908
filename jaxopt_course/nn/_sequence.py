"""A recurrent sequence model, which predicts each token from the tokens before it.

    r, z = sigmoid(W x + U h + b)    n = tanh(W_n x + b_n + r * (U_n h + c_n))
    h <- (1 - z) * n + z * h

Reference: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014,
https://arxiv.org/abs/1406.1078.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int

from jaxopt_course.core import checks

from ._shared import as_tokens


class GRU(nn.Module):
    """An embedding, a gated recurrent unit and an affine map.

    Attributes:
        vocabulary: number of tokens, in [1, inf); those outside [0, vocabulary) are unknown.
        width: width of the embedding and of the state, in [1, inf).
        param_dtype: dtype of the parameters and of the computation.

    Examples:
        >>> import jax
        >>> model, tokens = GRU(vocabulary=5), jnp.array([[0, 3, 1]])
        >>> logits, variables = model.init_with_output(jax.random.key(0), tokens, train=False)
        >>> logits.shape
        (1, 3, 5)
    """

    vocabulary: int
    width: int = 64
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("GRU", "vocabulary", self.vocabulary, "[1, inf)")
        checks.integer("GRU", "width", self.width, "[1, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], train: bool
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token after each position; NaN after an unknown token."""
        tokens = as_tokens("GRU", tokens, self.vocabulary)
        dtypes: dict[str, Any] = {"dtype": self.param_dtype, "param_dtype": self.param_dtype}
        h = nn.Embed(self.vocabulary, self.width, **dtypes)(tokens)
        h = nn.RNN(nn.GRUCell(self.width, **dtypes))(h)
        return nn.Dense(self.vocabulary, **dtypes)(h)
