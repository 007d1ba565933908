"""Which parameters a penalty concerns, and how strongly, by their paths in the tree.

A mask is a tree of bools shaped like (a prefix of) the parameters, or a function of them that
returns one: the ``mask`` of ``masked`` and ``add_decayed_weights``. ``weights_only`` is the usual
one. ``by_path`` makes masks, labels for ``partition``, and strengths for ``penalty``, alike.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import Params, checks, tree


# As Flax, Haiku, Keras and torch call them; "value" may follow, in the states of NNX.
BIASES_AND_NORMS = re.compile(r"(^|/)(bias|b|scale|offset|gamma|beta)(/|$)|norm", re.IGNORECASE)


def weights_only(params: Params) -> PyTree[bool]:
    """A mask that leaves out biases and the parameters of normalizations, by their names.

    Left out is what is called bias, b, scale, offset, gamma or beta, and what lies below a name
    that contains "norm", in any case. Everything else is a weight. For other names use
    :func:`by_path`.

    Args:
        params: the parameters; a bare array is a weight.

    Returns:
        True at weights; a tree of Python bools shaped like ``params``.

    Examples:
        >>> layers = {"Dense_0": {"kernel": 1.0, "bias": 0.0}, "LayerNorm_0": {"scale": 1.0}}
        >>> weights_only(layers)
        {'Dense_0': {'bias': False, 'kernel': True}, 'LayerNorm_0': {'scale': False}}
    """
    return jax.tree.map_with_path(lambda path, _: not BIASES_AND_NORMS.search(_name(path)), params)


def by_path(rules: Mapping[str, Any], otherwise: Any) -> Callable[[Params], PyTree]:
    """A function that gives each parameter a value by its path: a mask, a label, a strength.

    Args:
        rules: regular expression -> value. A parameter gets the value of the first rule that is
            found in its path, such as ``"Dense_0/kernel"`` or ``"layers/0/weight"``.
        otherwise: the value of the parameters that no rule is found in.

    Returns:
        A function of the params, to be given as a ``mask``, as ``param_labels`` or as ``where``.
        It raises a ValueError if a rule is found in no path, for it may be misspelt.

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
    """The sum of ``fn(w)`` over the parameters w that ``where`` selects, each times its strength.

    Args:
        params: the parameters.
        fn: a penalty of one array, such as :func:`l1_penalty`: array -> number.
        where: which parameters, and how strongly: a tree of bools and numbers in [0, inf)
            shaped like (a prefix of) the params, or a function of them that returns one. False
            leaves a parameter out, True counts it once. By default biases and the parameters of
            normalizations are left out.

    Returns:
        The number to add to the loss, in float32 or wider.

    Raises:
        ValueError: if a strength is negative or ``fn`` gives no single number.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import l1_penalty, l2_penalty
        >>> layer = {"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([100.0])}
        >>> float(penalty(layer, l1_penalty))
        7.0
        >>> float(penalty(layer, lambda w: l2_penalty(w, 0.1), {"kernel": 10.0, "bias": False}))
        12.5
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
                    f"penalty: `fn` must give one number, got an array of shape {value.shape}."
                )
            terms.append(jnp.asarray(factor, dtype) * value)

    jax.tree.map(add, strengths, params)
    return sum(terms, start=jnp.zeros((), dtype))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
