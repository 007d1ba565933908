"""Residual sums: a layer adds to what it is given, and so the way back is a sum too.

    h <- h + f(h)        dL/dh = dL/dh' (1 + f')

A deep product of small f' vanishes; a product of 1 + f' does not. With stochastic depth each row
of a batch skips f with probability ``rate`` while training:

    training     h <- h + b f(h) / (1 - rate)        b one of 0 and 1, of mean 1 - rate
    evaluation   h <- h + f(h)

References: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
https://arxiv.org/abs/1603.05027 (the block, normalization first); Huang et al., "Deep Networks
with Stochastic Depth", ECCV 2016, https://arxiv.org/abs/1603.09382.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Key, Real, ScalarLike

from jaxopt_course.core import checks

from ._dropout import dropout
from ._models import activated, check_model, dense, normalized
from ._shapes import check_rank


def stochastic_depth(
    key: Key[Array, ""], x: Float[Array, "batch *shape"], rate: ScalarLike
) -> Float[Array, "batch *shape"]:
    """Silence whole rows at random, and scale the others so that the mean is kept.

    Args:
        key: what the rows are drawn from.
        x: one example a row: what a residual branch adds.
        rate: the probability to silence a row, in [0, 1).

    Raises:
        ValueError: if ``rate`` lies outside [0, 1).
    """
    checks.number("stochastic_depth", "rate", rate, "[0, 1)")
    check_rank("stochastic_depth", x, "batch, ...")
    factors = dropout(key, jnp.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype), rate)
    return x * jnp.broadcast_to(factors, x.shape)


class StochasticDepth(nn.Module):
    """Stochastic depth as a Flax layer; training draws from the RNG stream ``"dropout"``.

    Attributes:
        rate: the probability to silence a row, in [0, 1).
    """

    rate: ScalarLike

    def __post_init__(self) -> None:
        checks.number("StochasticDepth", "rate", self.rate, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *shape"], train: bool
    ) -> Float[Array, "batch *shape"]:
        """``x`` in evaluation, :func:`stochastic_depth` of it in training."""
        return stochastic_depth(self.make_rng("dropout"), x, self.rate) if train else x


class ResidualMLP(nn.Module):
    """Dense layers in blocks, each added to what goes into it.

    An affine map to ``width``; blocks of [normalization], affine map, activation, affine map; the
    normalization once more, and an affine map to the outputs.

    Attributes:
        outputs: how many numbers come out, in [1, inf). They are logits: no last activation.
        width: of all blocks, in [1, inf).
        blocks: how many, in [0, inf).
        activation: the name of the activation in a block.
        normalization: None, ``"batch"`` or ``"layer"``.
        batch_momentum: the weight of the past in the batch statistics, in [0, 1].
        stochastic_depth: the probability that a row skips a block in training, in [0, 1), the
            same for all blocks. None: it never does, and training needs no RNG stream.
        kernel_init: the name of the initializer of all weights; biases start at 0.
        dtype: of the computation. None: what inputs and parameters promote to.
        param_dtype: of the parameters.

    Examples:
        >>> import jax
        >>> model = ResidualMLP(outputs=3, width=8, blocks=50, activation="sigmoid")
        >>> x = jnp.ones((4, 2))
        >>> variables = model.init(jax.random.key(0), x, train=False)
        >>> model.apply(variables, x, train=False).shape
        (4, 3)
    """

    outputs: int
    width: int = 64
    blocks: int = 4
    activation: str = "relu"
    normalization: str | None = None
    batch_momentum: ScalarLike = 0.99
    stochastic_depth: ScalarLike | None = None
    kernel_init: str = "glorot_uniform"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_model(self, width=[self.width])
        checks.integer("ResidualMLP", "blocks", self.blocks, "[0, inf)")
        if self.stochastic_depth is not None:
            checks.number("ResidualMLP", "stochastic_depth", self.stochastic_depth, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Real[Array | np.ndarray, "batch ..."],
        train: bool,
        mask: Bool[Array, "batch"] | Float[Array, "batch"] | None = None,
    ) -> Float[Array, "batch outputs"]:
        """The outputs for inputs of any shape, taken as flat.

        Args:
            x: one input a row.
            train: whether rows skip blocks and batch normalization sees the batch alone.
            mask: which rows count in batch statistics; see :func:`batch_norm`.
        """
        check_rank("ResidualMLP", x, "batch, ...")
        h = dense(self, self.width)(jnp.reshape(jnp.asarray(x), (x.shape[0], -1)))
        for _ in range(self.blocks):
            branch = dense(self, self.width)(normalized(self, h, train, mask))
            branch = dense(self, self.width)(activated(self, branch))
            if self.stochastic_depth is not None:
                branch = StochasticDepth(self.stochastic_depth)(branch, train)
            h = h + branch
            self.sow("intermediates", "hidden", h)
        return dense(self, self.outputs)(normalized(self, h, train, mask))
