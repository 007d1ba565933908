"""The Newton-Schulz iteration, which brings the singular values of a matrix near 1.

A step is X <- c0 X + c1 (X X') X + c2 (X X')^2 X. It maps every singular value s to
c0 s + c1 s^3 + c2 s^5 and keeps the singular vectors. The standard coefficients are steep at 0:
five steps bring every s in [0.005, 1] into [0.68, 1.16], but they do not converge to 1.

References: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
``newtonschulz5``, https://kellerjordan.github.io/posts/muon; Ahn et al., "Dion", 2025,
https://arxiv.org/abs/2504.05295, for coefficients of each step; Boissin et al., "Turbo-Muon",
2025, https://arxiv.org/abs/2512.04632, for ``"aol"``; Grishina et al., "Accelerating Newton-Schulz
Iteration for Orthogonalization via Chebyshev-type Polynomials", 2025,
https://arxiv.org/abs/2506.10935, for ``"schatten"``.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, ScalarLike

from jaxopt_course.core import checks, l2_norm, numerics, tree


PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")
STANDARD = (3.4445, -4.7750, 2.0315)
PRESETS = {
    "standard": STANDARD,
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}

Coefficients: TypeAlias = Sequence[ScalarLike] | Sequence[Sequence[ScalarLike]] | Array


def orthogonalized(
    matrix: Inexact[Array, "*batch rows columns"],
    coefficients: Float[Array, "3"] | Float[Array, "steps 3"],
    steps: int = 5,
    preconditioning: str = "frobenius",
    eps: ScalarLike = 1e-8,
) -> Inexact[Array, "*batch rows columns"]:
    """Bring all singular values of a matrix near 1 by the Newton-Schulz iteration.

    On GPUs and TPUs float32 matrices are multiplied in bfloat16 and summed in float32, which
    changes the singular values by about 1 %, less than they scatter anyway. If
    ``jax.default_matmul_precision`` is set, it is used instead. On CPUs, and in other dtypes, the
    dtype of ``matrix`` is used throughout.

    Args:
        matrix: one matrix, or a batch of them.
        coefficients: c0, c1, c2, for all steps or for each.
        steps: number of steps, in [1, inf), unless ``coefficients`` has a row for each.
        preconditioning: how the singular values are first brought into [0, 1]: division by the
            ``"frobenius"``, ``"spectral"`` (exact and slow) or ``"schatten"`` norm (the 4-norm), or
            of every row by its ``"aol"`` sum. A zero matrix stays 0.
        eps: added to the norm, in [0, inf).

    Examples:
        >>> cubic = jnp.array([1.5, -0.5, 0.0])  # slower, but it converges to 1
        >>> q = orthogonalized(jnp.array([[3.0, 1.0], [1.0, 2.0]]), cubic, 20)
        >>> bool(jnp.allclose(q.T @ q, jnp.eye(2), atol=1e-5))
        True
    """
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if is_tall else matrix  # f(X') = f(X)', and the smaller Gram matrix is cheaper
    norm = _norm(x, preconditioning, eps)
    x = tree.divide(x, jnp.where(norm > 0, norm, 1)).astype(x.dtype)
    rows = coefficients.astype(x.dtype)
    if rows.ndim == 1:
        rows = jnp.broadcast_to(rows, (steps, 3))
    config: Any = jax.config
    if x.dtype == jnp.float32 and config.jax_default_matmul_precision is None:
        devices = dict.fromkeys(("cuda", "rocm", "tpu"), iterated_narrow)
        x = jax.lax.platform_dependent(x, rows, default=iterated, **devices)
    else:
        x = iterated(x, rows)
    return x.mT if is_tall else x


def iterated(x: Array, rows: Array) -> Array:
    """One step for each row of coefficients."""
    return jax.lax.scan(_quintic_step, x, rows, unroll=True)[0]


def iterated_narrow(x: Array, rows: Array) -> Array:
    """The same with products of bfloat16 numbers."""
    return iterated(x.astype(jnp.bfloat16), rows).astype(x.dtype)


def _quintic_step(x: Array, row: Array) -> tuple[Array, None]:
    """One step; a module-level function, because a local one would be compiled again in every call.

    The first term is added to the small matrix, so it costs no pass over the large one.
    """
    gram = _gram(x, row.dtype)
    low = gram.astype(x.dtype)
    square = jnp.matmul(low, low, preferred_element_type=row.dtype)
    one = jnp.broadcast_to(jnp.eye(x.shape[-2], dtype=row.dtype), gram.shape)
    return (row[0] * one + row[1] * gram + row[2] * square).astype(x.dtype) @ x, None


def _norm(x: Array, preconditioning: str, eps: ScalarLike) -> Array:
    """The norm of each matrix, or of each row, with axes of size 1 for those summed over.

    Products are those of a matrix over its Frobenius norm, because those of large entries overflow.
    """
    real = jnp.finfo(x.dtype).dtype
    eps = jnp.asarray(eps, real)
    if preconditioning == "spectral":
        return jnp.linalg.svd(x, compute_uv=False)[..., :1, None] + eps
    size = l2_norm(x, (-2, -1), keepdims=True)
    if preconditioning == "frobenius":
        return size + eps
    gram = _gram(tree.divide(x, jnp.where(size > 0, size, 1)).astype(x.dtype))
    if preconditioning == "aol":
        squares = jnp.sum(jnp.abs(gram), -1, keepdims=True)
    else:
        squares = l2_norm(gram, (-2, -1), keepdims=True)
    return jnp.maximum(size * numerics.safe_sqrt(squares), numerics.safe_sqrt(eps))


def _gram(x: Array, dtype: DTypeLike | None = None) -> Array:
    return jnp.matmul(x, x.conj().mT, preferred_element_type=dtype)


def check_coefficients(owner: str, coefficients: Coefficients, steps: int) -> None:
    """Raise unless there are three numbers, or three for each of at most ``steps`` steps."""
    rows = rows_of(coefficients)
    each = rows if rows and all(isinstance(row, tuple) for row in rows) else (rows,)
    if any(len(row) != 3 or any(isinstance(c, tuple) for c in row) for row in each):
        raise ValueError(
            f"{owner}: `ns_coeffs` must be three numbers, or three numbers for each step, "
            f"got {coefficients!r}."
        )
    for c in (c for row in each for c in row):
        checks.number(owner, "ns_coeffs", c)
    if len(each) > max(steps, 1):
        raise ValueError(
            f"{owner}: `ns_coeffs` has {len(each)} rows, one for each step, "
            f"but `ns_steps` is {steps}."
        )


def rows_of(coefficients: Coefficients) -> tuple[Any, ...]:
    """Three numbers, or a tuple of three for each step, from sequences or arrays."""
    rows: Any = coefficients
    is_row = lambda value: isinstance(value, Sequence) or np.ndim(value)
    return tuple(tuple(row) if is_row(row) else row for row in rows)


def coefficients_of(owner: str, ns_coeffs: Coefficients | str) -> Any:
    """The coefficients, or those of the preset with this name."""
    if not isinstance(ns_coeffs, str):
        return ns_coeffs
    checks.choice(owner, "ns_coeffs", ns_coeffs, PRESETS)
    return PRESETS[ns_coeffs]
