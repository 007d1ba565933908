"""Mixup: linear interpolation between pairs of examples and between their targets.

    x = l x_i + (1 - l) x_j,        y = l y_i + (1 - l) y_j,        l ~ Beta(alpha, alpha)

Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, equation 2,
https://arxiv.org/abs/1710.09412.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics

from ._augmentation import check_floats, per_example


def mixup(
    key: Key[Array, ""],
    inputs: PyTree[Float[Array, "batch ..."]],
    targets: Shaped[Array, "batch *outputs"],
    alpha: ScalarLike,
    *,
    n_classes: int | None = None,
    weights: Float[Array, " batch"] | None = None,
) -> tuple[PyTree[Float[Array, "batch ..."]], Float[Array, "batch *row"]]:
    """Mix each example with another example of its batch.

    The partner is drawn with probability proportional to its weight. Rows of weight 0, such as
    padding, are never drawn.

    Args:
        key: PRNG key of the partners and the mixing coefficients.
        inputs: floating-point array or pytree of arrays.
        targets: class numbers if ``n_classes`` is given, otherwise numbers that can be averaged,
            such as regression values or one-hot rows. A class number outside [0, n_classes) gives a
            row of NaN, unless its weight is 0.
        alpha: parameter of the Beta distribution of the coefficient l, in [0, inf). With 0 nothing
            is mixed; with 1 the coefficient is uniform.
        n_classes: number of classes; the mixed targets are rows of probabilities.
        weights: weights of the examples. By default all are equal.

    Returns:
        Inputs in their dtypes, and targets in the default float dtype if they were integers.

    Examples:
        >>> x, y = jnp.array([[0.0], [4.0]]), jnp.array([0, 1])
        >>> mix = jax.jit(mixup, static_argnames="n_classes")
        >>> x, y = mix(jax.random.key(1), x, y, 1.0, n_classes=2)
        >>> bool(jnp.allclose(x[:, 0], 4 * y[:, 1]))
        True
    """
    checks.number("mixup", "alpha", alpha, "[0, inf)")
    for values in jax.tree.leaves(inputs):
        check_floats("mixup", "inputs", values)
    rows = _with_means(targets, n_classes, weights)
    batch = len(rows)
    partner_key, share_key = jax.random.split(key)
    likely = jnp.ones(batch, jnp.result_type(float)) if weights is None else weights
    partners = jax.random.choice(partner_key, batch, (batch,), p=likely)
    shares = _shares(share_key, alpha, batch)

    def mixed(values: Array) -> Array:
        wide = values.astype(numerics.wide_dtype(values.dtype))
        own = per_example(shares.astype(wide.dtype), wide)
        return (own * wide + (1 - own) * wide[partners]).astype(values.dtype)

    return jax.tree.map(mixed, inputs), mixed(rows)


def _with_means(
    targets: Array, n_classes: int | None, weights: Array | None
) -> Float[Array, "batch ..."]:
    if n_classes is not None:
        checks.integer("mixup", "n_classes", n_classes, "[2, inf)")
        if targets.ndim != 1 or not jnp.issubdtype(targets.dtype, jnp.integer):
            raise TypeError(
                "mixup: with `n_classes` the targets must be a vector of integers, "
                f"got {targets.dtype} of shape {targets.shape}."
            )
        fine = (targets >= 0) & (targets < n_classes)
        fine = fine if weights is None else fine | (weights == 0)
        rows = jax.nn.one_hot(targets, n_classes, dtype=jnp.result_type(float))
        return jnp.where(fine[:, None], rows, jnp.nan)
    floating = jnp.issubdtype(targets.dtype, jnp.floating)
    return targets if floating else targets.astype(jnp.result_type(float))


def _shares(key: Key[Array, ""], alpha: ScalarLike, batch: int) -> Float[Array, " batch"]:
    """The mixing coefficients; 1 if ``alpha`` is 0."""
    alpha = numerics.as_float(alpha)
    positive = jnp.where(alpha > 0, alpha, 1.0)
    # g / (g + g') is Beta distributed if g and g' are Gamma distributed. Small g underflow, their
    # logarithms do not.
    logs = jax.random.loggamma(key, positive, (2, batch))
    return jnp.where(alpha > 0, jax.nn.sigmoid(logs[0] - logs[1]), 1.0)
