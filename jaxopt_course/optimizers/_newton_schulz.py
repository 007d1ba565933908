"""The Newton-Schulz iteration, which brings the singular values of a matrix near 1.

A step is X <- c0 X + c1 (X X') X + c2 (X X')^2 X. It maps every singular value s to
c0 s + c1 s^3 + c2 s^5 and keeps the singular vectors. The standard coefficients are steep at 0:
five steps bring every s in [0.005, 1] into [0.68, 1.16], but they do not converge to 1.

References: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
``newtonschulz5``, https://kellerjordan.github.io/posts/muon; Ahn et al., "Dion", 2025,
https://arxiv.org/abs/2504.05295, for coefficients of each step; Amsel et al., "The Polar Express:
Optimal Matrix Sign Methods and Their Application to the Muon Algorithm", 2025, algorithm 1,
https://arxiv.org/abs/2505.16932, for ``"polar_express"``; Boissin et al., "Turbo-Muon",
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

# Step t of Polar Express is the odd quintic that is nearest to 1 on [l_t, u_t], which contains the
# singular values that the steps before leave of [l_0, u_0] = [0.001, 1]: with the largest error E,
# the next interval is [1 - E, 1 + E]. Where l_t / u_t is below 0.0240732..., a cushion, it is
# the quintic for the cushion instead, scaled so that its smallest and largest values on
# [l_t, u_t] add to 2. These are the authors' numbers; a test computes them by Remez' algorithm.
OPTIMAL_QUINTICS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453399487, 0.3750001645474248),
)
SAFETY = 1.01  # divides singular values, so that rounding cannot lift one above u_t
POLAR_EXPRESS = (
    *((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in OPTIMAL_QUINTICS),
    (1.875, -1.25, 0.375),  # of all further steps: the limit, which converges to 1
)
PRESETS: dict[str, Any] = {
    "standard": STANDARD,
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": POLAR_EXPRESS,
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


def polar_factor(
    matrix: Inexact[Array, "*batch rows columns"], method: str = "svd"
) -> Inexact[Array, "*batch rows columns"]:
    """The polar factor U V' of a matrix U S V'.

    It is the nearest matrix whose singular values are 1, which the Newton-Schulz iteration
    approximates.

    Args:
        matrix: one matrix, or a batch of them.
        method: ``"svd"``, a singular value decomposition, which keeps directions at 0 in which the
            matrix is 0 up to rounding; or ``"qdwh"``, the Halley iteration with dynamic weights,
            which consists of QR decompositions and gives these directions the singular value 1.

    References:
        Nakatsukasa, Bai & Gygi, "Optimizing Halley's Iteration for Computing the Matrix Polar
        Decomposition", 2010, https://doi.org/10.1137/090774999, for ``"qdwh"``.

    Examples:
        >>> polar_factor(jnp.array([[0.0, 3.0], [-2.0, 0.0]])).round(5).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    checks.choice("polar_factor", "method", method, ("svd", "qdwh"))
    if method == "qdwh":
        is_wide = matrix.shape[-2] < matrix.shape[-1]
        tall = matrix.mT if is_wide else matrix
        one = lambda x: jax.scipy.linalg.polar(x, method="qdwh")[0]
        factor: Array = jnp.vectorize(one, signature="(m,n)->(m,n)")(tall)
        return factor.mT if is_wide else factor
    u, s, v = jnp.linalg.svd(matrix, full_matrices=False)
    noise = max(matrix.shape[-2:]) * jnp.finfo(s.dtype).eps * jnp.max(s, -1, keepdims=True)
    kept = jnp.expand_dims(s > noise, -2).astype(u.dtype)
    return (u * kept) @ v


def iterated(x: Array, rows: Array) -> Array:
    """One step for each row of coefficients.

    Two steps at a time are cheaper if x (m, n) is wide: they take 2 m^2 n + 5 m^3 multiplications
    instead of 4 m^2 n + 2 m^3.
    """
    m, n = x.shape[-2:]
    pairs = len(rows) // 2 if 2 * n > 3 * m else 0
    x, _ = jax.lax.scan(_two_quintic_steps, x, rows[: 2 * pairs].reshape(-1, 2, 3), unroll=True)
    return jax.lax.scan(_quintic_step, x, rows[2 * pairs :], unroll=True)[0]


def iterated_narrow(x: Array, rows: Array) -> Array:
    """One step for each row of coefficients, with products of bfloat16 numbers."""
    return jax.lax.scan(_quintic_step, x.astype(jnp.bfloat16), rows, unroll=True)[0].astype(x.dtype)


def _quintic_step(x: Array, row: Array) -> tuple[Array, None]:
    """One step; a module-level function, because a local one would be compiled again in every call.

    The first term is added to the small matrix, so it costs no pass over the large one.
    """
    return _polynomial(_gram(x, row.dtype), row, x.dtype).astype(x.dtype) @ x, None


def _two_quintic_steps(x: Array, rows: Array) -> tuple[Array, None]:
    """Two steps with one pass over x and one back, by its Gram matrix G (Gram Newton-Schulz).

    With Z1 = p1(G), the Gram matrix of Z1 x is Z1 G Z1, so x becomes p2(Z1 G Z1) Z1 x. More steps
    from one Gram matrix lose digits: of singular values below the root of the rounding error it
    knows nothing, and the steps amplify what it has there instead. For a matrix (64, 256) with
    singular values down to 1e-5, 8 steps of Polar Express in float32 have the relative error 4e-2
    from one Gram matrix, 4e-5 by two steps at a time, and 6e-5 by single ones.

    Reference: "Gram Newton-Schulz", 2026, https://dao-lab.ai/blog/2026/gram-newton-schulz, whose
    restarts these are.
    """
    gram = _gram(x)
    first = _polynomial(gram, rows[0], x.dtype)
    return _polynomial(first @ gram @ first, rows[1], x.dtype) @ first @ x, None


def _polynomial(gram: Array, row: Array, dtype: DTypeLike) -> Array:
    """c0 + c1 G + c2 G^2, whose product is of numbers in ``dtype``."""
    low = gram.astype(dtype)
    square = jnp.matmul(low, low, preferred_element_type=row.dtype)
    one = jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=row.dtype), gram.shape)
    return row[0] * one + row[1] * gram + row[2] * square


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


def coefficients_of(owner: str, ns_coeffs: Coefficients | str, steps: int) -> Any:
    """The coefficients, or those of the preset with this name for this number of steps."""
    if not isinstance(ns_coeffs, str):
        return ns_coeffs
    checks.choice(owner, "ns_coeffs", ns_coeffs, PRESETS)
    if ns_coeffs != "polar_express":
        return PRESETS[ns_coeffs]
    checks.integer(owner, "ns_steps", steps, "[1, inf)")
    return (POLAR_EXPRESS + POLAR_EXPRESS[-1:] * steps)[:steps]
