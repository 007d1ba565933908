"""On meshes with explicit axes, which ``jax.make_mesh`` makes, every transformation runs and keeps
each array in its place. Tracing shows it, for there the sharding is part of an array's type; what
the numbers are is compared in ``tests/sharded_states.py``.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxopt_course.core import GradientTransformation
from jaxopt_course.transforms import apply_updates
from tests.catalogue import TRANSFORMATIONS
from tests.contracts.test_transformations import IN_EVERY_RUN


def mesh_of(*sizes):
    names = ("a", "b")[: len(sizes)]
    return AbstractMesh(sizes, names, axis_types=(AxisType.Explicit,) * len(sizes))


# A mesh, and which of its axes split the first, second and third axis of every leaf that has them.
PLACES = {
    "first": (mesh_of(4), ("a",)),
    "second": (mesh_of(4), (None, "a")),
    "third": (mesh_of(4), (None, None, "a")),
    "one of two": (mesh_of(4, 2), (None, "b")),
    "first two": (mesh_of(4, 2), ("b", "a")),
    "last two": (mesh_of(4, 2), (None, "a", "b")),
    "both": (mesh_of(4, 2), (("a", "b"),)),
}
SHAPES = {"scalar": (), "vector": (40,), "kernel": (16, 8), "wide": (8, 64), "cube": (8, 16, 24)}


def params_in(place):
    """A tree with a leaf of each shape, sharded by its specification; no two shapes are equal."""
    mesh, axes = PLACES[place]

    def leaf(shape):
        sharding = NamedSharding(mesh, PartitionSpec(*axes[: len(shape)]))
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

    return {name: leaf(shape) for name, shape in SHAPES.items()}


def splits(tree):
    """Shape and split of each leaf by its path; an axis that is not split has None."""

    def split(x):
        spec = () if x.sharding is None else tuple(x.sharding.spec)
        return x.shape, (spec + (None,) * len(x.shape))[: len(x.shape)]

    paths = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): split(x) for path, x in paths}


def check_keeps_every_place(tx, params):
    """Updates lie as the gradients, the state as the params, and it stays where it began."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params, state, params)
        return (apply_updates(params, updates), state), updates

    def train(params):
        state = tx.init(params)
        updates, after = tx.update(params, state, params)
        jax.lax.scan(step, (params, after), length=2)
        return state, updates, after

    state, updates, after = jax.eval_shape(train, params)
    assert splits(updates) == splits(params)
    assert splits(state) == splits(after)
    places = dict(splits(params).values())
    for path, (shape, split) in splits(state).items():
        assert split == places.get(shape, split), f"{path} is split as {split}"


def marked(name, place):
    marks = () if name in IN_EVERY_RUN and place == "first two" else pytest.mark.exhaustive
    return pytest.param(name, place, marks=marks)


@pytest.mark.parametrize(
    ("name", "place"),
    [  # each at the place of every run, and at a third of the others, which take turns
        marked(name, place)
        for i, (name, member) in enumerate(TRANSFORMATIONS.items())
        for j, place in enumerate(PLACES)
        if "explicit mesh" not in member.exempt and (place == "first two" or (i + j) % 3 == 0)
    ],
)
def test_every_place_is_kept(name, place):
    check_keeps_every_place(TRANSFORMATIONS[name].build(), params_in(place))


@pytest.mark.parametrize("name", ["muon", "soap", "shampoo", "quantized_state", "flatten"])
def test_the_program_without_a_mesh_has_no_trace_of_one(name):
    tx = TRANSFORMATIONS[name].build()
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in SHAPES.items()}
    state = jax.eval_shape(tx.init, params)
    program = str(jax.make_jaxpr(tx.update)(params, state, params))
    assert "reshard" not in program
    assert "sharding_constraint" not in program


# Planted defects.


def planted(update, init=lambda params: {"n": jnp.zeros((), jnp.int32)}):
    return GradientTransformation(init, update)


def multiplies(updates, state, params=None, **extra_args):
    """A product that sums over the axis along which the leaf may be split."""
    gram = lambda u: (u @ u.T) @ u if u.ndim == 2 else u
    return jax.tree.map(gram, updates), state


def reshapes(updates, state, params=None, **extra_args):
    return jax.tree.map(lambda u: u.reshape(-1).reshape(u.shape), updates), state


@pytest.mark.parametrize("update", [multiplies, reshapes])
def test_an_ambiguous_operation_is_found(update):
    with pytest.raises(Exception, match="shard"):
        check_keeps_every_place(planted(update), params_in("first two"))


def test_updates_that_every_device_holds_are_found():
    def gathers(updates, state, params=None, **extra_args):
        whole = lambda u: jax.sharding.reshard(u, PartitionSpec())
        with jax.sharding.use_abstract_mesh(PLACES["first"][0]):
            return jax.tree.map(whole, updates), state

    with pytest.raises(AssertionError):
        check_keeps_every_place(planted(gathers), params_in("first"))


@pytest.mark.parametrize("moves", [False, True])
def test_a_state_that_every_device_holds_is_found(moves):
    """In the first case it stays where it is, in the second the first update splits it."""

    def init(params):
        return jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), params)

    def update(updates, state, params=None, **extra_args):
        return updates, jax.tree.map(jnp.add, state, updates) if moves else state

    with pytest.raises(AssertionError):
        check_keeps_every_place(planted(update, init), params_in("first"))
