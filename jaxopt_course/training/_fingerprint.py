"""Whether a training goes on with the program and the data that it began with.

A program is told by its jaxpr, in two parts: what it does, and the numbers in it. Adam with rates
0.001 and 0.01 is one program with other numbers; Adam with a schedule is another program. Names,
places in files and addresses count for nothing. Another version of JAX may trace otherwise: then
nothing can be told.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxopt_course.core import Params, checks, tree
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.transforms import unpacked_state

from ._checkpoint_errors import CheckpointMismatchError
from ._leaves import named_leaves, record_leaf


NAMES = {"optimizer": "optimizer", "model": "model", "data": "data set"}
SHOWN = 64  # numbers kept in words, so that a change can be told; the digest is of all

# Of no effect on what is computed: names, hints, layouts, and functions that are traced later.
SILENT = {
    *("name", "debug_info", "name_and_src_info", "metadata", "compiler_options_kvs"),
    *("ctx_mesh", "in_shardings", "out_shardings", "in_layouts", "out_layouts"),
    *("donated_invars", "keep_unused", "inline"),
    *("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "fun_jaxpr_thunk"),
}


class Fingerprint(TypedDict):
    """What a program is, in a form that JSON can write.

    program: the sha256 of its jaxpr without numbers.
    numbers: the first of the distinct numbers in it, in the order of the program.
    digest: the sha256 of all numbers in it.
    jax: the version that traced it.
    """

    program: str
    numbers: list[str]
    digest: str
    jax: str


def fingerprint(function: Callable[..., Any], *args: PyTree) -> Fingerprint:
    """What ``function`` does with arguments such as ``args``, which it is traced with, not run.

    Args:
        function: a pure function.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``.

    Examples:
        >>> slow, fast = (fingerprint(lambda x: rate * x, 1.0) for rate in (0.001, 0.01))
        >>> slow["program"] == fast["program"], slow["numbers"], fast["numbers"]
        (True, ['0.001'], ['0.01'])
    """
    numbers: list[np.ndarray] = []
    program = hashlib.sha256()
    for word in _words_of_jaxpr(jax.make_jaxpr(function)(*args), numbers):
        program.update(word.encode() + b"\n")
    values = hashlib.sha256()
    for number in numbers:
        values.update(f"{number.dtype}{number.shape}".encode() + number.tobytes())
    shown = dict.fromkeys(_in_words(number) for number in numbers)
    return Fingerprint(
        program=program.hexdigest(),
        numbers=[*shown][:SHOWN],
        digest=values.hexdigest(),
        jax=jax.__version__,
    )


def optimizer_fingerprint(
    optimizer: optax.GradientTransformation, params_like: Params
) -> Fingerprint:
    """The fingerprint of the optimizer's ``update`` for such parameters, none of them packed.

    Args:
        optimizer: any gradient transformation. It is offered what a training offers it:
            ``value``, ``grad``, ``value_fn`` and ``weight``.
        params_like: the parameters, or their shapes and dtypes.
    """
    extended = checks.transformation("optimizer_fingerprint", "optimizer", optimizer)

    def update(params, grads, value, state):
        value_fn = lambda params: tree.sum(tree.squared(params))  # a stand-in for the loss
        extra = {"value": value, "grad": grads, "value_fn": value_fn, "weight": 1.0}
        return extended.update(grads, state, params, **extra)

    # Shapes and dtypes alone: where arrays lie is no part of a program.
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params_like)
    value = jax.ShapeDtypeStruct((), tree.scalar_dtype(like))
    state = jax.eval_shape(lambda params: unpacked_state(optimizer.init(params)), like)
    return fingerprint(update, like, like, value, state)


def task_fingerprint(task: Task, batch_like: Batch) -> Fingerprint:
    """The fingerprint of the task's loss, in training and in evaluation.

    Args:
        task: what is trained.
        batch_like: a batch, of which shapes without the rows' number, and dtypes, matter.
    """

    def losses(params: Params, model_state: PyTree, batch: Batch, key: Any) -> Any:
        return [
            losses_of(task, params, model_state, batch, key=key, train=train)
            for train in (True, False)
        ]

    key = jax.eval_shape(lambda: jax.random.key(0))
    rows = lambda x: jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    batch = jax.tree.map(rows, batch_like._replace(weights=None))
    return fingerprint(losses, *jax.eval_shape(task.init, key), batch, key)


def data_fingerprint(arrays: PyTree) -> str:
    """The sha256 of dtype, shape and bytes of all ``arrays``."""
    digest = hashlib.sha256()
    for path, leaf in named_leaves("data_fingerprint", arrays).items():
        record, _ = record_leaf(path, leaf)
        digest.update(f"{record.dtype}{record.shape}{record.sha256}".encode())
    return digest.hexdigest()


def compare(
    saved: Mapping[str, Any], now: Mapping[str, Any], accept: Sequence[str] = ()
) -> list[str]:
    """What has changed between two sets of fingerprints, each under its name.

    Args:
        saved: those of the checkpoint: of ``"optimizer"``, ``"model"``, ``"data"``. What only one
            of the two has is not compared.
        now: those of this program.
        accept: the names of what may have become another program, or other data.

    Returns:
        A sentence for each change that does not forbid to go on: of numbers, or of what was
        traced by another version of JAX.

    Raises:
        CheckpointMismatchError: if a program, or the data, is another one and not accepted.
    """
    sentences = []
    for name in (name for name in NAMES if name in saved and name in now):
        was, new = saved[name], now[name]
        is_other = was != new if isinstance(new, str) else was["program"] != new["program"]
        if is_other and not isinstance(new, str) and was["jax"] != new["jax"]:
            sentences.append(
                f"whether the {name} is that of the checkpoint cannot be told, for it was traced "
                f"by jax {was['jax']} then and is by jax {new['jax']} now."
            )
        elif is_other and name not in accept:
            raise CheckpointMismatchError(
                f"fit: the checkpoint is of another {NAMES[name]}: give `accept=({name!r},)` if it "
                f"is to go on with this one, else the {NAMES[name]} that it began with."
            )
        elif not is_other and not isinstance(new, str) and was["digest"] != new["digest"]:
            sentences.append(
                f"numbers of the {name} that are constants of its program, such as 1 - dropout or "
                "minus the rate, are not those of the checkpoint, and the new ones count: "
                f"{_changes(was['numbers'], new['numbers'])}."
            )
    return sentences


def _changes(was: Sequence[str], new: Sequence[str]) -> str:
    if len(was) == len(new):
        pairs = [f"{a} became {b}" for a, b in zip(was, new, strict=True) if a != b]
    else:
        gone = [f"{a} is gone" for a in was if a not in new]
        pairs = gone + [f"{b} is new" for b in new if b not in was]
    more = f", and {len(pairs) - 10} more" if len(pairs) > 10 else ""
    return (", ".join(pairs[:10]) + more) or "some have changed places"


def _words_of_jaxpr(jaxpr: Any, numbers: list[np.ndarray]) -> Iterator[str]:
    """What a jaxpr does, line by line; the numbers in it are appended to ``numbers``."""
    numbers += map(_as_array, getattr(jaxpr, "consts", ()))
    inner = getattr(jaxpr, "jaxpr", jaxpr)  # of one type with it, or not, by the version of JAX
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
    """What a parameter of a primitive says."""
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
    else:  # an int, a string, an enum; of another object, what it shows but where it was made
        yield re.sub(r"0x[0-9a-fA-F]+|\bid=\d+|[^\s\"'<>]+\.py(:\d+)*", "", repr(value))


def _as_array(value: Any) -> np.ndarray:
    is_key = jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if is_key else value)


def _in_words(number: np.ndarray) -> str:
    if number.size > 4:
        checksum = hashlib.sha256(number.tobytes()).hexdigest()[:8]
        return f"{number.dtype}{number.shape} with checksum {checksum}"
    entries = " ".join(str(entry) for entry in number.reshape(-1))
    return entries if number.ndim == 0 else f"[{entries}]"
