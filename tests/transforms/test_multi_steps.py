"""Accumulation of gradients, against optax and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformationExtraArgs
from tests.transforms.stepping import ONE, assert_same_updates, run


ADAM = optimizers.adam(0.1)
SCHEDULE = lambda t: jnp.where(t < 5, 2, 3)
NOT_LARGE = functools.partial(optax.skip_large_updates, max_squared_norm=30.0)
OURS_NOT_LARGE = functools.partial(transforms.skip_large_updates, max_squared_norm=30.0)


NO_SKIP, SKIP = (None, None), (OURS_NOT_LARGE, NOT_LARGE)


@pytest.mark.parametrize(
    ("every", "use_mean", "skip"),
    [(1, True, NO_SKIP), (3, False, NO_SKIP), (3, True, SKIP), (SCHEDULE, True, SKIP)],
)
def test_multi_steps_as_optax_does(every, use_mean, skip, standard_promotion):
    ours = transforms.MultiSteps(ADAM, every, use_mean, skip[0])
    theirs = optax.MultiSteps(ADAM, every, use_mean, skip[1], accumulator_dtype=jnp.float64)
    assert_same_updates(ours, theirs)


@pytest.mark.parametrize("k", [1, 3])
def test_apply_every_as_optax_does(k, standard_promotion):
    assert_same_updates(transforms.apply_every(k), optax.apply_every(k))


def test_multi_steps_is_a_gradient_transformation():
    tx = transforms.MultiSteps(ADAM, 2)
    assert isinstance(tx, GradientTransformationExtraArgs)
    assert isinstance(tx, optax.GradientTransformation)
    init, update = tx.gradient_transformation()
    assert (init, update) == (tx.init, tx.update)
    state = transforms.chain(tx, transforms.identity()).init(ONE)
    known = optax.MultiStepsState._fields
    assert state[0]._fields[: len(known)] == known  # and what the weights of batches need


def counting(calls):
    """A transformation that notes each time it is evaluated, inside compiled code too."""

    def update(updates, state, params=None, **extra_args):
        jax.debug.callback(lambda: calls.append(1))
        return updates, state

    return GradientTransformationExtraArgs(lambda params: (), update)


def test_the_inner_optimizer_is_evaluated_only_when_due(standard_promotion):
    evaluations = {}
    for name, wrap in {"ours": transforms.MultiSteps, "optax": optax.MultiSteps}.items():
        calls = []
        tx = wrap(counting(calls), 4)
        state = tx.init(ONE)
        update = jax.jit(tx.update)
        for _ in range(12):
            _, state = update(ONE, state)
        jax.effects_barrier()
        evaluations[name] = len(calls)
    assert evaluations == {"ours": 3, "optax": 12}


def test_extra_arguments_reach_the_inner_optimizer_when_it_runs():
    def update(updates, state, params=None, *, value, **extra_args):
        return jax.tree.map(lambda u: value * u, updates), state

    tx = transforms.MultiSteps(GradientTransformationExtraArgs(lambda params: (), update), 2)
    state = tx.init(ONE)
    for value in (5.0, 7.0):
        updates, state = tx.update(ONE, state, value=value)
    assert float(updates) == 6.0  # the mean loss, as the gradient is the mean gradient


def test_k_may_be_traced_and_changes_nothing_else():
    def final(k):
        tx = transforms.MultiSteps(optimizers.sgd(1.0), k)
        body = lambda state, g: tx.update(g, state)[::-1]
        return jax.lax.scan(body, tx.init(ONE), jnp.arange(6.0))[1]

    together = jax.vmap(final)(jnp.array([1, 2, 3]))
    np.testing.assert_allclose(together[1], [0, -0.5, 0, -2.5, 0, -4.5])
    np.testing.assert_allclose(together[2], [0, 0, -1.0, 0, 0, -4.0])


def test_has_updated_and_skipped_steps_leave_no_trace():
    tx = transforms.MultiSteps(
        optimizers.sgd(1.0), 2, should_skip_update_fn=transforms.skip_not_finite
    )
    updates, states = run(tx, [1.0, np.nan, 3.0, np.inf])
    assert updates == [0, 0, -2.0, 0]
    assert [int(s.mini_step) for s in states] == [1, 1, 0, 0]
    assert [bool(tx.has_updated(s)) for s in states] == [False, False, True, True]
    assert [int(s.skip_state["num_not_finite"]) for s in states] == [0, 1, 0, 1]
    large, report = transforms.skip_large_updates({"w": jnp.array([3.0, 4.0])}, 0, None, 25.0)
    assert bool(large)  # not below the bound
    assert float(report["norm_squared"]) == 25.0
    assert bool(transforms.skip_large_updates(jnp.array(jnp.nan), 0, None, 25.0)[0])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize(
    ("build", "accumulator"),
    [
        (lambda: transforms.MultiSteps(transforms.identity(), 1000, use_grad_mean=False),
         lambda state: state.acc_grads),
        (lambda: transforms.apply_every(1000), lambda state: state.grad_acc),
    ],
)  # fmt: skip
def test_narrow_gradients_accumulate_in_float32(build, accumulator, dtype):
    """A bfloat16 sum of ones stops at 256."""
    tx = build()
    gradient = jnp.ones((), dtype)
    total, _ = jax.lax.scan(
        lambda s, _: (tx.update(gradient, s)[1], None), tx.init(gradient), length=999
    )
    assert float(accumulator(total)) == 999.0
    assert tx.update(gradient, total)[0] == jnp.asarray(1000, dtype)


def test_a_peer_inside_whose_state_changes_dtype_is_held_to_it(standard_promotion):
    tx = transforms.MultiSteps(optax.sgd(0.1, 0.9), 2)
    params, grads = jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float32)
    step = lambda state, _: (tx.update(grads, state, params)[1], None)
    jax.lax.scan(step, tx.init(params), length=3)


def test_predicates_that_give_no_bool_are_refused(as_users_run_it):
    tx = transforms.MultiSteps(ADAM, 2, should_skip_update_fn=lambda u, t, p: (u > 0.5, ()))
    with pytest.raises(
        TypeError, match="MultiSteps: `should_skip_update_fn` must return a scalar bool"
    ):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
