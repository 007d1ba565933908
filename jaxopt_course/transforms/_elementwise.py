"""Whether an optimizer treats every entry alone, and which leaves it treats alike.

The jaxpr of its ``update`` is walked. Each value in it belongs to one leaf, or to none: a number
that all share. It is known by how it was made, shapes left out, so that two leaves which are
treated alike have the same program.
"""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, Params


# One entry of the output from the same entry of each input.
# fmt: off
ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bitcast_convert_type", "cbrt", "ceil", "clamp", "complex", "conj", "convert_element_type",
    "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "lgamma",
    "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not",
    "optimization_barrier", "or", "population_count", "pow", "real", "reduce_precision", "rem",
    "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor",
})
# fmt: on
RANDOM = frozenset({"random_bits", "random_unwrap", "threefry2x32"})
SHAPES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims"})
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
SILENT = frozenset({"sharding", "out_sharding", "shape", "broadcast_dimensions", "dimensions"})


class NotElementwiseError(Exception):
    """The message says what keeps the entries from being alone."""


class _Value(NamedTuple):
    """``leaf``: whose it is, None for nobody's. ``made``: how. ``uniform``: the same everywhere."""

    leaf: int | None
    made: Any
    uniform: bool = True


def leaf_programs(optimizer: GradientTransformationExtraArgs, params: Params) -> list[Any]:
    """What ``optimizer.update`` does with each leaf, as values equal where it does alike.

    Args:
        optimizer: the transformation; nothing of it is computed.
        params: arrays, or what has their shapes and dtypes; the gradients have them too.

    Raises:
        NotElementwiseError: if an entry of an update or of the state hangs on other entries.
    """
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), params)
    state = jax.eval_shape(optimizer.init, like)
    closed, shapes = jax.make_jaxpr(optimizer.update, return_shape=True)(like, state, like)
    paths = leaf_numbers(like)
    inputs = [
        *(_Value(i, "gradient") for i in range(len(paths))),
        *(_owned(path, leaf, paths) for path, leaf in jax.tree.leaves_with_path(state)),
        *(_Value(i, "parameter") for i in range(len(paths))),
    ]
    walk = _Walk(list(paths))
    outputs = walk.run(closed, inputs)
    updates, after = outputs[: len(paths)], outputs[len(paths) :]
    programs: list[list[Any]] = [[] for _ in paths]
    for i, value in enumerate(updates):
        _require(value.leaf in (None, i), "what it returns for one leaf is made of another")
        programs[i].append(value.made)
    for (path, leaf), value in zip(jax.tree.leaves_with_path(shapes[1]), after, strict=True):
        own = _owned(path, leaf, paths)
        if own.leaf is None:
            _require(value.leaf is None, f"its state keeps a number of a leaf at {own.made[1]}")
        else:
            _require(value.leaf in (None, own.leaf), "its state mixes the leaves")
            programs[own.leaf].append((own.made, value.made))
    return [_digest(tuple(program)) for program in programs]


def kinds_of(params: Params) -> Any:
    """What :func:`leaf_programs` hangs on besides the optimizer, to keep what was found under."""
    leaves, structure = jax.tree.flatten(params)
    return structure, *((jnp.shape(x), str(jnp.result_type(x))) for x in leaves)


def leaf_numbers(tree: PyTree) -> dict[str, int]:
    """The path of each leaf, as :func:`owner_of` wants it, -> its number."""
    found = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): i for i, (path, _) in enumerate(found)}


def owner_of(path: Any, paths: dict[str, int]) -> tuple[int | None, Any]:
    """The leaf whose path ends ``path``, None if there is no such, and what comes before."""
    for start in range(len(path) + 1):
        if (i := paths.get(jax.tree_util.keystr(path[start:]))) is not None:
            return i, path[:start]
    return None, path


def _owned(path: Any, leaf: Any, paths: dict[str, int]) -> _Value:
    """A part of the state: of a leaf, or of all."""
    i, before = owner_of(path, paths)
    return _Value(i, ("state", jax.tree_util.keystr(before)), i is not None or leaf.ndim == 0)


def _digest(made: Any) -> bytes:
    """``made`` in a few bytes, the same in each walk, so that their programs can be compared."""
    return hashlib.blake2b(repr(made).encode(), digest_size=16).digest()


def _require(rule: bool, otherwise: str) -> None:
    if not rule:
        raise NotElementwiseError(otherwise)


class _Walk:
    """The values of a jaxpr, from its inputs to its outputs."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def run(self, closed: Any, inputs: list[_Value]) -> list[_Value]:
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
        inner = next((params[key] for key in CALLS if key in params), None)
        if inner is not None and name not in ("scan", "while", "pallas_call"):
            return self.run(inner, inputs)
        leaves = {value.leaf for value in inputs} - {None}
        _require(len(leaves) < 2, f"its update mixes leaves by {name}")
        leaf = next(iter(leaves), None)
        if name in RANDOM and leaf is None:
            return [_Value(None, "random") for _ in equation.outvars]
        alone = name in ELEMENTWISE or (name in SHAPES and _keeps_places(equation))
        uniform = all(value.uniform for value in inputs)
        if leaf is None:
            scalar = all(out.aval.ndim == 0 for out in equation.outvars)
            uniform = scalar or (uniform and bool(inputs) and alone)
        else:
            _require(alone, f"its update applies {name} to what belongs to {self.paths[leaf]}")
            _require(uniform, f"its update tells the places of {self.paths[leaf]} apart")
        if name in SHAPES and alone:
            return [_Value(leaf, inputs[0].made, uniform)]
        said = tuple(sorted((k, repr(v)) for k, v in params.items() if k not in SILENT))
        made = (name, said, tuple(value.made for value in inputs))
        return [
            _Value(leaf, _digest((made, place)), uniform) for place in range(len(equation.outvars))
        ]

    def cond(self, branches: Any, inputs: list[_Value]) -> list[_Value]:
        chosen, *rest = inputs
        _require(chosen.leaf is None, "its update branches on what belongs to a leaf")
        outcomes = [self.run(branch, list(rest)) for branch in branches]
        values = []
        for several in zip(*outcomes, strict=True):
            leaves = {value.leaf for value in several} - {None}
            _require(len(leaves) < 2, "its update mixes leaves by cond")
            made = ("cond", chosen.made, tuple(value.made for value in several))
            uniform = all(value.uniform for value in several)
            values.append(_Value(next(iter(leaves), None), _digest(made), uniform))
        return values


def _constant(value: Any) -> _Value:
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(
        getattr(value, "dtype", float), jax.dtypes.prng_key
    ):
        return _Value(None, ("traced", id(value)), jnp.ndim(value) == 0)
    array = np.asarray(value)
    return _Value(None, (str(array.dtype), array.tobytes()), array.ndim == 0 or array.size == 1)


def _keeps_places(equation: Any) -> bool:
    """Whether a change of shape leaves entries where they are: all alike, or lengths of 1."""
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    long = lambda aval: [n for n in aval.shape if n != 1]
    return before.size == 1 or long(before) == long(after)
