"""Dropout: set random entries to 0 in training, or multiply them by noise.

    inverted    training: x_i b_i / (1 - rate)    evaluation: x_i
    classical   training: x_i b_i                 evaluation: x_i (1 - rate)
    Gaussian    training: x_i (1 + s n_i)         evaluation: x_i
    depth       training: inverted, with one b for each row of the batch

with b_i either 0 or 1, of mean 1 - rate, n_i standard normal and s^2 = rate / (1 - rate). Every
form has the same expectation in training and in evaluation. The classical form is the inverted one
times 1 - rate. The Gaussian form has the mean and the variance of the inverted one.

References: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
JMLR 2014, https://jmlr.org/papers/v15/srivastava14a.html (Gaussian: section 10); Huang et al.,
"Deep Networks with Stochastic Depth", ECCV 2016, https://arxiv.org/abs/1603.09382.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, ScalarLike

from jaxopt_course.core import checks, numerics

from ._shared import check_rank


def dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Set random entries to 0, and scale the others so that the expectation is ``x``.

    Args:
        key: PRNG key.
        x: an array of any shape.
        rate: probability to drop an entry, in [0, 1). A traced rate of 1 drops all entries.

    Returns:
        ``x`` with entries 0 or ``x / (1 - rate)``. Its gradient with respect to ``rate`` is that
        of the scale alone, since the draw has none.

    Examples:
        >>> sorted(set(dropout(jax.random.key(0), jnp.ones(8), 0.5).tolist()))
        [0.0, 2.0]
    """
    checks.number("dropout", "rate", rate, "[0, 1)")
    kept, keep = _draw(key, x, rate)
    return jnp.where(kept, _scaled(x, numerics.safe_divide(jnp.ones_like(keep), keep)), 0)


def classical_dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Set the entries to 0 that :func:`dropout` drops for this key, without scaling the others.

    Examples:
        >>> sorted(set(classical_dropout(jax.random.key(0), jnp.ones(8), 0.5).tolist()))
        [0.0, 1.0]
    """
    checks.number("classical_dropout", "rate", rate, "[0, 1)")
    kept, _ = _draw(key, x, rate)
    return jnp.where(kept, x, 0)


def mean_of_classical_dropout(
    x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """``(1 - rate) * x``: the mean of :func:`classical_dropout`, which evaluation uses.

    Examples:
        >>> mean_of_classical_dropout(jnp.ones(2), 0.25).tolist()
        [0.75, 0.75]
    """
    checks.number("mean_of_classical_dropout", "rate", rate, "[0, 1)")
    return _scaled(x, numerics.complement(rate, numerics.wide_dtype(x.dtype)))


def gaussian_dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Multiply each entry by a normal number of mean 1 and variance ``rate / (1 - rate)``.

    This is the variance of :func:`dropout` with the same ``rate``.

    Examples:
        >>> y = gaussian_dropout(jax.random.key(0), jnp.ones(10_000), 0.5)
        >>> round(y.mean().item(), 1), round(y.std().item(), 1)
        (1.0, 1.0)
    """
    checks.number("gaussian_dropout", "rate", rate, "[0, 1)")
    dtype = numerics.wide_dtype(x.dtype)
    keep = numerics.complement(rate, dtype)
    deviation = numerics.safe_sqrt(numerics.safe_divide(jnp.asarray(rate, dtype), keep))
    noise = jax.random.normal(key, x.shape, dtype)
    return (x.astype(dtype) * (1 + deviation * noise)).astype(x.dtype)


def stochastic_depth(
    key: Key[Array, ""], x: Float[Array, "batch *shape"], rate: ScalarLike
) -> Float[Array, "batch *shape"]:
    """:func:`dropout` of whole rows of ``x``, which is the output of a residual branch.

    Examples:
        >>> y = stochastic_depth(jax.random.key(0), jnp.ones((8, 2)), 0.5)
        >>> sorted(set(map(tuple, y.tolist())))
        [(0.0, 0.0), (2.0, 2.0)]
    """
    checks.number("stochastic_depth", "rate", rate, "[0, 1)")
    check_rank("stochastic_depth", x, "batch, ...")
    factors = dropout(key, jnp.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype), rate)
    return x * jnp.broadcast_to(factors, x.shape)


class Dropout(nn.Module):
    """Inverted dropout as a Flax layer. Training draws from the RNG stream ``"dropout"``.

    Attributes:
        rate: probability to drop an entry, in [0, 1).

    Examples:
        >>> x, rngs = jnp.ones(8), {"dropout": jax.random.key(0)}
        >>> sorted({float(y) for y in Dropout(0.5).apply({}, x, train=True, rngs=rngs)})
        [0.0, 2.0]
    """

    rate: ScalarLike

    def __post_init__(self) -> None:
        checks.number("Dropout", "rate", self.rate, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        """``x`` in evaluation, :func:`dropout` of it in training."""
        return dropout(self.make_rng("dropout"), x, self.rate) if train else x


class ClassicalDropout(nn.Module):
    """Dropout that scales in evaluation, not in training, with the field of :class:`Dropout`.

    Examples:
        >>> ClassicalDropout(0.25).apply({}, jnp.ones(2), train=False).tolist()
        [0.75, 0.75]
    """

    rate: ScalarLike

    def __post_init__(self) -> None:
        checks.number("ClassicalDropout", "rate", self.rate, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        """``(1 - rate) * x`` in evaluation, :func:`classical_dropout` of it in training."""
        if train:
            return classical_dropout(self.make_rng("dropout"), x, self.rate)
        return mean_of_classical_dropout(x, self.rate)


class GaussianDropout(nn.Module):
    """Dropout by Gaussian noise of the same variance, with the field of :class:`Dropout`.

    Examples:
        >>> x, rngs = jnp.ones(10_000), {"dropout": jax.random.key(0)}
        >>> y = GaussianDropout(0.5).apply({}, x, train=True, rngs=rngs)
        >>> round(y.mean().item(), 1), round(y.std().item(), 1)
        (1.0, 1.0)
    """

    rate: ScalarLike

    def __post_init__(self) -> None:
        checks.number("GaussianDropout", "rate", self.rate, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        """``x`` in evaluation, :func:`gaussian_dropout` of it in training."""
        return gaussian_dropout(self.make_rng("dropout"), x, self.rate) if train else x


class StochasticDepth(nn.Module):
    """Dropout of whole rows of a residual branch, with the field of :class:`Dropout`.

    Examples:
        >>> branch, rngs = jnp.ones((8, 2)), {"dropout": jax.random.key(0)}
        >>> y = StochasticDepth(0.5).apply({}, branch, train=True, rngs=rngs)
        >>> sorted(set(map(tuple, y.tolist())))
        [(0.0, 0.0), (2.0, 2.0)]
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


def _draw(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> tuple[Bool[Array, "*shape"], Float[Array, ""]]:
    """The entries to keep, and the probability to keep one."""
    # In the dtype of the draw, so that a traced rate and a Python number draw the same entries.
    keep = numerics.complement(rate, numerics.wide_dtype(x.dtype))
    return jax.random.bernoulli(key, keep, x.shape), keep


def _scaled(x: Float[Array, "*shape"], factor: Float[Array, ""]) -> Float[Array, "*shape"]:
    return (x.astype(factor.dtype) * factor).astype(x.dtype)
