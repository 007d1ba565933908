"""Whether an optimizer treats every entry independently, and which leaves it treats alike.

This is found by reading the jaxpr of ``update``. Each value in it belongs to one leaf, or is a
number that all leaves share. It is identified by how it was computed, without its shape, so that
two leaves that are treated alike have equal programs. A primitive is elementwise if applying it to
arrays is the program that ``jax.vmap`` makes of applying it to numbers.

Running the optimizer on a few numbers would not suffice: ``apply_if_finite`` or a clip by a large
norm would look elementwise, because the numbers do not reach the other branch.
"""

import functools
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, Params, is_key


# What the two sets lack is refused, never accepted.
CALLS = frozenset(
    {"jit", "pjit", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
)
RESHAPES = frozenset({"broadcast_in_dim", "reshape", "squeeze"})


class NotElementwiseError(Exception):
    """The message says how entries depend on each other."""


class _Value(NamedTuple):
    """A value of the jaxpr.

    leaf: the number of the leaf that it belongs to; None for a value that all leaves share.
    program: how it is computed.
    is_uniform: whether all its entries are computed alike.
    """

    leaf: int | None
    program: Any
    is_uniform: bool = True


def leaf_programs(optimizer: GradientTransformationExtraArgs, params: Params) -> list[Any]:
    """What ``optimizer.update`` does with each leaf, as values that are equal where it does alike.

    Args:
        optimizer: the transformation. It is only traced.
        params: arrays, or their shapes and dtypes, which the gradients have too.

    Raises:
        NotElementwiseError: if an entry of an update or of the state depends on other entries.
    """
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), params)
    state = jax.eval_shape(optimizer.init, like)
    closed, shapes = jax.make_jaxpr(optimizer.update, return_shape=True)(like, state, like)
    paths = leaf_numbers(like)
    inputs = [
        *(_Value(i, "gradient") for i in range(len(paths))),
        *(_part_of_state(path, leaf, paths) for path, leaf in jax.tree.leaves_with_path(state)),
        *(_Value(i, "parameter") for i in range(len(paths))),
    ]
    outputs = _Reader(list(paths)).read(closed, inputs)
    updates, after = outputs[: len(paths)], outputs[len(paths) :]
    programs: list[list[Any]] = [[] for _ in paths]
    for i, value in enumerate(updates):
        _require(value.leaf in (None, i), "the update of one leaf is made of another leaf")
        programs[i].append(value.program)
    for (path, leaf), value in zip(jax.tree.leaves_with_path(shapes[1]), after, strict=True):
        own = _part_of_state(path, leaf, paths)
        if own.leaf is None:
            _require(value.leaf is None, f"its state keeps a value of a leaf at {own.program[1]}")
        else:
            _require(value.leaf in (None, own.leaf), "its state combines leaves")
            programs[own.leaf].append((own.program, value.program))
    return [_digest(tuple(program)) for program in programs]


def kinds_of(params: Params) -> Any:
    """What the result of :func:`leaf_programs` depends on besides the optimizer, hashable."""
    leaves, structure = jax.tree.flatten(params)
    return structure, *((jnp.shape(x), str(jnp.result_type(x))) for x in leaves)


def leaf_numbers(tree: PyTree) -> dict[str, int]:
    """The number of each leaf, by its path as :func:`owner_of` looks it up."""
    found = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): i for i, (path, _) in enumerate(found)}


def owner_of(path: Any, paths: dict[str, int]) -> tuple[int | None, Any]:
    """The leaf whose path ends ``path``, or None, and what precedes its path."""
    for start in range(len(path) + 1):
        if (i := paths.get(jax.tree_util.keystr(path[start:]))) is not None:
            return i, path[:start]
    return None, path


def _part_of_state(path: Any, leaf: Any, paths: dict[str, int]) -> _Value:
    i, before = owner_of(path, paths)
    return _Value(i, ("state", jax.tree_util.keystr(before)), i is not None or leaf.ndim == 0)


def _digest(program: Any) -> bytes:
    """``program`` in 16 bytes that are equal in every process, and so in both layouts."""
    return hashlib.blake2b(repr(program).encode(), digest_size=16).digest()


def _require(rule: bool, otherwise: str) -> None:
    if not rule:
        raise NotElementwiseError(otherwise)


class _Reader:
    """Finds the values of a jaxpr from those of its inputs."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def read(self, closed: Any, inputs: list[_Value]) -> list[_Value]:
        jaxpr = getattr(closed, "jaxpr", closed)
        known: dict[Any, _Value] = {}
        for variable, constant in zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True):
            known[variable] = _constant(constant)
        known.update(zip(jaxpr.invars, inputs, strict=True))
        look = lambda atom: _constant(atom.val) if hasattr(atom, "val") else known[atom]
        for equation in jaxpr.eqns:
            values = self.equation(equation, [look(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, values, strict=True))
        return [look(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[_Value]) -> list[_Value]:
        name, params = equation.primitive.name, equation.params
        if name == "cond":
            return self.cond(params["branches"], inputs)
        if name in CALLS:
            return self.read(params.get("jaxpr", params.get("call_jaxpr")), inputs)
        leaf = self.only_leaf(inputs, name)
        uniform = all(value.is_uniform for value in inputs)
        outputs = [out.aval for out in equation.outvars]
        if leaf is None:
            if any(map(is_key, (*outputs, *(x.aval for x in equation.invars)))):
                return [_Value(None, "random") for _ in outputs]  # independent, and so alike
            may_keep = uniform and bool(inputs)
        else:
            path = self.paths[leaf]
            _require(uniform, f"its update depends on the places of the entries of {path}")
            may_keep = True
        if name in RESHAPES and may_keep and _keeps_places(equation):
            return [inputs[0]._replace(leaf=leaf)]
        alone = may_keep and _is_elementwise(equation)
        _require(leaf is None or alone, f"its update applies {name} to {self.paths[leaf or 0]}")
        shapes = None if alone else tuple(x.aval.shape for x in equation.invars)
        own = tuple((k, repr(v)) for k, v in sorted(params.items()))
        program = (name, own, shapes, tuple(value.program for value in inputs))
        return [
            _Value(leaf, _digest((program, place)), alone or out.ndim == 0)
            for place, out in enumerate(outputs)
        ]

    def cond(self, branches: Any, inputs: list[_Value]) -> list[_Value]:
        chosen, *rest = inputs
        _require(chosen.leaf is None, "its update branches on values of a leaf")
        outcomes = [self.read(branch, list(rest)) for branch in branches]
        values = []
        for several in zip(*outcomes, strict=True):
            program = ("cond", chosen.program, tuple(value.program for value in several))
            uniform = all(value.is_uniform for value in several)
            values.append(_Value(self.only_leaf(several, "cond"), _digest(program), uniform))
        return values

    def only_leaf(self, values: Any, name: str) -> int | None:
        leaves = {value.leaf for value in values} - {None}
        _require(len(leaves) < 2, f"its update combines leaves by {name}")
        return next(iter(leaves), None)


def _constant(value: Any) -> _Value:
    if isinstance(value, jax.core.Tracer) or is_key(value):
        return _Value(None, ("traced", id(value)), jnp.ndim(value) == 0)
    array = np.asarray(value)
    return _Value(None, (str(array.dtype), array.tobytes()), array.ndim == 0 or array.size == 1)


def _keeps_places(equation: Any) -> bool:
    """Whether a change of shape only adds or removes axes of length 1, or repeats one number."""
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    long = lambda aval: [n for n in aval.shape if n != 1]
    return before.size == 1 or long(before) == long(after)


def _is_elementwise(equation: Any) -> bool:
    """Whether an entry of each output depends on that entry of the inputs, and on numbers, only."""
    ndims = {x.aval.ndim for x in equation.invars} - {0} or {0}
    if len(ndims) > 1 or {x.aval.ndim for x in equation.outvars} != ndims:
        return False
    inputs = tuple((x.aval.dtype, x.aval.ndim) for x in equation.invars)
    return _is_vectorized(equation.primitive, tuple(equation.params.items()), inputs)


@functools.cache
def _is_vectorized(primitive: Any, params: tuple[Any, ...], inputs: tuple[Any, ...]) -> bool:
    """Whether ``primitive`` on arrays is what ``jax.vmap`` makes of it on numbers."""
    whole = lambda *xs: primitive.bind(*xs, **dict(params))
    each = whole
    for _ in range(max(ndim for _, ndim in inputs)):
        each = jax.vmap(each, in_axes=[0 if ndim else None for _, ndim in inputs])
    like = [jax.ShapeDtypeStruct(range(2, 2 + ndim), dtype) for dtype, ndim in inputs]
    try:
        return str(jax.make_jaxpr(whole)(*like)) == str(jax.make_jaxpr(each)(*like))
    except Exception:  # it does not take numbers, or arrays of other shapes: each has its own error
        return False
