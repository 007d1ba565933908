"""Replicas that train alone and move together, against the loop that the paper describes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.tasks import Batch, function_task
from jaxopt_course.training import init_state, make_step


REPLICAS, EVERY, STEPS = 4, 3, 10
RNG = np.random.default_rng(0)
START = {"w": jnp.asarray(RNG.normal(size=(3, 2))), "b": jnp.asarray(RNG.normal(size=2))}
GRADS = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=(STEPS, REPLICAS, *p.shape))), START)
INNER = optimizers.adam(0.1, 0.8)


def of_first(tree):
    return jax.tree.map(lambda x: x[:, 0], tree)


def step_of(tx):
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return transforms.apply_updates(params, updates), state

    return step


def trained(step, params, state, grads):
    """The parameters after each step, and the last state."""

    def body(carry, grads):
        params, state = step(*carry, grads)
        return (params, state), params

    run = jax.jit(lambda *start: jax.lax.scan(body, start, grads))
    (_, state), path = run(params, state)
    return path, state


def alone(tx, grads, start=START):
    return trained(step_of(tx), start, tx.init(start), grads)


def copies():
    return jax.tree.map(lambda p: jnp.broadcast_to(p, (REPLICAS, *p.shape)), START)


def as_in_the_paper(rate, momentum):
    """The shared parameters after all steps: lists of replicas, and NumPy outside of them."""
    shared, total = jax.tree.map(np.asarray, START), jax.tree.map(np.zeros_like, START)
    params, opt_states = [START] * REPLICAS, [INNER.init(START)] * REPLICAS
    for t in range(STEPS):
        for i in range(REPLICAS):
            grads = jax.tree.map(lambda g, t=t, i=i: g[t, i], GRADS)
            params[i], opt_states[i] = step_of(INNER)(params[i], opt_states[i], grads)
        if (t + 1) % EVERY == 0:
            for name in START:
                back = shared[name] - np.mean([p[name] for p in params], axis=0)
                total[name] = momentum * total[name] + back
                shared[name] = shared[name] - rate * (back + momentum * total[name])
            params = [jax.tree.map(jnp.asarray, shared)] * REPLICAS
    return shared, params


def test_replicas_do_as_the_loop_of_the_paper():
    """Over the axis of a mesh they do too, see ``tests/sharded_explicit.py``."""
    tx = transforms.outer(INNER, "replicas", EVERY, optimizers.sgd(0.5, 0.8, nesterov=True))
    params, mapped = copies(), jax.vmap(step_of(tx), axis_name="replicas")
    path, state = trained(mapped, params, jax.vmap(tx.init)(params), GRADS)
    shared, last = as_in_the_paper(0.5, 0.8)
    evaluated = jax.vmap(transforms.evaluation_params)(state, params)
    for i in range(REPLICAS):
        own = jax.tree.map(lambda x, i=i: x[-1, i], path)
        chex.assert_trees_all_close(own, last[i], rtol=1e-12)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], evaluated), shared, rtol=1e-12
        )


def test_the_default_is_nesterov_with_the_rates_of_the_paper():
    named = transforms.outer(INNER, None, EVERY, optimizers.sgd(0.7, 0.9, nesterov=True))
    default = transforms.outer(INNER, None, EVERY)
    found, wanted = (alone(tx, of_first(GRADS))[0] for tx in (default, named))
    chex.assert_trees_all_close(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_one_replica_that_moves_in_every_step_has_the_bits_of_the_inner_optimizer(dtype):
    start, grads = (jax.tree.map(lambda x: x.astype(dtype), t) for t in (START, of_first(GRADS)))
    tx = transforms.outer(INNER, None, 1, optimizers.sgd(1.0))
    path, state = alone(tx, grads, start)
    chex.assert_trees_all_equal(path, alone(INNER, grads, start)[0])
    last = jax.tree.map(lambda x: x[-1], path)
    chex.assert_trees_all_equal(transforms.evaluation_params(state, start), last)


def test_one_replica_is_lookahead():
    alpha, start = 0.4, transforms.LookaheadParams.init_synced(START)
    tx = transforms.outer(INNER, None, EVERY, optimizers.sgd(alpha))
    path, state = alone(tx, of_first(GRADS))
    lookahead = transforms.lookahead(INNER, EVERY, alpha)
    wanted, _ = trained(step_of(lookahead), start, lookahead.init(start), of_first(GRADS))
    chex.assert_trees_all_close(path, wanted.fast, rtol=1e-12)
    slow = jax.tree.map(lambda x: x[-1], wanted.slow)
    chex.assert_trees_all_close(transforms.evaluation_params(state, START), slow, rtol=1e-12)


def test_accumulated_batches_count_as_one_step():
    twice = jax.tree.map(lambda g: jnp.repeat(g, 2, axis=0), of_first(GRADS))
    inside = transforms.outer(transforms.MultiSteps(INNER, 2), None, EVERY)
    wanted, _ = alone(transforms.outer(INNER, None, EVERY), of_first(GRADS))
    path, _ = alone(inside, twice)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1::2], path), wanted, rtol=1e-12)


def test_a_training_step_is_mapped_over_replicas():
    problem_loss = lambda outputs, batch: (outputs - batch.targets) ** 2
    task = function_task(
        lambda key: {"w": jnp.zeros(2)}, lambda p, x: x @ p["w"], loss=problem_loss
    )
    tx = transforms.outer(optimizers.sgd(0.1), "replicas", every=5)
    state = init_state(task, tx, jax.random.key(0))
    state = jax.tree.map(lambda x: jnp.stack([x] * REPLICAS), state)
    step = jax.jit(jax.vmap(make_step(task, tx), axis_name="replicas"))
    inputs = jnp.asarray(RNG.normal(size=(REPLICAS, 8, 2)))
    batch = Batch(inputs, inputs @ jnp.array([1.0, -2.0]), jnp.ones((REPLICAS, 8)))
    for _ in range(100):
        state, _ = step(state, batch)
    found = jax.vmap(transforms.evaluation_params)(state.opt_state, state.params)
    np.testing.assert_allclose(found["w"], [[1.0, -2.0]] * REPLICAS, atol=0.02)


def test_what_is_no_name_of_an_axis_is_refused(as_users_run_it):
    with pytest.raises(TypeError, match="`replicas` must be the name of an axis or None, got 4"):
        transforms.outer(INNER, 4, EVERY)
    with pytest.raises(ValueError, match=r"outer: `every` must lie in \[1, inf\), got 0"):
        transforms.outer(INNER, None, 0)
