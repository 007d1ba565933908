"""Penalties of one array, to be added to a loss; ``penalty`` sums one over a tree.

    l1_penalty             s sum |w|
    l2_penalty             s/2 sum w^2
    elastic_net_penalty    l1 sum |w| + l2/2 sum w^2
    group_lasso_penalty    s sum over groups of |w_group|
    nuclear_norm_penalty   s sum of the singular values

Each is one number in float32 or wider. At 0, where there are several subgradients, its gradient is
0. Strengths belong to a loss that is a mean over examples: the penalty lambda / (2N) sum w^2 of a
mean, or lambda/2 sum w^2 of a sum over N examples, has ``strength = lambda / N`` here.

References: Tibshirani, "Regression Shrinkage and Selection via the Lasso", 1996; Hoerl & Kennard,
"Ridge Regression", 1970; Zou & Hastie, "Regularization and Variable Selection via the Elastic Net",
2005; Yuan & Lin, "Model Selection and Estimation in Regression with Grouped Variables", 2006;
Fazel, "Matrix Rank Minimization with Applications", 2002.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, ScalarLike

from jaxopt_course.core import checks, l2_norm, numerics, tree


def l1_penalty(w: Inexact[Array, "*shape"], strength: ScalarLike = 1.0) -> Float[Array, ""]:
    """The L1 penalty s sum |w|, which makes entries zero.

    Args:
        w: the parameters.
        strength: the factor s, in [0, inf).

    Examples:
        >>> float(l1_penalty(jnp.array([3.0, -4.0]), strength=0.5))
        3.5
    """
    checks.array("l1_penalty", "w", w)
    checks.number("l1_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(numerics.magnitude(w)), strength)


def l2_penalty(w: Inexact[Array, "*shape"], strength: ScalarLike = 1.0) -> Float[Array, ""]:
    """The L2 penalty s/2 sum w^2, whose gradient is s w.

    It corresponds to ``weight_decay`` of torch. ``L2(l)`` of Keras adds l sum w^2 without the
    factor 1/2, so it is ``strength = 2 l``. Arguments are those of :func:`l1_penalty`.

    Examples:
        >>> float(l2_penalty(jnp.array([3.0, -4.0]), strength=0.5))
        6.25
    """
    checks.array("l2_penalty", "w", w)
    checks.number("l2_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(tree.squared(w)) / 2, strength)


def elastic_net_penalty(
    w: Inexact[Array, "*shape"], l1: ScalarLike = 1.0, l2: ScalarLike = 1.0
) -> Float[Array, ""]:
    """The L1 and the L2 penalty together: l1 sum |w| + l2/2 sum w^2.

    With half the mean squared error as the loss, ``alpha`` and ``l1_ratio`` of scikit-learn are
    ``l1 = alpha * l1_ratio`` and ``l2 = alpha * (1 - l1_ratio)``. Both lie in [0, inf).
    """
    checks.array("elastic_net_penalty", "w", w)
    checks.numbers("elastic_net_penalty", "[0, inf)", l1=l1, l2=l2)
    return l1_penalty(w, l1) + l2_penalty(w, l2)


def group_lasso_penalty(
    w: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    axis: int | Sequence[int] | None = -1,
) -> Float[Array, ""]:
    """The sum of the L2 norms of groups of entries, which makes whole groups zero.

    Args:
        w: the parameters.
        strength: the factor s of all groups, in [0, inf). Yuan and Lin weigh each group by the
            square root of its size: multiply ``strength`` by that.
        axis: the axes along which the entries of a group lie; None means one group. In a kernel
            f[inputs, outputs], -1 groups the weights of an input and 0 those of an output.

    Examples:
        >>> float(group_lasso_penalty(jnp.array([[3.0, 4.0], [0.0, 1.0]])))
        6.0
    """
    checks.axes("group_lasso_penalty", "axis", axis)
    checks.array("group_lasso_penalty", "w", w)
    checks.number("group_lasso_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(group_norms(w, axis)), strength)


def nuclear_norm_penalty(
    w: Inexact[Array, "*stack rows columns"], strength: ScalarLike = 1.0
) -> Float[Array, ""]:
    """The sum of the singular values of a matrix, or of a stack of them, which reduces the rank.

    At a matrix without full rank, where there are several subgradients, the gradient is the one
    that automatic differentiation gives. The proximal operator has no such ambiguity.

    Examples:
        >>> float(nuclear_norm_penalty(jnp.diag(jnp.array([3.0, -4.0]))))
        7.0
    """
    checks.rank("nuclear_norm_penalty", "w", w, 2)
    checks.number("nuclear_norm_penalty", "strength", strength, "[0, inf)")
    return tree.scale(tree.sum(jnp.linalg.svd(tree.widened(w), compute_uv=False)), strength)


def group_norms(
    w: Inexact[Array, "*shape"], axis: int | Sequence[int] | None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The L2 norms of the groups of entries along ``axis``; a scalar is one group."""
    along = axis if axis is None or isinstance(axis, int) else tuple(axis)
    return l2_norm(w, along if w.ndim else None, keepdims=keepdims)
