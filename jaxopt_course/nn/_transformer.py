"""A decoder, which predicts each token from the tokens before it, and its attention.

    h <- embed(tokens) [+ positions]
    h <- h + attention(norm(h))      h <- h + MLP(norm(h))      in each block
    logits = head(norm(h))

    attention   y_t = sum_s softmax_s(q_t . k_s / sqrt(d)) v_s           over positions s <= t
    rotary      (x_i, x_{i + d/2}) of position t turned by the angle t * 10000^(-2 i / d)

The MLP has one hidden layer of four times the width and GELU. With ``scan`` one program of a block
runs over the stacked parameters of all blocks, so the time to compile does not grow with depth.
After the rotation the product of a query and a key depends on the distance of their positions only.

References: Vaswani et al., "Attention Is All You Need", NeurIPS 2017,
https://arxiv.org/abs/1706.03762; normalization first as in Xiong et al., "On Layer Normalization
in the Transformer Architecture", ICML 2020, https://arxiv.org/abs/2002.04745; Su et al.,
"RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
https://arxiv.org/abs/2104.09864, equation 34; one matrix for embedding and head as in Press & Wolf,
"Using the Output Embedding to Improve Language Models", EACL 2017,
https://arxiv.org/abs/1608.05859.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, ScalarLike

from jaxopt_course.core import checks, numerics

from ._dropout import Dropout
from ._layer_norm import LayerNorm, RMSNorm
from ._shared import as_tokens


BASE = 10_000.0  # of the wavelengths, as in both papers


def rotary(x: Float[Array, "batch length heads size"]) -> Float[Array, "batch length heads size"]:
    """Rotate queries or keys by angles in proportion to their positions.

    The entries i and i + size/2 of a head form a pair; ``size`` is even.

    Examples:
        >>> x = jnp.ones((1, 3, 1, 2))
        >>> [round(float(first), 3) for first in rotary(x)[0, :, 0, 0]]  # cos t - sin t
        [1.0, -0.301, -1.325]
    """
    dtype, size = numerics.wide_dtype(x.dtype), x.shape[-1]
    if size % 2:
        raise ValueError(f"rotary: the size of a head must be even, got {size}.")
    turns = jnp.asarray(BASE, dtype) ** (-jnp.arange(0, size, 2, dtype=dtype) / size)
    angles = jnp.outer(jnp.arange(x.shape[1], dtype=dtype), turns)
    shape = (*x.shape[:-1], size // 2)
    cos, sin = (jnp.broadcast_to(f(angles)[:, None], shape) for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x.astype(dtype), 2, axis=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def causal_attention(
    query: Float[Array, "batch length heads size"],
    key: Float[Array, "batch length heads size"],
    value: Float[Array, "batch length heads size"],
) -> Float[Array, "batch length heads size"]:
    """The attention of each position to those up to it, by ``jax.nn.dot_product_attention``.

    The softmax is computed in float32.

    Examples:
        >>> x = jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
        >>> causal_attention(0 * x, x, x).ravel().tolist()  # a query of 0 attends evenly
        [1.0, 2.0]
    """
    with jax.numpy_dtype_promotion("standard"):  # it promotes float64 and bfloat16 with float32
        return jax.nn.dot_product_attention(query, key, value, is_causal=True)


START = nn.initializers.normal(0.02)  # of embeddings and positions, as in GPT-2
WIDENING = 4  # width of the hidden layer of an MLP, in widths of the residual stream


class Transformer(nn.Module):
    """A decoder with causal attention that normalizes before each branch.

    Attributes:
        vocabulary: number of different tokens, in [1, inf).
        length: length of the longest sequence, in [1, inf).
        width: width of the residual stream, in [1, inf).
        heads: number of attention heads; it divides ``width``.
        blocks: number of blocks, in [0, inf).
        dropout: probability to drop an entry of the output of a branch, in [0, 1), or None.
        param_dtype: dtype of the parameters.
        dtype: dtype of the computation, such as bfloat16. None means ``param_dtype``.
        positions: ``"learned"`` embeddings, or ``"rotary"``, which turn queries and keys.
        normalization: ``"layer"`` or ``"rms"``.
        tied: whether the head is the transposed embedding, without a bias of its own.
        attention: ``"flax"`` or ``"jax"``: :func:`causal_attention`, which is
            ``jax.nn.dot_product_attention``. They differ by rounding.
        scan: whether the blocks run in a ``scan``. Their parameters are then stacked under the name
            ``"blocks"``.
        remat: whether gradients compute what lies inside a block again instead of storing it.

    Examples:
        >>> import jax
        >>> model, tokens = Transformer(vocabulary=5, length=8), jnp.array([[0, 3, 1]])
        >>> logits, variables = model.init_with_output(jax.random.key(0), tokens, train=False)
        >>> logits.shape
        (1, 3, 5)

        A deep model of today:

        >>> modern = {"positions": "rotary", "normalization": "rms", "tied": True}
        >>> deep = Transformer(256, 128, blocks=24, attention="jax", scan=True, **modern)
    """

    vocabulary: int
    length: int
    width: int = 64
    heads: int = 4
    blocks: int = 2
    dropout: ScalarLike | None = None
    param_dtype: DTypeLike = jnp.float32
    dtype: DTypeLike | None = None
    positions: str = "learned"
    normalization: str = "layer"
    tied: bool = False
    attention: str = "flax"
    scan: bool = False
    remat: bool = False

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
        checks.dtype("Transformer", "dtype", self.dtype)
        checks.choice("Transformer", "positions", self.positions, ("learned", "rotary"))
        checks.choice("Transformer", "normalization", self.normalization, ("layer", "rms"))
        checks.choice("Transformer", "attention", self.attention, ("flax", "jax"))
        checks.flags("Transformer", tied=self.tied, scan=self.scan, remat=self.remat)
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(
                "Transformer: `width` / `heads` must be even with `positions='rotary'`, "
                f"got {self.width} / {self.heads}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], train: bool
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token after each position; NaN if a token is unknown."""
        tokens = tokens_of(self, tokens)
        dtypes = _dtypes(self)
        if self.positions == "learned":
            places = self.param("places", START, (self.length, self.width), self.param_dtype)
        embedding = nn.Embed(self.vocabulary, self.width, embedding_init=START, **dtypes)
        h = embedding(tokens)
        if self.positions == "learned":
            h = h + jnp.broadcast_to(places[: tokens.shape[1]].astype(h.dtype), h.shape)
        causal = nn.make_causal_mask(tokens, dtype=bool) if self.attention == "flax" else None
        h = _blocks(self, h, causal, train)
        h = _normalized(self, h)
        return embedding.attend(h) if self.tied else nn.Dense(self.vocabulary, **dtypes)(h)


class _Block(nn.Module):
    """A block of a transformer, with the fields that it needs."""

    width: int
    heads: int
    dropout: ScalarLike | None
    param_dtype: DTypeLike
    dtype: DTypeLike | None
    positions: str
    normalization: str
    attention: str

    @nn.compact
    def __call__(self, h: Array, causal: Array | None, train: bool) -> Array:
        return _block(self, h, causal, train)


def _blocks(model: Transformer, h: Array, causal: Array | None, train: bool) -> Array:
    """All blocks, whose submodules get their names in ``model`` unless they are stacked."""
    if model.blocks == 0:
        return h
    if not model.scan:
        run = lambda model, h: _block(model, h, causal, train)
        run = nn.remat(run) if model.remat else run
        for _ in range(model.blocks):
            h = run(model, h)
        return h
    call = lambda block, h: block(h, causal, train)
    # Inside a loop XLA cannot merge the recomputation with the first computation.
    call = nn.remat(call, prevent_cse=False) if model.remat else call
    over_blocks = nn.scan(
        lambda block, h: (call(block, h), None),
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        length=model.blocks,
    )
    names = {field.name for field in dataclasses.fields(_Block)} - {"parent", "name"}
    fields = {name: getattr(model, name) for name in names}
    return over_blocks(_Block(**fields, name="blocks"), h)[0]


def _block(model: Any, h: Array, causal: Array | None, train: bool) -> Array:
    dtypes = _dtypes(model)
    attention = nn.MultiHeadDotProductAttention(
        model.heads, attention_fn=_attention_function(model), **dtypes
    )
    h = _added(model, h, attention(_normalized(model, h), mask=causal), train)
    branch = nn.gelu(nn.Dense(WIDENING * model.width, **dtypes)(_normalized(model, h)))
    return _added(model, h, nn.Dense(model.width, **dtypes)(branch), train)


def _attention_function(model: Any) -> Callable[..., Array]:
    if model.attention == "flax":
        if model.positions == "learned":
            return nn.dot_product_attention
        return lambda query, key, value, mask: nn.dot_product_attention(
            rotary(query), rotary(key), value, mask=mask
        )
    turned = rotary if model.positions == "rotary" else lambda x: x
    return lambda query, key, value: causal_attention(turned(query), turned(key), value)


def _normalized(model: Any, h: Array) -> Array:
    return {"layer": LayerNorm, "rms": RMSNorm}[model.normalization](param_dtype=model.param_dtype)(
        h
    )


def _added(model: Any, h: Array, branch: Array, train: bool) -> Array:
    return h + (branch if model.dropout is None else Dropout(model.dropout)(branch, train))


def _dtypes(model: Any) -> dict[str, Any]:
    dtype = model.param_dtype if model.dtype is None else model.dtype
    return {"dtype": dtype, "param_dtype": model.param_dtype}


def tokens_of(model: Any, tokens: Any) -> Int[Array, "batch length"]:
    """``tokens``, checked, as indices of the embedding of ``model``.

    ``model`` is any object with the fields ``vocabulary`` and ``length`` of :class:`Transformer`.
    An unknown token gets an index for which the embedding is NaN.

    Examples:
        >>> tokens_of(Transformer(vocabulary=5, length=8), [[0, 4, -1]]).tolist()
        [[0, 4, 5]]
    """
    tokens = as_tokens("Transformer", tokens, model.vocabulary)
    if tokens.shape[1] > model.length:
        raise ValueError(
            f"Transformer: a sequence must have at most `length` = {model.length} tokens, "
            f"got {tokens.shape[1]}."
        )
    return tokens
