"""A row of ``docs/oracles.md``: one method here and elsewhere, on the same gradients."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


RECORDED = pathlib.Path(__file__).parent / "recorded"
STEPS = 50
KEPT = (1, 2, 3, 4, 5, 10, 20, 30, 40, 50)  # steps after which the parameters are recorded
SHAPES = {"square": (6, 6), "tall": (8, 3), "wide": (3, 8)}

Leaves = Mapping[str, np.ndarray]


class Row(NamedTuple):
    """How a method is compared.

    package: the distribution's name on PyPI, whose version is recorded.
    ours: builds the transformation; called without arguments.
    theirs: from the start (leaf by name) and gradients (leaf by name, the steps first) to the
        parameters after each step, a dict of arrays for each; runs where the package is installed.
    bound: largest relative distance of the parameters' changes, see :func:`distance`.
    note: the convention that is taken, or the named difference, as the page says it.
    shapes: shapes by the names of leaves.
    dtype: the dtype in which the other package computes.
    """

    package: str
    ours: Callable[[], Any]
    theirs: Callable[[Leaves, Leaves], list[Leaves]]
    bound: float
    note: str = ""
    shapes: Mapping[str, tuple[int, ...]] = SHAPES
    dtype: str = "float64"


def start_of(row: Row) -> dict[str, np.ndarray]:
    """The parameters before the first step."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in row.shapes.items()}


def gradients_of(row: Row) -> dict[str, np.ndarray]:
    """The gradients of all steps, whose entries differ in size by orders of magnitude."""
    rng = np.random.default_rng(1)
    scales = {name: np.exp(rng.normal(size=shape)) for name, shape in row.shapes.items()}
    return {name: rng.normal(size=(STEPS, *x.shape)) * x for name, x in scales.items()}


def of_torch(build: Callable[[list[Any]], Any], dtype: str = "float64") -> Callable[..., Any]:
    """``theirs`` of an optimizer of torch: ``build`` makes it for a list of parameters."""

    def points(start: Leaves, gradients: Leaves) -> list[Leaves]:
        import torch

        torch.manual_seed(0)
        torch.set_default_dtype(kind := getattr(torch, dtype))
        leaves = {
            name: torch.nn.Parameter(torch.tensor(x, dtype=kind)) for name, x in start.items()
        }
        optimizer, found = build(list(leaves.values())), []
        for step in range(STEPS):
            for name, leaf in leaves.items():
                leaf.grad = torch.tensor(gradients[name][step], dtype=kind)
            optimizer.step()
            found.append({name: x.detach().double().numpy().copy() for name, x in leaves.items()})
        return found

    return points


def recorded(name: str) -> dict[str, Any]:
    """What ``record`` wrote for the row called ``name``."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def our_points(row: Row) -> list[dict[str, np.ndarray]]:
    """The parameters here after each step, in the dtype of the row."""
    import jax
    import jax.numpy as jnp

    tx = row.ours()
    cast = lambda leaves: {name: jnp.asarray(x, row.dtype) for name, x in leaves.items()}

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params

    def run(params, gradients):
        return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]

    points = jax.jit(run)(cast(start_of(row)), cast(gradients_of(row)))
    return [{name: np.asarray(x[i], float) for name, x in points.items()} for i in range(STEPS)]


def distance(row: Row, ours: list[Leaves], theirs: list[Leaves]) -> float:
    """max over leaves and kept steps of |ours - theirs| / |theirs - start|, in the L2 norm.

    Where the other did not move, as in SOAP's first step, any movement is a large distance.
    """
    start, norm = start_of(row), np.linalg.norm
    return max(
        float(norm(a[name] - b[name]) / max(norm(b[name] - start[name]), 1e-100))
        for a, b in zip(ours, theirs, strict=True)
        for name in start
    )
