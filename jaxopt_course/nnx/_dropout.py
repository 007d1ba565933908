"""The dropout layers: modules over the pure functions of :mod:`jaxopt_course.nn`.

Formulas and references are those of the functions.
"""

from flax import nnx
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.nn import (
    classical_dropout,
    dropout,
    gaussian_dropout,
    mean_of_classical_dropout,
    stochastic_depth,
)

from ._hyperparameter import number, value_of


class Dropout(nnx.Module):
    """Inverted dropout, with the names of ``flax.nnx.Dropout`` and a rate that may be traced.

    Args:
        rate: probability to drop an entry, in [0, 1).
        rngs: random streams of the model.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
        >>> sorted(set(layer(jnp.ones(16)).tolist()))
        [0.0, 2.0]
        >>> layer.eval()
        >>> layer(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, rate: ScalarLike, *, rngs: nnx.Rngs) -> None:
        self.rate = number("Dropout", "rate", rate, "[0, 1)")
        self.deterministic = False
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``x`` in evaluation, :func:`~jaxopt_course.nn.dropout` of it in training."""
        return x if self.deterministic else dropout(self.rngs(), x, value_of(self.rate))


class ClassicalDropout(nnx.Module):
    """Dropout that scales in evaluation, not in training.

    The arguments are those of :class:`Dropout`.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = ClassicalDropout(0.25, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(2)).tolist()
        [0.75, 0.75]
    """

    def __init__(self, rate: ScalarLike, *, rngs: nnx.Rngs) -> None:
        self.rate = number("ClassicalDropout", "rate", rate, "[0, 1)")
        self.deterministic = False
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``(1 - rate) * x`` in evaluation, random entries of ``x`` set to 0 in training."""
        rate = value_of(self.rate)
        if self.deterministic:
            return mean_of_classical_dropout(x, rate)
        return classical_dropout(self.rngs(), x, rate)


class GaussianDropout(nnx.Module):
    """Dropout by Gaussian noise of the same variance.

    The arguments are those of :class:`Dropout`.

    Examples:
        >>> import jax.numpy as jnp
        >>> y = GaussianDropout(0.5, rngs=nnx.Rngs(0))(jnp.ones(10_000))
        >>> round(y.mean().item(), 1), round(y.std().item(), 1)
        (1.0, 1.0)
    """

    def __init__(self, rate: ScalarLike, *, rngs: nnx.Rngs) -> None:
        self.rate = number("GaussianDropout", "rate", rate, "[0, 1)")
        self.deterministic = False
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``x`` in evaluation, :func:`~jaxopt_course.nn.gaussian_dropout` of it in training."""
        return x if self.deterministic else gaussian_dropout(self.rngs(), x, value_of(self.rate))


class StochasticDepth(nnx.Module):
    """Dropout of whole rows of a residual branch.

    The arguments are those of :class:`Dropout`.

    Examples:
        >>> import jax.numpy as jnp
        >>> y = StochasticDepth(0.5, rngs=nnx.Rngs(0))(jnp.ones((8, 2)))
        >>> sorted(set(map(tuple, y.tolist())))
        [(0.0, 0.0), (2.0, 2.0)]
    """

    def __init__(self, rate: ScalarLike, *, rngs: nnx.Rngs) -> None:
        self.rate = number("StochasticDepth", "rate", rate, "[0, 1)")
        self.deterministic = False
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
        """``x`` in evaluation, :func:`~jaxopt_course.nn.stochastic_depth` of it in training."""
        return x if self.deterministic else stochastic_depth(self.rngs(), x, value_of(self.rate))
