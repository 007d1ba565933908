"""ISTA: proximal gradient descent on a smooth loss f plus a penalty R.

    w <- prox(w - a_t grad f(w)),   prox(x) = argmin over y of |y - x|^2 / 2 + a_t R(y)

For the L1 penalty s sum |w| it is the soft threshold a_t s after each gradient step: the
threshold has the learning rate in it. f + R falls in every step if a_t <= 1 / L, with L the
largest curvature of f, and nears its minimum like 1/t.

Reference: Daubechies, Defrise & De Mol, "An iterative thresholding algorithm for linear inverse
problems with a sparsity constraint", 2004, https://arxiv.org/abs/math/0307152.
"""

from collections.abc import Callable

from jaxtyping import Array, PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, Params, ScalarOrSchedule
from jaxopt_course.regularizers import weights_only
from jaxopt_course.transforms import chain, proximal

from ._sgd import sgd


def ista(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    mask: PyTree | Callable[[Params], PyTree] | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Gradient descent, and behind it the proximal operator of a penalty.

    Args:
        operator: ``operator(x, scaling=a)`` of one array, as for ``proximal``: such as
            ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        mask: which leaves are penalized: a tree of bools shaped like (a prefix of) the params,
            or a function of the params that returns one; None for all. By default biases and
            the parameters of normalizations are left out.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if the rate is negative or NaN.

    Examples:
        >>> import functools, jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import prox_l1
        >>> params, tx = jnp.array([3.0, 2.0]), ista(functools.partial(prox_l1, strength=1.0), 0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     grads = params - jnp.array([2.0, 0.5])  # of half the squared distance to a point
        ...     updates, state = update(grads, state, params)
        ...     params = params + updates
        >>> params.round(4).tolist()
        [1.0, 0.0]
    """
    return chain(sgd(learning_rate), proximal(operator, learning_rate, mask))
