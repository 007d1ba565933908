"""Many trainings as one program: over configurations, folds, bags, seeds, or any combination.

The members of a population are numbered, and each looks up its arguments in shared tables, so a
table of folds is not copied for every configuration. Besides the results, only the members of one
chunk are in memory at a time.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int, PyTree

from jaxopt_course.core import automatic, canonical_convolutions, check_mesh, checks, on_auto_axes


ARGUMENTS = ("key", "hyperparameters", "rows")


def make_population(
    train: Callable[..., Any],
    axes: Sequence[str | Sequence[str]],
    *,
    strategy: Literal["map", "chunk", "vmap"] = "map",
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
) -> Callable[..., Any]:
    """The function ``run(key, hyperparameters=None, rows=None)`` of a population of trainings.

    Along each axis one argument of ``train`` varies, or several vary together; all others stay the
    same. With axes ``("hyperparameters", "rows", "key")`` the result has three leading axes, and

        result[c, f, s] = train(key[s], hyperparameters[c], rows[f]);

    With one axis ``("key", "rows")``, for bags, ``result[b] = train(key[b], None, rows[b])``.
    ``run`` is pure and does not compile itself. A member that diverges does not affect the others.

    Args:
        train: ``train(key, hyperparameters, rows)`` of :func:`make_train`, or a function around it
            that returns less: its whole result is stored for every member.
        axes: axes of the result, the outermost first. Each is "key", "hyperparameters", "rows", or
            a sequence of these; the arrays of an argument have its axes in front, in this order.
            Every leaf needs them: repeat a hyperparameter that all members share, or set it in the
            ``build`` of :func:`make_train`.
        strategy: "map" runs one member after the other, each with the bits of a single training.
            "chunk" vectorizes ``chunk_size`` members at a time, which is faster for small models.
            "vmap" vectorizes all members, which are then all in memory.
        chunk_size: members of a chunk, in [1, inf); only for the strategy "chunk". None: 8.
        mesh: mesh with an axis "pop", over which the members are distributed. Explicit axes are
            treated as automatic ones. None: one device.

    Raises:
        ValueError: if an argument is invalid, or, when called, if two arguments that vary together
            differ in length.

    Examples:
        >>> train = lambda key, hyperparameters, rows: hyperparameters["rate"] * rows.sum()
        >>> run = make_population(train, ("hyperparameters", "rows"))
        >>> rates, folds = {"rate": jnp.array([1.0, 10.0])}, jnp.arange(6.0).reshape(3, 2)
        >>> print(jax.jit(run)(jax.random.key(0), rates, folds))
        [[ 1.  5.  9.]
         [10. 50. 90.]]
    """
    owner = "make_population"
    checks.choice(owner, "strategy", strategy, ("map", "chunk", "vmap"))
    chunk_size = checked_chunk_size(owner, strategy, chunk_size)
    varying = _names_along(owner, axes)
    check_mesh(owner, mesh, "pop")
    shards = 1 if mesh is None else mesh.shape["pop"]

    def run(key: Any, hyperparameters: Any = None, rows: Any = None) -> Any:
        return on_auto_axes(population, key, hyperparameters, rows)

    def population(key: Any, hyperparameters: Any, rows: Any) -> Any:
        tables = {"key": key, "hyperparameters": hyperparameters, "rows": rows}
        sizes = _sizes(varying, tables)
        count = math.prod(sizes)
        share = -(-count // shards)
        at_a_time = {"map": 1, "chunk": min(chunk_size, share), "vmap": share}[strategy]
        chunks = -(-share // at_a_time)
        # The last member is repeated to fill the chunks of all devices.
        numbers = jnp.minimum(jnp.arange(shards * chunks * at_a_time, dtype=jnp.int32), count - 1)

        def members(tables: dict[str, PyTree], numbers: Int[Array, "members"]) -> Any:
            place = lambda number: jnp.unravel_index(number, sizes)
            member = lambda number: train(*_looked_up(varying, tables, place(number)))
            return _mapped(member, numbers, at_a_time)

        everywhere, shared = PartitionSpec(), PartitionSpec("pop")
        if mesh is not None:
            specs: dict[str, Any] = {"in_specs": (everywhere, shared), "out_specs": shared}
            members = jax.shard_map(members, mesh=automatic(mesh), check_vma=False, **specs)
        results = canonical_convolutions(lambda numbers: members(tables, numbers))(numbers)
        return jax.tree.map(lambda x: x[:count].reshape(*sizes, *x.shape[1:]), results)

    return run


def _mapped(f: Callable[[Any], Any], numbers: Int[Array, "members"], at_a_time: int) -> Any:
    """The results of ``f`` for all ``numbers``, vectorized over ``at_a_time`` of them."""
    if at_a_time == 1:
        return jax.lax.map(f, numbers)
    results = jax.lax.map(jax.vmap(f), numbers.reshape(-1, at_a_time))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)


def checked_chunk_size(owner: str, strategy: str, chunk_size: int | None) -> int:
    """``chunk_size``, or 8 for None; refused for other strategies, which would ignore it."""
    if chunk_size is None:
        return 8
    checks.integer(owner, "chunk_size", chunk_size, "[1, inf)")
    checks.beside(owner, "`strategy='chunk'`", present=strategy == "chunk", chunk_size=chunk_size)
    return chunk_size


def _names_along(owner: str, axes: Sequence[str | Sequence[str]]) -> list[tuple[str, ...]]:
    """The names of the arguments that vary along each axis."""
    varying = [(axis,) if isinstance(axis, str) else tuple(axis) for axis in axes]
    for name in (name for names in varying for name in names):
        checks.choice(owner, "axes", name, ARGUMENTS)
    if not varying or not all(varying):
        raise ValueError(f"{owner}: `axes` must name an argument for each axis, got {axes}.")
    return varying


def _sizes(varying: list[tuple[str, ...]], tables: dict[str, PyTree]) -> tuple[int, ...]:
    """The length of each axis."""
    sizes, used = [], dict.fromkeys(ARGUMENTS, 0)
    for names in varying:
        found = {}
        for name in names:
            shapes = [jnp.shape(x) for x in jax.tree.leaves(tables[name])]
            lengths = {s[used[name]] if len(s) > used[name] else 0 for s in shapes}
            used[name] += 1
            found[name] = sorted(lengths)
        lengths = {length for several in found.values() for length in several}
        length = max(lengths, default=0)
        for name in names:
            _refuse_scalars(name, tables[name], used[name], length)
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"make_population: all arrays of {' and '.join(names)} must have one length along "
                f"their axis of the population, got {found}."
            )
        sizes.append(lengths.pop())
    return tuple(sizes)


def _refuse_scalars(name: str, table: PyTree, axes: int, length: int) -> None:
    """Raise ValueError if some, but not all, leaves have fewer than ``axes`` axes."""
    leaves = jax.tree.leaves_with_path(table)
    short = [(path, x) for path, x in leaves if jnp.ndim(x) < axes]
    if not short or len(short) == len(leaves):
        return
    path, x = short[0]
    what = "a scalar" if jnp.ndim(x) == 0 else f"of shape {jnp.shape(x)}"
    raise ValueError(
        f"make_population: {name}{jax.tree_util.keystr(path)} is {what}, and every leaf needs an "
        f"axis of length {length}: repeat it, or set it in `build`."
    )


def _looked_up(
    varying: list[tuple[str, ...]], tables: dict[str, PyTree], place: tuple[Array, ...]
) -> list[PyTree]:
    """The arguments of the member at ``place``."""
    found = dict(tables)
    for names, index in zip(varying, place, strict=True):
        for name in names:
            found[name] = jax.tree.map(lambda x, index=index: jnp.asarray(x)[index], found[name])
    return [found[name] for name in ARGUMENTS]
