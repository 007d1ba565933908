"""Proximal operators of penalties, and projections onto sets.

    prox(x) = argmin over y of  |y - x|^2 / 2 + scaling R(y)

is an implicit gradient step on a penalty R. In proximal gradient descent ``scaling`` is the
learning rate. The threshold, the course's S(x), is then the learning rate times the strength of
the penalty. If the penalty is a sum over entries, ``scaling`` may be an array a of the shape of x,
which measures the distance in that metric, as a preconditioned step such as Adam's requires:

    prox(x) = argmin over y of  sum_i (y_i - x_i)^2 / (2 a_i) + R(y)

A projection, argmin of |y - x|^2 over a set, is the proximal operator of a constraint, which has no
strength. All compute in float32 or wider and return the dtype of x.

References: Parikh & Boyd, "Proximal Algorithms", 2014, section 6,
https://web.stanford.edu/~boyd/papers/prox_algs.html; Cai, Candès & Shen, "A Singular Value
Thresholding Algorithm for Matrix Completion", 2010, theorem 2.1 (nuclear norm),
https://arxiv.org/abs/0810.3286; Held, Wolfe & Crowder, "Validation of subgradient optimization",
1974 (simplex).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Inexact, Real, ScalarLike

from jaxopt_course.core import Params, checks, global_norm, numerics, shrink_to, tree

from ._penalties import group_norms


Scaling = ScalarLike | Float[Array, "*shape"]  # a step size, or one for each entry


def prox_l1(
    x: Inexact[Array, "*shape"], strength: ScalarLike = 1.0, scaling: Scaling = 1.0
) -> Inexact[Array, "*shape"]:
    """Soft thresholding: argmin over y of |y - x|^2 / 2 + scaling strength sum |y|.

    y = sign(x) max(|x| - scaling strength, 0). Entries within the threshold become exactly 0.

    Args:
        x: the point.
        strength: factor of the penalty, in [0, inf).
        scaling: step size, in [0, inf): one number, or one for each entry.

    Examples:
        >>> prox_l1(jnp.array([3.0, -0.5, -2.0]), strength=1.0).tolist()
        [2.0, 0.0, -1.0]
    """
    threshold = _threshold("prox_l1", x, strength, scaling)
    return _soft(tree.widened(x), threshold).astype(x.dtype)


def prox_l2(
    x: Inexact[Array, "*shape"], strength: ScalarLike = 1.0, scaling: Scaling = 1.0
) -> Inexact[Array, "*shape"]:
    """Shrinking: argmin over y of |y - x|^2 / 2 + scaling strength/2 |y|^2.

    y = x / (1 + scaling strength). Arguments are those of :func:`prox_l1`. The operator of the norm
    without the square is :func:`prox_group_lasso` with ``axis=None``.
    """
    weight = _threshold("prox_l2", x, strength, scaling)
    wide = tree.widened(x)
    return (wide / (1 + weight).astype(wide.dtype)).astype(x.dtype)


def prox_elastic_net(
    x: Inexact[Array, "*shape"],
    l1: ScalarLike = 1.0,
    l2: ScalarLike = 1.0,
    scaling: Scaling = 1.0,
) -> Inexact[Array, "*shape"]:
    """Both penalties: argmin over y of |y - x|^2 / 2 + scaling (l1 sum |y| + l2/2 |y|^2).

    This is the soft threshold scaling l1, then division by 1 + scaling l2. ``l1`` and ``l2`` lie in
    [0, inf), and ``scaling`` is that of :func:`prox_l1`.
    """
    threshold = _threshold("prox_elastic_net", x, l1, scaling, "l1")
    weight = _threshold("prox_elastic_net", x, l2, scaling, "l2")
    wide = tree.widened(x)
    return (_soft(wide, threshold) / (1 + weight).astype(wide.dtype)).astype(x.dtype)


def prox_l0(
    x: Inexact[Array, "*shape"], strength: ScalarLike = 1.0, scaling: Scaling = 1.0
) -> Inexact[Array, "*shape"]:
    """Hard thresholding: argmin over y of |y - x|^2 / 2 + scaling strength (entries y != 0).

    Entries with |x|^2 <= 2 scaling strength become 0, the others do not change. The penalty is not
    convex, so a training reaches a local minimum at best. The derivative with respect to the
    strength is 0. Arguments are those of :func:`prox_l1`.

    Examples:
        >>> prox_l0(jnp.array([3.0, -0.5, -2.0]), strength=1.0).tolist()
        [3.0, 0.0, -2.0]
    """
    price = _threshold("prox_l0", x, strength, scaling)
    return jnp.where(jnp.abs(tree.widened(x)) > numerics.safe_sqrt(2 * price), x, jnp.zeros_like(x))


def prox_group_lasso(
    x: Inexact[Array, "*shape"],
    strength: ScalarLike = 1.0,
    scaling: ScalarLike = 1.0,
    axis: int | Sequence[int] | None = -1,
) -> Inexact[Array, "*shape"]:
    """Block soft thresholding: argmin of |y - x|^2 / 2 + scaling strength sum |y_group|.

    y_group = x_group max(1 - scaling strength / |x_group|, 0), so whole groups become zero.

    Args:
        x: the point.
        strength: factor of the penalty, in [0, inf).
        scaling: step size, in [0, inf), one number: other metrics have no closed form.
        axis: the axes along which the entries of a group lie; None means one group.

    Examples:
        >>> prox_group_lasso(jnp.array([[6.0, 8.0], [0.3, 0.4]]), strength=5.0).tolist()
        [[3.0, 4.0], [0.0, 0.0]]
    """
    checks.axes("prox_group_lasso", "axis", axis)
    checks.number("prox_group_lasso", "scaling", scaling, "[0, inf)")
    threshold, wide = _threshold("prox_group_lasso", x, strength, scaling), tree.widened(x)
    norms = group_norms(x, axis, keepdims=True)
    kept = jnp.maximum(1 - numerics.safe_divide(jnp.broadcast_to(threshold, norms.shape), norms), 0)
    return (kept.astype(wide.dtype) * wide).astype(x.dtype)


def prox_nuclear(
    x: Inexact[Array, "*stack rows columns"], strength: ScalarLike = 1.0, scaling: ScalarLike = 1.0
) -> Inexact[Array, "*stack rows columns"]:
    """Soft thresholding of singular values: argmin of |y - x|^2 / 2 + scaling strength |y|_*.

    With x = U diag(s) V^T, y = U diag(max(s - scaling strength, 0)) V^T. Its derivative is not
    finite if two singular values are equal. ``x`` is a matrix or a stack of matrices, and
    ``scaling`` is one number in [0, inf).
    """
    checks.number("prox_nuclear", "scaling", scaling, "[0, inf)")
    threshold = _threshold("prox_nuclear", x, strength, scaling)
    left, values, right = jnp.linalg.svd(tree.widened(x), full_matrices=False)
    kept = jnp.maximum(values - threshold, 0).astype(left.dtype)
    return jnp.matmul(left * kept[..., None, :], right, precision="highest").astype(x.dtype)


def prox_box(
    x: Float[Array, "*shape"],
    lower: ScalarLike | Real[Array, "*shape"] = 0.0,
    upper: ScalarLike | Real[Array, "*shape"] = 1.0,
    scaling: Any = 1.0,
) -> Float[Array, "*shape"]:
    """Clipping: argmin over y of |y - x|^2 subject to lower <= y <= upper.

    Args:
        x: the point.
        lower: one number, or one for each entry; -inf means no bound.
        upper: as ``lower``, and at least as large; inf means no bound.
        scaling: has no effect, since the constraint holds in every diagonal metric.

    Examples:
        >>> prox_box(jnp.array([3.0, -0.5, 0.25]), lower=0.0, upper=1.0).tolist()
        [1.0, 0.0, 0.25]
    """
    checks.array("prox_box", "x", x)
    _check_entries("prox_box", "lower", lower, "[-inf, inf]", x)
    _check_entries("prox_box", "upper", upper, "[-inf, inf]", x)
    is_known = not (checks.is_traced(lower) or checks.is_traced(upper))
    if is_known and not np.all(np.less_equal(lower, upper)):
        raise ValueError(
            f"prox_box: `lower` must lie in [-inf, upper], got {lower!r} and upper = {upper!r}."
        )
    return jnp.clip(x, jnp.asarray(lower, x.dtype), jnp.asarray(upper, x.dtype))


def prox_simplex(
    x: Float[Array, "*shape"], total: ScalarLike = 1.0, scaling: ScalarLike = 1.0
) -> Float[Array, "*shape"]:
    """Projection onto a simplex: argmin of |y - x|^2 subject to y >= 0 and sum y = total.

    Args:
        x: the point, with all its entries taken together.
        total: the sum of the entries, in (0, inf).
        scaling: has no effect; one number, since another metric has another projection.

    Examples:
        >>> prox_simplex(jnp.array([1.0, 0.75, -2.0])).tolist()
        [0.625, 0.375, 0.0]
    """
    checks.array("prox_simplex", "x", x)
    checks.number("prox_simplex", "total", total, "(0, inf)")
    checks.number("prox_simplex", "scaling", scaling, "[0, inf)")
    wide = tree.widened(x)
    with jax.numpy_dtype_promotion("standard"):  # optax divides a float by integers
        point = optax.projections.projection_simplex(wide, jnp.asarray(total, wide.dtype))
    return point.astype(x.dtype)


def project_l2_constraint(params: Params, limit: ScalarLike) -> Params:
    """The nearest parameters whose sum of squares is at most ``limit``.

    This is the projection q = w min(1, sqrt(limit) / |w|) onto the ball of radius sqrt(limit).

    Args:
        params: the parameters w, with all leaves taken together.
        limit: upper bound of the sum of squares, in [0, inf).

    Examples:
        >>> project_l2_constraint(jnp.array([0.0, 8.0]), limit=4.0).tolist()
        [0.0, 2.0]
    """
    checks.number("project_l2_constraint", "limit", limit, "[0, inf)")
    norm = global_norm(params)
    radius = numerics.safe_sqrt(jnp.asarray(limit, norm.dtype))
    return shrink_to(params, norm, radius)


def _check_entries(owner: str, name: str, value: Any, interval: str, x: Array) -> None:
    """Raise unless ``value`` is a number in ``interval``, or has the shape of ``x``."""
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
    """The checked ``scaling * strength``, real and in float32 or wider."""
    checks.array(owner, "x", x)
    checks.number(owner, name, strength, "[0, inf)")
    _check_entries(owner, "scaling", scaling, "[0, inf)", x)
    dtype = tree.scalar_dtype(x)
    return jnp.asarray(scaling, dtype) * jnp.asarray(strength, dtype)


def _soft(x: Inexact[Array, "*shape"], threshold: Array) -> Inexact[Array, "*shape"]:
    size = jnp.abs(x)
    return jnp.where(size > threshold, jnp.sign(x) * (size - threshold).astype(x.dtype), 0)
