"""What every gradient transformation promises, whatever it computes."""

import functools
import inspect

import chex
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.transforms import apply_updates, chain
from tests.catalogue import TRANSFORMATIONS, classics, is_link_of_a_recipe, wrappers
from tests.contracts.trees import TREES


def structure(tree):
    """Shapes and dtypes, weak types included: what jit compiles for."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), tree)


def plain(tree):
    """``tree`` with the keys of random numbers as the integers that they are."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


# Checks of one member on a tree; each must be able to fail.


def check_names(tx):
    assert isinstance(tx, GradientTransformationExtraArgs)
    assert list(inspect.signature(tx.init).parameters) == ["params"]
    sig = list(inspect.signature(tx.update).parameters)
    assert sig[:3] == ["updates", "state", "params"]
    assert sig[-1] == "extra_args"


class Case:
    """A transformation on a tree, with its update compiled once for all checks."""

    def __init__(self, tx, params):
        self.tx, self.params, self.traces = tx, params, 0
        self.update = jax.jit(self._update)

    def _update(self, updates, state, params):
        self.traces += 1
        return self.tx.update(updates, state, params)


def check_state_is_a_container(case):
    state = jax.eval_shape(case.tx.init, case.params)
    assert jax.tree.structure(state) != jax.tree.structure(0.0)


def check_nothing_is_held_twice(case):
    """A step can donate params and state: no buffer may be in both, or in the state twice."""
    leaves = jax.tree.leaves((case.params, case.tx.init(case.params)))
    buffers = [leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size]
    assert len(buffers) == len(set(buffers))


def check_shapes_and_dtypes_are_kept(case):
    """Updates are as the gradients, the state as it was, and no two steps differ in type."""

    def two_steps(params):
        state = case.tx.init(params)
        updates, first = case.tx.update(params, state, params)
        _, second = case.tx.update(updates, first, params)
        return updates, state, first, second

    updates, state, first, second = jax.eval_shape(two_steps, case.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, case.params)
    assert structure(state) == structure(first) == structure(second)


def check_gradients_of_another_dtype(case):
    """Wide gradients leave the state of narrow params as it was, and come back wide."""
    wide = jax.tree.map(
        lambda p: p if jnp.iscomplexobj(p) else jnp.zeros(p.shape, jnp.float32), case.params
    )

    def step(grads, params):
        state = case.tx.init(params)
        updates, new = case.tx.update(grads, state, params)
        return updates, state, new

    updates, state, new = jax.eval_shape(step, wide, case.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, wide)
    assert structure(state) == structure(new)


def check_compiles_once(case):
    state = case.tx.init(case.params)
    for _ in range(3):
        _, state = case.update(case.params, state, case.params)
    assert case.traces == 1, f"traced {case.traces} times"


def check_is_pure(case):
    """Traced twice it is the same program, constants included; and arguments stay as they are."""

    def update(*args):
        before, structure = jax.tree.flatten(args)
        result = case.tx.update(*args)
        after = structure.flatten_up_to(args)
        assert all(x is y for x, y in zip(after, before, strict=True)), "an argument was changed"
        return result

    args = (case.params, jax.eval_shape(case.tx.init, case.params), case.params)
    first, second = (jax.make_jaxpr(lambda *args: update(*args))(*args) for _ in range(2))
    assert str(first) == str(second)
    chex.assert_trees_all_equal(plain(first.consts), plain(second.consts))


def check_zero_gradient_is_finite(case):
    zeros = jax.tree.map(jnp.zeros_like, case.params)
    updates, state = case.update(zeros, case.tx.init(case.params), case.params)
    for path, leaf in jax.tree.leaves_with_path(plain((updates, state))):
        finite = np.isfinite(np.asarray(leaf).astype(np.complex128)).all()
        assert finite, f"a gradient of zero gives {leaf} at {jax.tree_util.keystr(path)}"


def check_accumulators_are_wide(case):
    """Sums and means are kept in float32 or wider: only copies of the params may be narrow."""
    is_narrow = lambda x: jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits < 32
    copies = list(map(np.asarray, jax.tree.leaves(case.params)))
    for path, leaf in jax.tree.leaves_with_path(case.tx.init(case.params)):
        held = is_narrow(leaf) and not any(np.array_equal(leaf, copy) for copy in copies)
        assert not held, f"{leaf.dtype} at {jax.tree_util.keystr(path)} of the state"


def check_extra_arguments_are_ignored(case):
    with_more = functools.partial(case.tx.update, unheard_of=1.0)
    args = (case.params, jax.eval_shape(case.tx.init, case.params), case.params)
    with_and_without = (jax.eval_shape(f, *args) for f in (with_more, case.tx.update))
    chex.assert_trees_all_equal_shapes_and_dtypes(*with_and_without)


def check_runs_in_scan(case):
    def body(carry, _):
        params, state = carry
        updates, state = case.tx.update(params, state, params)
        return (apply_updates(params, updates), state), None

    run = lambda p: jax.lax.scan(body, (p, case.tx.init(p)), length=3)[0]
    params, _ = jax.eval_shape(run, case.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, case.params)


def check_state_can_be_mapped(case):
    """optax's ``tree_map_params`` finds every part of the state shaped like the params."""
    state = jax.eval_shape(case.tx.init, case.params)
    found = optax.tree_utils.tree_map_params(
        case.tx, lambda x: "found", state, transform_non_params=lambda x: x
    )
    missed = [x for x in jax.tree.leaves(found) if x != "found" and x.ndim > 0]
    assert not missed, missed


ON_TREES = {
    "state_is_a_container": check_state_is_a_container,
    "nothing_twice": check_nothing_is_held_twice,
    "shapes_and_dtypes": check_shapes_and_dtypes_are_kept,
    "gradients_of_another_dtype": check_gradients_of_another_dtype,
    "compiles_once": check_compiles_once,
    "pure": check_is_pure,
    "zero_gradient": check_zero_gradient_is_finite,
    "wide": check_accumulators_are_wide,
    "extra_arguments": check_extra_arguments_are_ignored,
    "scan": check_runs_in_scan,
    "tree_map_params": check_state_can_be_mapped,
}


def is_exempt(name, promise):
    return promise in TRANSFORMATIONS[name].exempt


def is_everyday(name, tree="mixed"):
    """Whether a check belongs to every run: neither a variant, nor a link that its recipe runs."""
    return tree == "mixed" and ":" not in name and not is_link_of_a_recipe(name)


ONE_OF_A_KIND = {  # a structure of state, or a need, that neither classics nor wrappers have
    *("adafactor", "dog", "lamb", "lbfgs", "muon", "newton_cg", "polyak_sgd", "prodigy", "sam"),
    *("schedule_free", "shampoo", "soap", "sophia"),
}
IN_EVERY_RUN = {*classics.MEMBERS, *wrappers.MEMBERS, *ONE_OF_A_KIND}


def marked(*case):
    everyday = is_everyday(*case) and case[0] in IN_EVERY_RUN
    return pytest.param(*case, marks=() if everyday else pytest.mark.exhaustive)


def marked_of_numbers(name):
    """Everyday are the course's own optimizers alone: each check compiles three trainings."""
    everyday = is_everyday(name) and name in classics.MEMBERS
    return name if everyday else pytest.param(name, marks=pytest.mark.exhaustive)


MEMBERS = [marked(name) for name in TRANSFORMATIONS]
OTHERS = [tree for tree in TREES if tree != "mixed"]
TURNS = {name: {"mixed", OTHERS[i % len(OTHERS)]} for i, name in enumerate(TRANSFORMATIONS)}
ON_TREES_IN_TURN = [  # each on the mixed tree, which has several dtypes, and on one other in turn
    marked(name, tree)
    for name, trees in TURNS.items()
    for tree in TREES
    if tree in trees and not is_exempt(name, tree)
]
WITH_NUMBERS = [marked_of_numbers(name) for name, m in TRANSFORMATIONS.items() if m.numbers]


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_names(name):
    check_names(TRANSFORMATIONS[name]._replace(offers=None).build())


@pytest.mark.parametrize(("name", "tree"), ON_TREES_IN_TURN)
def test_promises_on_every_tree(name, tree):
    case = Case(TRANSFORMATIONS[name].build(), TREES[tree])
    for check_name, check in ON_TREES.items():
        if not is_exempt(name, check_name):
            check(case)


# Checks of what surrounds a transformation.


def check_mixes_with_optax(tx, params):
    """In optax's chain and mask, and in flax's TrainState."""
    matrices = lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)

    def steps(params):
        mixed = optax.chain(optax.masked(tx, matrices), tx, optax.scale(-1.0))
        updates, _ = mixed.update(params, mixed.init(params), params)
        state = TrainState.create(apply_fn=None, params=params, tx=tx)
        return updates, state.apply_gradients(grads=params).params

    for moved in jax.eval_shape(steps, params):
        chex.assert_trees_all_equal_shapes_and_dtypes(moved, params)


def check_runs_in_nnx_optimizer(tx):
    def step():
        model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        grads = nnx.grad(lambda m: jnp.sum(m(jnp.ones((1, 2))) ** 2))(model)
        optimizer.update(model, grads)
        return nnx.state(model)

    assert jax.eval_shape(step)["kernel"].shape == (2, 3)


@pytest.mark.parametrize("name", MEMBERS)
def test_mixes_with_optax_and_flax(name, standard_promotion):
    tx = TRANSFORMATIONS[name].build()
    check_mixes_with_optax(tx, TREES["nested"])
    check_runs_in_nnx_optimizer(tx)


def check_population(tx, key):
    params = {"w": jax.random.normal(key, (3, 2, 2))}

    @jax.jit
    def two_steps(params):
        state = tx.init(params)
        updates, state = tx.update(params, state, params)
        return tx.update(jax.tree.map(jnp.cos, updates), state, params)

    together = jax.jit(jax.vmap(two_steps))(params)
    for i in range(3):
        ours, own_params = jax.tree.map(lambda x, i=i: x[i], (together, params))
        chex.assert_trees_all_close(plain(ours), plain(two_steps(own_params)), rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_members_of_a_population_are_as_each_alone(name, key):
    check_population(TRANSFORMATIONS[name].build(), key)


# Hyperparameters: every number is data.

STEPS = 20
TARGET = jnp.array([[1.0, -2.0, 0.5, 0.3]])
CURVATURE = jnp.array([[1.0, 0.2, 3.0, 0.0]])  # one entry has no gradient at all


def loss(params):
    """A quadratic bowl with a ripple."""
    away = params["w"] - TARGET
    return jnp.sum(CURVATURE * (away**2 / 2 + 0.05 * jnp.sin(2 * away)))


def final_loss(member, numbers):
    """The loss after a short training, as a function of the hyperparameters."""
    tx = optax.with_extra_args_support(member.build(**numbers))
    if "learning_rate" not in numbers:  # a link: make it descend
        tx = chain(tx, TRANSFORMATIONS["scale"].build(step_size=-0.05))
    params = {"w": jnp.zeros_like(TARGET)}

    def body(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return (apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(body, (params, tx.init(params)), length=STEPS)
    return loss(params)


def numbers_of(member, defaults=False):
    numbers = member.numbers
    if defaults:
        arguments = inspect.signature(member.factory).parameters
        numbers = numbers | {
            name: arguments[name].default
            for name in numbers
            if name in arguments and isinstance(arguments[name].default, float)
        }
    return {name: jnp.asarray(value, float) for name, value in numbers.items()}


def check_nan_is_refused(build, numbers):
    """Whoever gives what is no number hears of it when the transformation is built."""
    for name in numbers:
        with pytest.raises(ValueError, match="nan"):
            build(**{name: float("nan")})


@pytest.mark.parametrize(
    "name",
    [name for name, m in TRANSFORMATIONS.items() if m.numbers and not is_exempt(name, "nan")],
)
def test_nan_is_refused(name, as_users_run_it):
    member = TRANSFORMATIONS[name]
    check_nan_is_refused(member.build, member.numbers)


def check_numbers_can_be_vmapped(run, numbers, rtol=1e-9):
    """A population in which each member has one number changed, against each alone."""
    changed = [
        numbers | {name: value * factor} for name, value in numbers.items() for factor in (0.5, 0.9)
    ]
    together = jax.jit(jax.vmap(run))(jax.tree.map(lambda *x: jnp.stack(x), *changed))
    alone = np.stack([run(own) for own in changed])
    np.testing.assert_allclose(together, alone, rtol=rtol)


def check_meta_gradients(run, slopes, numbers):
    """The slope of a whole training by each number equals the central difference."""
    for name, value in numbers.items():
        h = 1e-5 * value
        ahead, behind = (run(numbers | {name: value + d}) for d in (h, -h))
        difference = (ahead - behind) / (2 * h)
        # 1e-4 relative; 1e-9 is the rounding of a loss of size 1 over 2h where the slope is 0
        np.testing.assert_allclose(slopes[name], difference, rtol=1e-4, atol=1e-9, err_msg=name)


def check_slopes_are_finite(slopes):
    """At the defaults eps is tiny: where a gradient is 0, a plain square root would give NaN."""
    assert all(np.isfinite(slope) for slope in slopes.values()), slopes


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_every_number_is_data(name):
    member = TRANSFORMATIONS[name]
    run = jax.jit(functools.partial(final_loss, member))
    slopes = jax.jit(jax.grad(run))
    check_numbers_can_be_vmapped(run, numbers_of(member), member.rtol)
    if not is_exempt(name, "meta_gradient"):
        numbers = numbers_of(member)
        check_meta_gradients(run, slopes(numbers), numbers)
        check_slopes_are_finite(slopes(numbers_of(member, defaults=True)))
