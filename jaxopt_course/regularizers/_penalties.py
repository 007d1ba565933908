"""Penalties of one array, to be added to a loss; ``penalty`` sums one over a tree.

    l1_penalty             s sum |w|
    l2_penalty             s/2 sum w^2
    elastic_net_penalty    l1 sum |w| + l2/2 sum w^2
    group_lasso_penalty    s sum over groups of |w_group|
    nuclear_norm_penalty   s sum of the singular values

Each is one number, in float32 or wider. Strengths belong to a loss that is a mean over the
examples: who writes lambda / (2N) sum w^2 beside a mean, or lambda/2 sum w^2 beside a sum over
N examples, means ``strength = lambda / N`` here. The slope at 0, where there are many, is 0.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, ScalarLike

from jaxopt_course.core import checks, l2_norm, numerics, tree


def l1_penalty(w: Inexact[Array, "*shape"], strength: ScalarLike = 1.0) -> Float[Array, ""]:
    """The sum of the sizes, s sum |w|, which makes entries zero.

    One deck halves the norm and then writes the plain sum: the sum is meant, and is this.

    Args:
        w: the parameters.
        strength: s, in [0, inf). It may be traced.

    Raises:
        ValueError: if ``strength`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(l1_penalty(jnp.array([3.0, -4.0]), strength=0.5))
        3.5

    Reference: Tibshirani, "Regression Shrinkage and Selection via the Lasso", 1996.
    """
    checks.array("l1_penalty", "w", w)
    checks.number("l1_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(numerics.magnitude(w)), strength)


def l2_penalty(w: Inexact[Array, "*shape"], strength: ScalarLike = 1.0) -> Float[Array, ""]:
    """Half the sum of the squares, s/2 sum w^2, whose slope is s w.

    Keras's ``L2(l)`` adds l sum w^2, without the half: it is ``strength = 2 l``. Torch's
    ``weight_decay`` is ``strength`` itself.

    Args:
        w: the parameters.
        strength: s, in [0, inf). It may be traced.

    Raises:
        ValueError: if ``strength`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(l2_penalty(jnp.array([3.0, -4.0]), strength=0.5))
        6.25

    Reference: Hoerl & Kennard, "Ridge Regression", 1970.
    """
    checks.array("l2_penalty", "w", w)
    checks.number("l2_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(tree.squared(w)) / 2, strength)


def elastic_net_penalty(
    w: Inexact[Array, "*shape"], l1: ScalarLike = 1.0, l2: ScalarLike = 1.0
) -> Float[Array, ""]:
    """Both at once: l1 sum |w| + l2/2 sum w^2.

    scikit-learn's ``alpha`` and ``l1_ratio`` are ``l1 = alpha * l1_ratio`` and
    ``l2 = alpha * (1 - l1_ratio)``, beside half the mean squared error.

    Args:
        w: the parameters.
        l1: weight of the sizes, in [0, inf). It may be traced.
        l2: weight of the half squares, in [0, inf). It may be traced.

    Raises:
        ValueError: if a weight is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(elastic_net_penalty(jnp.array([3.0, -4.0]), l1=0.5, l2=0.5))
        9.75

    Reference: Zou & Hastie, "Regularization and Variable Selection via the Elastic Net", 2005.
    """
    checks.array("elastic_net_penalty", "w", w)
    checks.number("elastic_net_penalty", "l1", l1, "[0, inf)")
    checks.number("elastic_net_penalty", "l2", l2, "[0, inf)")
    return l1_penalty(w, l1) + l2_penalty(w, l2)


def group_lasso_penalty(
    w: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    axis: int | Sequence[int] | None = -1,
) -> Float[Array, ""]:
    """The sum of the L2 norms of groups of entries, which makes whole groups zero.

    Args:
        w: the parameters.
        strength: s, in [0, inf); one number for all groups. Yuan and Lin weigh each by the root
            of its size: multiply by it.
        axis: the axes along which the entries of a group lie; None for one group in all. In a
            kernel f[inputs, outputs], -1 groups what leaves an input, 0 what enters an output.

    Raises:
        ValueError: if ``strength`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(group_lasso_penalty(jnp.array([[3.0, 4.0], [0.0, 1.0]])))
        6.0

    Reference: Yuan & Lin, "Model Selection and Estimation in Regression with Grouped
    Variables", 2006.
    """
    checks.axes("group_lasso_penalty", "axis", axis)
    checks.array("group_lasso_penalty", "w", w)
    checks.number("group_lasso_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(group_norms(w, axis)), strength)


def nuclear_norm_penalty(
    w: Inexact[Array, "*stack rows columns"], strength: ScalarLike = 1.0
) -> Float[Array, ""]:
    """The sum of the singular values, which makes the rank of a matrix small.

    At a matrix that lacks full rank its slope is one of many, as automatic differentiation
    gives it: the proximal operator has no such doubt.

    Args:
        w: a matrix, or a stack of matrices.
        strength: s, in [0, inf). It may be traced.

    Raises:
        ValueError: if ``strength`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(nuclear_norm_penalty(jnp.diag(jnp.array([3.0, -4.0]))))
        7.0

    Reference: Fazel, "Matrix Rank Minimization with Applications", 2002.
    """
    checks.rank("nuclear_norm_penalty", "w", w, 2)
    checks.number("nuclear_norm_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(jnp.linalg.svd(tree.widened(w), compute_uv=False)), strength)


def group_norms(
    w: Inexact[Array, "*shape"], axis: int | Sequence[int] | None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The L2 norms of the groups of entries along ``axis``; a lone number is a group."""
    along = axis if axis is None or isinstance(axis, int) else tuple(axis)
    return l2_norm(w, along if w.ndim else None, keepdims=keepdims)
