"""Proximal operators: one step downhill on a penalty R, implicit and exact.

    prox(x) = argmin over y of  |y - x|^2 / 2 + scaling R(y)

In proximal gradient descent ``scaling`` is the learning rate, which the course's S(x) hides: the
threshold is the rate times the strength of the penalty. Where the penalty is a sum over entries,
``scaling`` may be an array a shaped like x; then the distance is measured in that metric,

    prox(x) = argmin over y of  sum_i (y_i - x_i)^2 / (2 a_i) + R(y)

which is what belongs behind a preconditioned step such as Adam's. All compute in float32 or
wider and return the dtype of x; numbers may be traced.

Reference: Parikh & Boyd, "Proximal Algorithms", 2014, section 6,
https://web.stanford.edu/~boyd/papers/prox_algs.html.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, ScalarLike

from jaxopt_course.core import checks, numerics, tree

from ._penalties import group_norms


def prox_l1(
    x: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike | Float[Array, "*shape"] = 1.0,
) -> Inexact[Array, "*shape"]:
    """Soft thresholding: argmin over y of |y - x|^2 / 2 + scaling strength sum |y|.

    y = sign(x) max(|x| - scaling strength, 0). Entries within the threshold become exactly 0.

    Args:
        x: the point.
        strength: of the penalty, in [0, inf).
        scaling: the step size, in [0, inf): a number, or one for each entry.

    Raises:
        ValueError: if a number is negative or NaN, or ``scaling`` has another shape.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_l1(jnp.array([3.0, -0.5, -2.0]), strength=1.0).tolist()
        [2.0, 0.0, -1.0]
    """
    checks.array("prox_l1", "x", x)
    threshold = _threshold("prox_l1", x, strength, scaling)
    return _soft(tree.widened(x), threshold).astype(x.dtype)


def prox_l2(
    x: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike | Float[Array, "*shape"] = 1.0,
) -> Inexact[Array, "*shape"]:
    """Shrinking: argmin over y of |y - x|^2 / 2 + scaling strength/2 |y|^2.

    y = x / (1 + scaling strength). For the norm itself, not its square, see
    :func:`prox_group_lasso` with ``axis=None``.

    Args:
        x: the point.
        strength: of the penalty, in [0, inf).
        scaling: the step size, in [0, inf): a number, or one for each entry.

    Raises:
        ValueError: if a number is negative or NaN, or ``scaling`` has another shape.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_l2(jnp.array([3.0, -0.5]), strength=1.0).tolist()
        [1.5, -0.25]
    """
    checks.array("prox_l2", "x", x)
    wide, weight = tree.widened(x), _threshold("prox_l2", x, strength, scaling)
    return (wide / (1 + weight).astype(wide.dtype)).astype(x.dtype)


def prox_elastic_net(
    x: Inexact[Array, "*shape"],
    l1: ScalarLike = 1.0,
    l2: ScalarLike = 1.0,
    scaling: ScalarLike | Float[Array, "*shape"] = 1.0,
) -> Inexact[Array, "*shape"]:
    """Both: argmin over y of |y - x|^2 / 2 + scaling (l1 sum |y| + l2/2 |y|^2).

    The soft threshold scaling l1 first, then division by 1 + scaling l2.

    Args:
        x: the point.
        l1: weight of the sizes, in [0, inf).
        l2: weight of the half squares, in [0, inf).
        scaling: the step size, in [0, inf): a number, or one for each entry.

    Raises:
        ValueError: if a number is negative or NaN, or ``scaling`` has another shape.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_elastic_net(jnp.array([3.0, -0.5]), l1=1.0, l2=1.0).tolist()
        [1.0, 0.0]
    """
    checks.array("prox_elastic_net", "x", x)
    wide = tree.widened(x)
    threshold = _threshold("prox_elastic_net", x, l1, scaling, "l1")
    weight = _threshold("prox_elastic_net", x, l2, scaling, "l2")
    return (_soft(wide, threshold) / (1 + weight).astype(wide.dtype)).astype(x.dtype)


def prox_l0(
    x: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike | Float[Array, "*shape"] = 1.0,
) -> Inexact[Array, "*shape"]:
    """Hard thresholding: argmin over y of |y - x|^2 / 2 + scaling strength (entries y != 0).

    Entries with |x|^2 <= 2 scaling strength become 0, the others stay as they are. The penalty
    is not convex: a training reaches a local minimum at best. The slope by the strength is 0.

    Args:
        x: the point.
        strength: the price of an entry that is not 0, in [0, inf).
        scaling: the step size, in [0, inf): a number, or one for each entry.

    Raises:
        ValueError: if a number is negative or NaN, or ``scaling`` has another shape.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_l0(jnp.array([3.0, -0.5, -2.0]), strength=1.0).tolist()
        [3.0, 0.0, -2.0]
    """
    checks.array("prox_l0", "x", x)
    price = _threshold("prox_l0", x, strength, scaling)
    return jnp.where(jnp.abs(tree.widened(x)) > numerics.safe_sqrt(2 * price), x, jnp.zeros_like(x))


def prox_group_lasso(
    x: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike = 1.0,
    axis: int | Sequence[int] | None = -1,
) -> Inexact[Array, "*shape"]:
    """Block soft thresholding: argmin of |y - x|^2 / 2 + scaling strength sum |y_group|.

    y_group = x_group max(1 - scaling strength / |x_group|, 0): groups become zero together.

    Args:
        x: the point.
        strength: of the penalty, in [0, inf).
        scaling: the step size, in [0, inf), one for all: other metrics have no closed form.
        axis: the axes along which the entries of a group lie; None for one group in all.

    Raises:
        ValueError: if a number is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_group_lasso(jnp.array([[6.0, 8.0], [0.3, 0.4]]), strength=5.0).tolist()
        [[3.0, 4.0], [0.0, 0.0]]
    """
    checks.array("prox_group_lasso", "x", x)
    checks.axes("prox_group_lasso", "axis", axis)
    checks.number("prox_group_lasso", "scaling", scaling, "[0, inf)")
    wide, threshold = tree.widened(x), _threshold("prox_group_lasso", x, strength, scaling)
    norms = group_norms(x, axis, keepdims=True)
    kept = jnp.maximum(1 - numerics.safe_divide(jnp.broadcast_to(threshold, norms.shape), norms), 0)
    return (kept.astype(wide.dtype) * wide).astype(x.dtype)


def prox_nuclear(
    x: Inexact[Array, "*stack rows columns"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike = 1.0,
) -> Inexact[Array, "*stack rows columns"]:
    """Soft thresholding of singular values: argmin of |y - x|^2 / 2 + scaling strength |y|_*.

    With x = U diag(s) V^T, y = U diag(max(s - scaling strength, 0)) V^T. Its derivative is not
    finite where two singular values are equal.

    Args:
        x: a matrix, or a stack of matrices.
        strength: of the penalty, in [0, inf).
        scaling: the step size, in [0, inf), one for all.

    Raises:
        ValueError: if a number is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> y = prox_nuclear(jnp.diag(jnp.array([3.0, 0.5])), strength=1.0)
        >>> abs(y.round(5)).tolist()
        [[2.0, 0.0], [0.0, 0.0]]

    Reference: Cai, Candès & Shen, "A Singular Value Thresholding Algorithm for Matrix
    Completion", 2010, https://arxiv.org/abs/0810.3286, theorem 2.1.
    """
    checks.array("prox_nuclear", "x", x)
    checks.number("prox_nuclear", "scaling", scaling, "[0, inf)")
    threshold = _threshold("prox_nuclear", x, strength, scaling)
    left, values, right = jnp.linalg.svd(tree.widened(x), full_matrices=False)
    kept = jnp.maximum(values - threshold, 0).astype(left.dtype)
    return jnp.matmul(left * kept[..., None, :], right, precision="highest").astype(x.dtype)


def check_entries(owner: str, name: str, value: Any, interval: str, x: Array) -> None:
    """Raise unless ``value`` is a number in ``interval``, or shaped like ``x``."""
    if jnp.shape(value) == ():
        checks.number(owner, name, value, interval)
    elif jnp.shape(value) != x.shape:
        raise ValueError(
            f"{owner}: `{name}` must be a number in {interval} or shaped like `x`, {x.shape}, "
            f"got an array of shape {jnp.shape(value)}."
        )


def _threshold(
    owner: str, x: Array, strength: Any, scaling: Any, name: str = "strength"
) -> Float[Array, "..."]:
    """``scaling * strength``, checked; a number or shaped like ``x``, real, float32 or wider."""
    checks.number(owner, name, strength, "[0, inf)")
    check_entries(owner, "scaling", scaling, "[0, inf)", x)
    dtype = tree.scalar_dtype(x)
    return jnp.asarray(scaling, dtype) * jnp.asarray(strength, dtype)


def _soft(x: Inexact[Array, "*shape"], threshold: Array) -> Inexact[Array, "*shape"]:
    size = jnp.abs(x)
    return jnp.where(size > threshold, jnp.sign(x) * (size - threshold).astype(x.dtype), 0)
