"""Small leaves together, beside the same optimizer on the tree."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task
from jaxopt_course.training import make_train
from tests.tiers import everyday_first


def tree(key):
    shapes = [(3, 4), (2, 4), (5,), (), (7,), (40, 50), (3, 4), (6, 2, 3), (1, 2, 3), ()]
    keys = jax.random.split(key, len(shapes))
    leaves = [jax.random.normal(k, s, jnp.float32) for k, s in zip(keys, shapes, strict=True)]
    named = {f"w{i}": leaf for i, leaf in enumerate(leaves)}
    return named | {
        "half": [leaves[0].astype(jnp.bfloat16), leaves[2].astype(jnp.bfloat16)],
        "n": None,
    }


def by_axes(params):
    return jax.tree.map(lambda x: x.ndim > 1, params)


def steps(tx, params, key):
    """Ten steps with gradients that the parameters have no part in, so that nothing adds up."""
    state, update, moves = tx.init(params), jax.jit(tx.update), []
    for n in range(10):
        grads = jax.tree.map(lambda p, n=n: jnp.cos(p * (n + 1)), params)
        updates, state = update(grads, state, params)
        moves.append(updates)
    return moves, state


OPTIMIZERS = {
    "adamw": lambda lib: lib.adamw(1e-2, mask=by_axes),
    "lion": lambda lib: lib.lion(1e-2),
    "sgd": lambda lib: lib.sgd(1e-2, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", everyday_first(1, OPTIMIZERS))
def test_updates_are_those_of_the_tree(name, key, standard_promotion):
    params = jax.tree.map(lambda x: x.astype(jnp.float32), tree(key))
    alone, peer = OPTIMIZERS[name](optimizers), OPTIMIZERS[name](optax)
    tx = transforms.packed(alone, max_size=100)
    like, state, theirs = jax.eval_shape(tx.init, params), alone.init(params), peer.init(params)

    @jax.jit
    def step(grads, state, theirs):
        ours, after = tx.update(grads, transforms.packed_state(state, like), params)
        own, state = alone.update(grads, state, params)
        others, theirs = peer.update(grads, theirs, params)
        return (ours, transforms.unpack(after)), (own, state), others, theirs

    for n in range(10):  # each from the same state: what rounding adds up is not asked for
        grads = jax.tree.map(lambda p, n=n: jnp.cos(p * (n + 1)), params)
        together, each, others, theirs = step(grads, state, theirs)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(each), strict=True):
            if a.dtype == jnp.float32:
                # Where a mean of gradients cancels, an ulp of its largest term is more of the
                # result: a product may be rounded before it is added or not, as the compiler
                # likes. The terms are of the size of the rate, or of 1 - b2.
                assert (np.abs(a - b) <= 2 * np.spacing(np.maximum(np.abs(b), 0.01))).all()
            else:
                np.testing.assert_array_equal(a, b)
        chex.assert_trees_all_close(together[0], others, rtol=1e-3)  # optax rounds 1 - b2
        state = each[1]


@pytest.mark.exhaustive
def test_states_go_from_one_layout_to_the_other(key):
    inner, params = optimizers.adamw(1e-2), tree(key)
    tx = transforms.packed(inner, max_size=100)
    _, packed = steps(tx, params, key)
    _, plain = steps(inner, params, key)
    unpacked = transforms.unpack(packed)
    chex.assert_trees_all_close(unpacked, plain, rtol=1e-6)
    back = transforms.packed_state(unpacked, jax.eval_shape(tx.init, params))
    chex.assert_trees_all_equal(back, packed)
    assert len(jax.tree.leaves(packed)) < len(jax.tree.leaves(plain)) / 1.5


def by_path(params):
    return jax.tree_util.tree_map_with_path(lambda path, x: "w0" in str(path), params)


@pytest.mark.parametrize(
    ("inner", "sentence"),
    everyday_first(
        3,
        [
            (optimizers.lamb(0.1), "alone, but its update"),
            (optimizers.lars(0.1), "alone, but its update"),
            (optimizers.adafactor(0.1), "alone, but its update"),
            (optimizers.muon(0.1), "alone, but its update"),
            (
                transforms.chain(transforms.clip_by_global_norm(1.0), PLAIN := optimizers.sgd(0.1)),
                "alone, but its update",
            ),
            (transforms.apply_if_finite(PLAIN, 3), "reduce_and"),
            (optimizers.adamw(0.1, mask=by_path), "as a mask by path does"),
            (optax.sm3(0.1), "raises IndexError: "),  # on scalars
            (optax.polyak_sgd(), "without extra arguments, but it raises TypeError: "),
        ],
    ),
)
def test_what_looks_at_more_than_an_entry_is_refused(inner, sentence, key):
    with pytest.raises(ValueError, match=rf"^packed: `optimizer` must.*{sentence}"):
        transforms.packed(inner).init(tree(key))


@pytest.mark.exhaustive
def test_wrappers_compose(key):
    params = {f"w{i}": jnp.ones((8, 8), jnp.float32) for i in range(10)}
    tx = transforms.packed(
        transforms.quantized_state(optimizers.adamw(1e-2), min_size=128, chunk=256)
    )
    moves, state = steps(tx, params, key)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) < 2.2 * 640
    exact, _ = steps(optimizers.adamw(1e-2), params, key)
    chex.assert_trees_all_close(moves, exact, rtol=0.1)
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    for wrap in (
        lambda inner: transforms.stochastic_rounding(inner, key=0),
        transforms.kahan,
        transforms.master_weights,
    ):
        moves, _ = steps(transforms.packed(wrap(optimizers.adamw(1e-2))), narrow, key)
        chex.assert_trees_all_equal_shapes_and_dtypes(moves[0], narrow)


def small_task():
    def init(key):
        keys = jax.random.split(key, 5)
        return {
            "layers": [{"k": jax.random.normal(k, (3, 3)) / 2, "b": jnp.zeros(3)} for k in keys]
        }

    def apply(params, x):
        for layer in params["layers"]:
            x = jnp.tanh(x @ layer["k"] + layer["b"][None])
        return x

    return function_task(init, apply, problem("regression"))


@pytest.mark.exhaustive
def test_a_training_holds_them_packed_and_hands_out_the_tree(key):
    x = jax.random.normal(key, (32, 3))
    runs = []
    for wrap in (lambda tx: tx, transforms.packed):
        build = lambda rate, wrap=wrap: (small_task(), wrap(optimizers.adamw(rate)))
        train = make_train(build, (x, jnp.sin(x)), epochs=3, batch_size=8)
        program = jax.jit(
            jax.value_and_grad(
                lambda r, train=train: ((run := train(key, r)).history["loss"][-1], run),
                has_aux=True,
            )
        )
        runs.append(program(1e-2))
    ((loss, plain), slope), ((packed_loss, packed), packed_slope) = runs
    np.testing.assert_allclose([packed_loss, packed_slope], [loss, slope], rtol=1e-6)
    chex.assert_trees_all_close(packed.state.params, plain.state.params, rtol=1e-6)
    chex.assert_trees_all_close(packed.best_params, plain.best_params, rtol=1e-6)
    assert isinstance(packed.state.opt_state, transforms.PackedState)


def test_leaves_that_nothing_joins_may_be_packed_twice():
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    updates = [
        tx.update(params, tx.init(params), params)[0]
        for tx in (optimizers.adam(0.1), transforms.packed(transforms.packed(optimizers.adam(0.1))))
    ]
    chex.assert_trees_all_close(*updates)
