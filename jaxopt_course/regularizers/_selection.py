"""Selection of parameters by their paths in the tree, and the penalty of the selected ones.

A mask is a tree of bools shaped like (a prefix of) the parameters, or a function of them that
returns one: the ``mask`` of ``masked`` and ``add_decayed_weights``. ``weights_only`` is the usual
mask. ``by_path`` makes masks, labels for ``partition``, and strengths for ``penalty``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import Params, checks, tree


# The names of Flax, Haiku, Keras and torch. In the states of NNX "value" may follow.
BIASES_AND_NORMS = re.compile(r"(^|/)(bias|b|scale|offset|gamma|beta)(/|$)|norm", re.IGNORECASE)


def weights_only(params: Params) -> PyTree[bool]:
    """A mask that excludes biases and the parameters of normalizations, by their names.

    It excludes parameters called bias, b, scale, offset, gamma or beta, and those below a name that
    contains "norm", in upper or lower case. All others, and a bare array, are weights. For other
    names use :func:`by_path`.

    Examples:
        >>> weights_only({"Dense_0": {"kernel": 1.0, "bias": 0.0}, "LayerNorm_0": {"scale": 1.0}})
        {'Dense_0': {'bias': False, 'kernel': True}, 'LayerNorm_0': {'scale': False}}
    """
    return jax.tree.map_with_path(lambda path, _: not BIASES_AND_NORMS.search(_name(path)), params)


def by_path(rules: Mapping[str, Any], otherwise: Any) -> Callable[[Params], PyTree]:
    """A function that gives each parameter a value by its path: a mask, a label or a strength.

    Args:
        rules: map from regular expression to value. A parameter gets the value of the first
            expression that is found in its path, such as ``"Dense_0/kernel"``.
        otherwise: value of the parameters that match no rule.

    Returns:
        A function of the parameters, for use as ``mask``, ``param_labels`` or ``where``. It raises
        a ValueError if a rule matches no path, since the rule may be misspelt.

    Examples:
        >>> layers = {"Dense_0": {"kernel": 1.0, "bias": 0.0}, "Dense_1": {"kernel": 1.0}}
        >>> by_path({"bias": False, "Dense_0": 0.1}, otherwise=0.01)(layers)
        {'Dense_0': {'bias': False, 'kernel': 0.1}, 'Dense_1': {'kernel': 0.01}}
    """
    compiled = {pattern: re.compile(pattern) for pattern in rules}

    def values(params: Params) -> PyTree:
        names = [_name(path) for path, _ in jax.tree.leaves_with_path(params)]
        for pattern, rule in compiled.items():
            if names and not any(rule.search(name) for name in names):
                raise ValueError(
                    f"by_path: each of `rules` must be found in a parameter's path, "
                    f"got {pattern!r} for {', '.join(names[:10])}."
                )
        found = lambda name: (rules[p] for p, rule in compiled.items() if rule.search(name))
        return jax.tree.map_with_path(lambda path, _: next(found(_name(path)), otherwise), params)

    return values


def penalty(
    params: Params,
    fn: Callable[[Array], Any],
    where: PyTree | Callable[[Params], PyTree] = weights_only,
) -> Float[Array, ""]:
    """The sum of ``fn(w)`` over the parameters w that ``where`` selects, times their strengths.

    Args:
        params: the parameters.
        fn: a penalty of one array, such as :func:`l1_penalty`, that returns a scalar.
        where: selection and strengths: a tree of bools and numbers in [0, inf) shaped like (a
            prefix of) the params, or a function of them that returns one. False excludes a
            parameter, and True means a strength of 1.

    Returns:
        The number to add to the loss, in float32 or wider.

    Examples:
        >>> layer = {"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([100.0])}
        >>> float(penalty(layer, lambda w: abs(w).sum()))
        7.0
    """
    strengths = tree.for_tree(where, params)
    dtype = tree.scalar_dtype(params)
    terms: list[Array] = []

    def add(strength: Any, part: PyTree) -> None:
        is_bool = isinstance(strength, bool | np.bool)
        if is_bool and not strength:
            return
        factor = 1.0 if is_bool else strength
        checks.number("penalty", "where", factor, "[0, inf)")
        for leaf in jax.tree.leaves(part):
            value = jnp.asarray(fn(leaf), dtype)
            if value.shape != ():
                raise ValueError(
                    f"penalty: `fn` must return a scalar, got an array of shape {value.shape}."
                )
            terms.append(jnp.asarray(factor, dtype) * value)

    jax.tree.map(add, strengths, params)
    return sum(terms, start=jnp.zeros((), dtype))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
