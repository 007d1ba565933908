"""Dropout: silence each entry with probability ``rate`` while training, or blur it.

    inverted    training: x_i b_i / (1 - rate)    evaluation: x_i
    classical   training: x_i b_i                 evaluation: x_i (1 - rate)
    Gaussian    training: x_i (1 + s n_i)         evaluation: x_i

with b_i one of 0 and 1, of mean 1 - rate, n_i standard normal and s^2 = rate / (1 - rate). Each
form has the same expectation in training as in evaluation; the classical one is the inverted one,
scaled by 1 - rate throughout; the Gaussian one has mean and variance of the inverted one.

Reference: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
Overfitting", JMLR 2014, https://jmlr.org/papers/v15/srivastava14a.html (Gaussian: section 10).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, ScalarLike

from jaxopt_course.core import checks, numerics


def dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Silence entries at random, and scale the others so that the mean is kept.

    Args:
        key: what the entries are drawn from.
        x: any shape.
        rate: the probability to silence an entry, in [0, 1). A traced rate that reaches 1
            silences everything.

    Returns:
        ``x`` with entries 0 or ``x / (1 - rate)``. Its gradient with respect to ``rate`` is
        that of the scale alone: the draw has none.

    Raises:
        ValueError: if ``rate`` lies outside [0, 1).
    """
    checks.number("dropout", "rate", rate, "[0, 1)")
    kept, keep = _draw(key, x, rate)
    return jnp.where(kept, _scaled(x, numerics.safe_divide(jnp.ones_like(keep), keep)), 0)


def classical_dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Silence entries at random, and leave the others as they are.

    Args:
        key: what the entries are drawn from: the same entries as in :func:`dropout`.
        x: any shape.
        rate: the probability to silence an entry, in [0, 1).

    Returns:
        ``x`` with some entries 0. Its expectation is ``(1 - rate) * x``.

    Raises:
        ValueError: if ``rate`` lies outside [0, 1).
    """
    checks.number("classical_dropout", "rate", rate, "[0, 1)")
    kept, _ = _draw(key, x, rate)
    return jnp.where(kept, x, 0)


def gaussian_dropout(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> Float[Array, "*shape"]:
    """Multiply each entry by a normal number of mean 1 and variance ``rate / (1 - rate)``.

    Args:
        key: what the numbers are drawn from.
        x: any shape.
        rate: of the dropout that has this variance, in [0, 1).

    Returns:
        The blurred ``x``, with the mean of ``x``.

    Raises:
        ValueError: if ``rate`` lies outside [0, 1).
    """
    checks.number("gaussian_dropout", "rate", rate, "[0, 1)")
    dtype = numerics.wide_dtype(x.dtype)
    deviation = numerics.safe_sqrt(
        numerics.safe_divide(jnp.asarray(rate, dtype), numerics.complement(rate, dtype))
    )
    noise = jax.random.normal(key, x.shape, dtype)
    return (x.astype(dtype) * (1 + deviation * noise)).astype(x.dtype)


class Dropout(nn.Module):
    """Inverted dropout as a Flax layer; training draws from the RNG stream ``"dropout"``.

    Attributes:
        rate: the probability to silence an entry, in [0, 1).

    Examples:
        >>> x = jnp.ones(8)
        >>> rngs = {"dropout": jax.random.key(0)}
        >>> sorted({float(y) for y in Dropout(0.5).apply({}, x, train=True, rngs=rngs)})
        [0.0, 2.0]
        >>> bool((Dropout(0.5).apply({}, x, train=False) == x).all())
        True
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
    """Dropout that scales in evaluation; training draws from the RNG stream ``"dropout"``.

    Attributes:
        rate: the probability to silence an entry, in [0, 1).
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
        return _scaled(x, numerics.complement(self.rate, numerics.wide_dtype(x.dtype)))


class GaussianDropout(nn.Module):
    """Gaussian dropout as a Flax layer; training draws from the RNG stream ``"dropout"``.

    Attributes:
        rate: of the dropout that has the same variance, in [0, 1).
    """

    rate: ScalarLike

    def __post_init__(self) -> None:
        checks.number("GaussianDropout", "rate", self.rate, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        """``x`` in evaluation, :func:`gaussian_dropout` of it in training."""
        return gaussian_dropout(self.make_rng("dropout"), x, self.rate) if train else x


def _draw(
    key: Key[Array, ""], x: Float[Array, "*shape"], rate: ScalarLike
) -> tuple[Bool[Array, "*shape"], Float[Array, ""]]:
    """Which entries are kept, and the probability of that."""
    keep = numerics.complement(
        rate, numerics.wide_dtype(x.dtype)
    )  # in one dtype, so that the draw is one too
    return jax.random.bernoulli(key, keep, x.shape), keep


def _scaled(x: Float[Array, "*shape"], factor: Float[Array, ""]) -> Float[Array, "*shape"]:
    return (x.astype(factor.dtype) * factor).astype(x.dtype)
