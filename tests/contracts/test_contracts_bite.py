"""A check that nothing can fail is not a check: each one rejects a planted defect."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.core import GradientTransformationExtraArgs
from tests.catalogue import Member
from tests.contracts import test_transformations as contracts


PARAMS = {"w": jnp.ones((3,), jnp.float32)}


def planted(update, init=lambda params: {"n": jnp.zeros((), jnp.int32)}):
    return GradientTransformationExtraArgs(init, update)


def sums_leaves(updates, state, params=None, **extra_args):
    return jax.tree.map(jnp.sum, updates), state


def counts_in_floats(updates, state, params=None, **extra_args):
    return updates, {"n": state["n"].astype(jnp.float32) + 1}


def widens(updates, state, params=None, **extra_args):
    return jax.tree.map(lambda u, p: u.astype(p.dtype), updates, params), state


def rolls_dice(updates, state, params=None, **extra_args):
    return jax.tree.map(lambda u: u * float(np.random.rand()), updates), state


def divides_by_the_gradient(updates, state, params=None, **extra_args):
    return jax.tree.map(lambda u: u / u, updates), state


def knows_no_extra_arguments(updates, state, params=None, **extra_args):
    return (updates if not extra_args else {}), state


def drops_the_state(updates, state, params=None, **extra_args):
    return updates, ()


def counts_in_its_argument(updates, state, params=None, **extra_args):
    state["n"] += 1
    return updates, state


@pytest.mark.parametrize(
    ("check", "update"),
    [
        (contracts.check_shapes_and_dtypes_are_kept, sums_leaves),
        (contracts.check_shapes_and_dtypes_are_kept, counts_in_floats),
        (contracts.check_compiles_once, counts_in_floats),
        (contracts.check_is_pure, rolls_dice),
        (contracts.check_is_pure, counts_in_its_argument),
        (contracts.check_zero_gradient_is_finite, divides_by_the_gradient),
        (contracts.check_extra_arguments_are_ignored, knows_no_extra_arguments),
    ],
)
def test_a_broken_update_is_found(check, update):
    with pytest.raises(AssertionError):
        check(contracts.Case(planted(update), PARAMS))


def test_a_scan_that_changes_its_carry_is_found():
    with pytest.raises(TypeError, match="carry"):
        contracts.check_runs_in_scan(contracts.Case(planted(drops_the_state), PARAMS))


def test_updates_in_the_dtype_of_the_params_are_found():
    case = contracts.Case(planted(widens), {"w": jnp.ones((3,), jnp.bfloat16)})
    with pytest.raises(AssertionError):
        contracts.check_gradients_of_another_dtype(case)


def test_a_bare_array_as_state_is_found():
    tx = planted(sums_leaves, init=lambda params: jnp.zeros(()))
    with pytest.raises(AssertionError):
        contracts.check_state_is_a_container(contracts.Case(tx, PARAMS))


def test_a_state_that_holds_the_params_themselves_is_found():
    tx = planted(sums_leaves, init=lambda params: {"slow": params})
    with pytest.raises(AssertionError):
        contracts.check_nothing_is_held_twice(contracts.Case(tx, PARAMS))


def test_a_narrow_mean_is_found():
    tx = planted(sums_leaves, init=lambda params: {"mu": jax.tree.map(jnp.zeros_like, params)})
    with pytest.raises(AssertionError, match=r"bfloat16 at \['mu'\]\['w'\]"):
        contracts.check_accumulators_are_wide(
            contracts.Case(tx, {"w": jnp.ones((3,), jnp.bfloat16)})
        )


def test_a_state_that_hides_its_copies_of_the_params_is_found():
    tx = planted(sums_leaves, init=lambda params: {"n": jnp.zeros(len(jax.tree.leaves(params)))})
    with pytest.raises((AssertionError, ValueError)):
        contracts.check_state_can_be_mapped(contracts.Case(tx, PARAMS))


def test_other_argument_names_are_found():
    def renamed(grads, opt_state, params=None, **extra_args):
        return grads, opt_state

    with pytest.raises(AssertionError):
        contracts.check_names(planted(renamed))


def test_an_update_that_needs_more_than_optax_gives_is_found():
    def wants_the_loss(updates, state, params=None, *, value, **extra_args):
        return updates, state

    with pytest.raises(TypeError, match="value"):
        contracts.check_mixes_with_optax(planted(wants_the_loss), PARAMS)


def test_an_update_of_another_shape_is_found_in_nnx(standard_promotion):
    def adds_an_axis(updates, state, params=None, **extra_args):
        return jax.tree.map(lambda u: u[None], updates), state

    with pytest.raises(AssertionError):
        contracts.check_runs_in_nnx_optimizer(planted(adds_an_axis))


@jax.custom_batching.custom_vmap
def mean_of_members(x):
    return x


@mean_of_members.def_vmap
def _(axis_size, in_batched, x):
    return jnp.broadcast_to(jnp.mean(x, axis=0), x.shape), in_batched[0]


def test_a_mean_over_the_population_is_found(key):
    def update(updates, state, params=None, **extra_args):
        return jax.tree.map(mean_of_members, updates), state

    with pytest.raises(AssertionError):
        contracts.check_population(planted(update), key)


def branching(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0.1 else 0.1)


def detached(learning_rate):
    return optax.scale(-jax.lax.stop_gradient(learning_rate))


def shared_by_all(learning_rate):
    return optax.sgd(mean_of_members(learning_rate))


def plain_root(learning_rate, eps=1e-8):
    def update(updates, state, params=None, **extra_args):
        nu = jax.tree.map(lambda n, u: n + u**2, state, updates)
        scaled = jax.tree.map(lambda u, n: -learning_rate * u / (jnp.sqrt(n) + eps), updates, nu)
        return scaled, nu

    return planted(update, lambda params: jax.tree.map(jnp.zeros_like, params))


def run_of(factory, **numbers):
    member = Member(factory, numbers)
    return jax.jit(lambda n: contracts.final_loss(member, n)), contracts.numbers_of(member)


def test_a_number_that_nobody_checks_is_found():
    with pytest.raises(pytest.fail.Exception):
        contracts.check_nan_is_refused(branching, {"learning_rate": 0.1})


def test_a_branch_on_a_number_is_found():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        contracts.check_numbers_can_be_vmapped(*run_of(branching, learning_rate=0.1))


def test_a_number_that_members_share_is_found():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        contracts.check_numbers_can_be_vmapped(*run_of(shared_by_all, learning_rate=0.1))


def test_a_slope_that_was_cut_is_found():
    run, numbers = run_of(detached, learning_rate=0.1)
    with pytest.raises(AssertionError, match="learning_rate"):
        contracts.check_meta_gradients(run, jax.grad(run)(numbers), numbers)


def test_a_root_without_a_slope_at_zero_is_found():
    run, numbers = run_of(plain_root, learning_rate=0.1, eps=1e-8)
    with pytest.raises(AssertionError, match="nan"):
        contracts.check_slopes_are_finite(jax.grad(run)(numbers))


def test_every_check_has_a_defect_planted():
    text = pathlib.Path(__file__).read_text()
    checks = [name for name in vars(contracts) if name.startswith("check_")]
    assert len(checks) > 10
    assert not [name for name in checks if f"contracts.{name}" not in text]
