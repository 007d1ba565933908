"""Gradient centralization: each row of a gradient loses its mean.

Reference: Yong et al., "Gradient Centralization: A New Optimization Technique for Deep Neural
Networks", 2020, https://arxiv.org/abs/2004.01461, equation 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from jaxopt_course.core import GradientTransformationExtraArgs, numerics

from ._stateless import of_floats


def centralize() -> GradientTransformationExtraArgs:
    """Subtract from each slice ``u[i]`` of an update with two axes or more its mean.

    The mean runs over all axes but the first, as for kernels stored output-first; scalars and
    vectors stay as they are.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = centralize()
        >>> tx.update(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), tx.init(None))[0].tolist()
        [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """

    def centred(u: Inexact[Array, "*shape"]) -> Array:
        if u.ndim < 2 or not u.size:
            return u
        wide = u.astype(numerics.wide_dtype(u.dtype))
        mean = jnp.mean(wide, axis=tuple(range(1, u.ndim)), keepdims=True)
        return (wide - mean).astype(u.dtype)

    return of_floats(lambda updates, params: jax.tree.map(centred, updates))
