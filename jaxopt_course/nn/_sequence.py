"""Two sequence models, which predict each token from the tokens before it.

    GRU          r, z = sigmoid(W x + U h + b)    n = tanh(W_n x + b_n + r * (U_n h + c_n))
                 h <- (1 - z) * n + z * h
    Transformer  h <- h + attention(norm(h))      h <- h + MLP(norm(h))

The attention is causal: position t sees the positions up to t.

References: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014,
https://arxiv.org/abs/1406.1078; Vaswani et al., "Attention Is All You Need", NeurIPS 2017,
https://arxiv.org/abs/1706.03762; normalization first as in Xiong et al., "On Layer Normalization
in the Transformer Architecture", ICML 2020, https://arxiv.org/abs/2002.04745.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, ScalarLike

from jaxopt_course.core import checks

from ._dropout import Dropout
from ._layer_norm import LayerNorm
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


class Transformer(nn.Module):
    """A decoder with learned position embeddings that normalizes before each branch.

    Attributes:
        vocabulary: number of different tokens, in [1, inf).
        length: length of the longest sequence, in [1, inf).
        width: width of the residual stream, in [1, inf).
        heads: number of attention heads; it divides ``width``.
        blocks: number of blocks, in [0, inf).
        dropout: probability to drop an entry of the output of a branch, in [0, 1), or None.
        param_dtype: dtype of the parameters and of the computation.

    Examples:
        >>> import jax
        >>> model, tokens = Transformer(vocabulary=5, length=8), jnp.array([[0, 3, 1]])
        >>> logits, variables = model.init_with_output(jax.random.key(0), tokens, train=False)
        >>> logits.shape
        (1, 3, 5)
    """

    vocabulary: int
    length: int
    width: int = 64
    heads: int = 4
    blocks: int = 2
    dropout: ScalarLike | None = None
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        for name in ("vocabulary", "length", "width", "heads"):
            checks.integer("Transformer", name, getattr(self, name), "[1, inf)")
        checks.integer("Transformer", "blocks", self.blocks, "[0, inf)")
        if self.width % self.heads:
            raise ValueError(
                f"Transformer: `heads` must divide `width`, {self.width}, got {self.heads}."
            )
        if self.dropout is not None:
            checks.number("Transformer", "dropout", self.dropout, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], train: bool
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token after each position; NaN if a token is unknown."""
        tokens = as_tokens("Transformer", tokens, self.vocabulary)
        if tokens.shape[1] > self.length:
            raise ValueError(
                f"Transformer: a sequence must have at most `length` = {self.length} tokens, "
                f"got {tokens.shape[1]}."
            )
        dtypes: dict[str, Any] = {"dtype": self.param_dtype, "param_dtype": self.param_dtype}
        start = nn.initializers.normal(0.02)
        places = self.param("places", start, (self.length, self.width), self.param_dtype)
        h = nn.Embed(self.vocabulary, self.width, embedding_init=start, **dtypes)(tokens)
        h = h + jnp.broadcast_to(places[: tokens.shape[1]], h.shape)
        causal = nn.make_causal_mask(tokens, dtype=bool)
        for _ in range(self.blocks):
            attention = nn.MultiHeadDotProductAttention(self.heads, **dtypes)
            h = self._added(h, attention(self._normalized(h), mask=causal), train)
            branch = nn.gelu(nn.Dense(4 * self.width, **dtypes)(self._normalized(h)))
            h = self._added(h, nn.Dense(self.width, **dtypes)(branch), train)
        return nn.Dense(self.vocabulary, **dtypes)(self._normalized(h))

    def _normalized(self, h: Array) -> Array:
        return LayerNorm(param_dtype=self.param_dtype)(h)

    def _added(self, h: Array, branch: Array, train: bool) -> Array:
        return h + (branch if self.dropout is None else Dropout(self.dropout)(branch, train))
