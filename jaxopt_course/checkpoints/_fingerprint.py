"""Fingerprints of programs and data, by which a checkpoint recognizes its training.

The fingerprint of a program is computed from its jaxpr, in two parts: the operations, and the
numbers in it. Adam with learning rates 0.001 and 0.01 is the same program with different numbers;
Adam with a schedule is another program. Names, file positions and addresses are ignored. Another
version of JAX may trace a program differently; fingerprints can then not be compared.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypedDict

import jax
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import is_key, sha256

from ._leaves import named_leaves, record_leaf


SHOWN = 64  # numbers kept as text, to describe a change; the digest covers all numbers

# Parameters without effect on the result: names, hints, layouts, and functions traced later.
SILENT = {
    *("name", "debug_info", "name_and_src_info", "metadata", "compiler_options_kvs"),
    *("ctx_mesh", "in_shardings", "out_shardings", "in_layouts", "out_layouts"),
    *("donated_invars", "keep_unused", "inline"),
    *("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "fun_jaxpr_thunk"),
}


class Fingerprint(TypedDict):
    """Fingerprint of a program, in a form that JSON can represent.

    program: sha256 of its jaxpr without the numbers in it.
    numbers: the first distinct numbers in it, in the order of the program.
    digest: sha256 of all numbers in it.
    jax: version of JAX that traced it.
    """

    program: str
    numbers: list[str]
    digest: str
    jax: str


def fingerprint(function: Callable[..., Any], *args: PyTree) -> Fingerprint:
    """The fingerprint of ``function``, which is traced with ``args`` but not run.

    Args:
        function: a pure function.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``.

    Examples:
        >>> slow, fast = (fingerprint(lambda x: rate * x, 1.0) for rate in (0.001, 0.01))
        >>> slow["program"] == fast["program"], slow["numbers"], fast["numbers"]
        (True, ['0.001'], ['0.01'])
    """
    numbers: list[np.ndarray] = []
    words = list(_words_of_jaxpr(jax.make_jaxpr(function)(*args), numbers))
    shown = dict.fromkeys(_in_words(number) for number in numbers)
    return Fingerprint(
        program=sha256(*(f"{word}\n" for word in words)),
        numbers=[*shown][:SHOWN],
        digest=sha256(*(part for x in numbers for part in (f"{x.dtype}{x.shape}", x.tobytes()))),
        jax=jax.__version__,
    )


def data_fingerprint(arrays: PyTree) -> str:
    """The sha256 of the dtypes, shapes and bytes of all ``arrays``."""
    leaves = named_leaves("data_fingerprint", arrays).items()
    records = (record_leaf(path, leaf)[0] for path, leaf in leaves)
    return sha256(*(f"{record.dtype}{record.shape}{record.sha256}" for record in records))


def _words_of_jaxpr(jaxpr: Any, numbers: list[np.ndarray]) -> Iterator[str]:
    """The operations of a jaxpr as words; the numbers in it are appended to ``numbers``."""
    numbers += map(_as_array, getattr(jaxpr, "consts", ()))
    inner = getattr(jaxpr, "jaxpr", jaxpr)  # closed jaxprs contain one
    variables: dict[Any, int] = {}

    def named(atom: Any) -> str:
        if hasattr(atom, "val"):
            numbers.append(_as_array(atom.val))
            return f"number:{atom.aval}"
        return f"{variables.setdefault(atom, len(variables))}:{atom.aval}"

    yield f"jaxpr {' '.join(map(named, [*inner.constvars, *inner.invars]))}"
    for equation in inner.eqns:
        yield f"{equation.primitive.name} {' '.join(map(named, equation.invars))}"
        for name, value in sorted(equation.params.items()):
            if name not in SILENT:
                yield f"{name}="
                yield from _words(value, numbers)
        yield f"-> {' '.join(map(named, equation.outvars))}"
    yield f"out {' '.join(map(named, inner.outvars))}"


def _words(value: Any, numbers: list[np.ndarray]) -> Iterator[str]:
    """A parameter of a primitive as words."""
    words: Callable[[Any], Iterable[str]] = functools.partial(_words, numbers=numbers)
    if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
        yield from _words_of_jaxpr(value, numbers)
    elif isinstance(value, Mapping):
        yield from words(sorted(value.items()))
    elif isinstance(value, set | frozenset):
        yield from sorted(word for item in value for word in words(item))
    elif isinstance(value, list | tuple):
        yield "("
        for item in value:
            yield from words(item)
        yield ")"
    elif isinstance(value, float | complex | np.generic | np.ndarray | jax.Array):
        numbers.append(_as_array(value))
        yield f"number:{numbers[-1].dtype}{numbers[-1].shape}"
    elif callable(value) and not isinstance(value, type):
        yield "function"
    else:  # an int, a string, an enum; for another object its repr without places and addresses
        yield re.sub(r"0x[0-9a-fA-F]+|\bid=\d+|[^\s\"'<>]+\.py(:\d+)*", "", repr(value))


def _as_array(value: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(value) if is_key(value) else value)


def _in_words(number: np.ndarray) -> str:
    if number.size > 4:
        checksum = sha256(number.tobytes())[:8]
        return f"{number.dtype}{number.shape} with checksum {checksum}"
    entries = " ".join(str(entry) for entry in number.reshape(-1))
    return entries if number.ndim == 0 else f"[{entries}]"
