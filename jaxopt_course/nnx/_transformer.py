"""A decoder over stacked blocks, with the computation of :class:`jaxopt_course.nn.Transformer`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course import nn

from ._dropout import Dropout
from ._models import promote_dtype
from ._normalization import LayerNorm, RMSNorm


START = nnx.initializers.normal(0.02)  # of embeddings and positions, as in GPT-2
WIDENING = 4  # width of the hidden layer of an MLP, in widths of the residual stream


class Transformer(nnx.Module):
    """A decoder with causal attention that normalizes before each branch.

    The parameters of all blocks are stacked, and one program of a block runs over them in a
    ``scan``, so the time to compile does not grow with depth. Attention is
    :func:`~jaxopt_course.nn.causal_attention`.

    Args:
        vocabulary: number of different tokens, in [1, inf).
        length: length of the longest sequence, in [1, inf).
        dropout: probability to drop an entry of the output of a branch, in [0, 1), or None.
        rngs: random streams of the model.
        **options: the other fields of :class:`jaxopt_course.nn.Transformer`: ``width``, ``heads``,
            ``blocks``, ``param_dtype``, ``dtype``, ``positions``, ``normalization``, ``tied`` and
            ``remat``.

    Examples:
        >>> model = Transformer(5, length=8, positions="rotary", rngs=nnx.Rngs(0))
        >>> model(jnp.array([[0, 3, 1]])).shape
        (1, 3, 5)
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        dropout: ScalarLike | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        stacked: dict[str, Any] = {"attention": "jax", "scan": True}  # not among the options
        fields = nn.Transformer(vocabulary, length, dropout=dropout, **stacked, **options)
        dtypes, width = _options(fields), fields.width
        self.vocabulary, self.length, self.remat = vocabulary, length, fields.remat
        self.embedding = nnx.Embed(vocabulary, width, embedding_init=START, rngs=rngs, **dtypes)
        draw_places = lambda: START(rngs.params(), (length, width), fields.param_dtype)
        self.places = nnx.Param(draw_places()) if fields.positions == "learned" else None
        make_block = lambda rngs: _Block(fields, rngs)
        blocks = fields.blocks
        self.blocks = nnx.vmap(make_block)(rngs.split(blocks)) if blocks else None
        self.norm = _norm(fields)
        self.head = None if fields.tied else nnx.Linear(width, vocabulary, rngs=rngs, **dtypes)

    def __call__(
        self, tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token after each position; NaN if a token is unknown."""
        tokens = nn.tokens_of(self, tokens)
        h = self.embedding(tokens)
        if self.places is not None:
            places = self.places[...][: tokens.shape[1]].astype(h.dtype)
            h = h + jnp.broadcast_to(places, h.shape)
        if self.blocks is not None:
            run = nnx.remat(_run, prevent_cse=False) if self.remat else _run
            h = nnx.scan(run, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(h, self.blocks)
        h = self.norm(h)
        return self.embedding.attend(h) if self.head is None else self.head(h)


class _Block(nnx.Module):
    """A block of a transformer with these ``fields``."""

    def __init__(self, fields: Any, rngs: nnx.Rngs) -> None:
        width, heads, options = fields.width, fields.heads, _options(fields) | {"rngs": rngs}
        shape = (heads, width // heads)
        self.rotary = fields.positions == "rotary"
        self.attention_norm, self.mlp_norm = _norm(fields), _norm(fields)
        self.query = nnx.LinearGeneral(width, shape, **options)
        self.key = nnx.LinearGeneral(width, shape, **options)
        self.value = nnx.LinearGeneral(width, shape, **options)
        self.out = nnx.LinearGeneral(shape, width, axis=(-2, -1), **options)
        self.wide = nnx.Linear(width, WIDENING * width, **options)
        self.narrow = nnx.Linear(WIDENING * width, width, **options)
        self.dropout = None if fields.dropout is None else Dropout(fields.dropout, rngs=rngs)

    def __call__(self, h: Array) -> Array:
        x = self.attention_norm(h)
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.rotary:
            query, key = nn.rotary(query), nn.rotary(key)
        h = h + self._dropped(self.out(nn.causal_attention(query, key, value)))
        return h + self._dropped(self.narrow(jax.nn.gelu(self.wide(self.mlp_norm(h)))))

    def _dropped(self, branch: Array) -> Array:
        return branch if self.dropout is None else self.dropout(branch)


def _run(h: Array, block: _Block) -> Array:
    return block(h)


def _norm(fields: Any) -> LayerNorm | RMSNorm:
    kind = {"layer": LayerNorm, "rms": RMSNorm}[fields.normalization]
    return kind(fields.width, param_dtype=fields.param_dtype)


def _options(fields: Any) -> dict[str, Any]:
    dtype = fields.param_dtype if fields.dtype is None else fields.dtype
    dtypes = {"dtype": dtype, "param_dtype": fields.param_dtype}
    return dtypes | {"promote_dtype": promote_dtype}
