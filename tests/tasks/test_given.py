"""Tasks that start from given parameters, and their adaptation by matrices of low rank."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close, assert_trees_all_equal

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.regularizers import by_path
from jaxopt_course.tasks import (
    Batch,
    augmented,
    function_task,
    linen_task,
    lora,
    mixed_precision,
    starting_from,
)
from jaxopt_course.training import evaluate, fit, init_state, make_step, make_train, predict


X = np.random.default_rng(0).normal(size=(24, 6))
Y = np.arange(24) % 3
MODEL = MLP(3, (8,), normalization="batch", param_dtype=jnp.float64)
TASK = linen_task(MODEL, X[:1], problem("multiclass"))
KEY = jax.random.key(0)


def trained():
    run = fit(TASK, adam(0.05), (X, Y), key=KEY, epochs=2, batch_size=12, progress=False)
    return run.state.params, run.state.model_state


def test_a_training_starts_from_what_is_given():
    params, state = trained()
    task = starting_from(TASK, params, state)
    run = jax.jit(make_train(lambda _: (task, sgd(0.0)), (X, Y), epochs=1, batch_size=8))(KEY)
    assert_trees_all_equal(run.state.params, params)
    assert_trees_all_equal(task.init(KEY), (params, state))
    fresh = starting_from(TASK, params).init(KEY)[1]
    assert_trees_all_equal(fresh, TASK.init(KEY)[1])


def test_a_step_that_is_donated_its_state_spares_what_was_given():
    params, state = trained()
    task = starting_from(TASK, params, state)
    step = jax.jit(make_step(task, sgd(0.1)), donate_argnums=0)
    step(init_state(task, sgd(0.1), KEY), Batch(jnp.asarray(X), jnp.asarray(Y)))
    assert_trees_all_equal(task.init(KEY), (params, state))


def test_floats_of_another_width_are_converted():
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), trained()[0])
    found = starting_from(TASK, params).init(KEY)[0]
    assert {x.dtype for x in jax.tree.leaves(found)} == {
        x.dtype for x in jax.tree.leaves(TASK.init(KEY)[0])
    }


def test_unfit_parameters_are_refused(as_users_run_it):
    params, _ = trained()
    short = jax.tree.map(lambda x: x[..., :-1], params)
    with pytest.raises(ValueError, match=r"^starting_from: parameter at \['.*\] has shape"):
        starting_from(TASK, short)
    with pytest.raises(ValueError, match=r"only the parameter tree has .*more"):
        starting_from(TASK, params | {"more": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"^starting_from: the model state tree must have"):
        starting_from(TASK, params, {})
    whole = jax.tree.map(lambda x: x.astype(int), params)
    with pytest.raises(TypeError, match=r"parameter at \['.*\] must have a dtype like the task's"):
        starting_from(TASK, whole)
    with pytest.raises(TypeError, match="`task` must be a Task, got"):
        starting_from(params, params)


# --- lora ------------------------------------------------------------------------------------


def line():
    """A linear model of two weights, which starts from given ones."""
    init = lambda key: {
        "w": jax.random.normal(key, (6, 5)),
        "v": jnp.ones((5, 3)),
        "b": jnp.ones(3),
    }
    apply = lambda params, x: x @ params["w"] @ params["v"] + params["b"][None]
    task = function_task(init, apply, problem("multiclass"))
    return starting_from(task, init(jax.random.key(5)))


@pytest.mark.exhaustive
def test_only_the_factors_are_trained_and_merging_gives_the_same_model():
    params, state = trained()
    task = starting_from(TASK, params, state)
    adapted = lora(task, 2, alpha=4.0)
    factors, _ = adapted.init(KEY)
    assert list(factors) == ["Dense_0/kernel", "Dense_1/kernel"]
    assert_trees_all_equal(adapted.merge(factors), params)
    run = fit(adapted, adam(0.1), (X, Y), key=KEY, epochs=3, batch_size=8, progress=False)
    merged, after = adapted.merge(run.state.params), run.state.model_state
    assert_trees_all_equal(task.init(KEY)[0], params)  # the base
    assert jax.tree.structure(run.state.params) == jax.tree.structure(factors)
    assert_trees_all_close(
        predict(TASK, merged, after, X), predict(adapted, run.state.params, after, X), rtol=1e-12
    )
    scores = evaluate(adapted, run.state.params, after, X, Y)
    assert scores == pytest.approx(evaluate(TASK, merged, after, X, Y))
    changes = jax.tree.map(lambda new, old: new - old, merged, params)
    for path, change in jax.tree.leaves_with_path(changes):
        is_weight = change.ndim == 2
        assert bool(jnp.any(change != 0)) == is_weight, path
        assert not is_weight or np.linalg.matrix_rank(change, tol=1e-10) <= 2


def test_gradients_are_those_of_the_formula():
    task = line()
    adapted = lora(task, 2, by_path({"^w$": True}, otherwise=False), alpha=3.0)
    factors, state = adapted.init(KEY)
    factors["w"]["b"] = jax.random.normal(KEY, (2, 5))
    batch = Batch(jnp.asarray(X), jnp.asarray(Y))

    def mean(of, params):
        return of.loss(params, state, batch, key=KEY, train=True)[0].mean()

    merged = adapted.merge(factors)
    a, b, g = factors["w"]["a"], factors["w"]["b"], jax.grad(lambda p: mean(task, p))(merged)["w"]
    found = jax.grad(lambda p: mean(adapted, p))(factors)
    expected = {"w": {"a": 1.5 * g @ b.T, "b": 1.5 * a.T @ g}}
    assert_trees_all_close(found, expected, rtol=1e-10)
    base = task.init(KEY)[0]
    assert_trees_all_close(merged, base | {"w": base["w"] + 1.5 * a @ b}, rtol=1e-12)


def test_stacks_of_matrices_have_factors_of_their_own():
    init = lambda key: {"layers": jnp.ones((4, 6, 6))}
    task = function_task(init, lambda p, x: x, problem("regression"))
    adapted = lora(starting_from(task, init(KEY)), 3)
    factors = adapted.init(KEY)[0]["layers"]
    assert (factors["a"].shape, factors["b"].shape) == ((4, 6, 3), (4, 3, 6))
    factors["b"] = jnp.ones((4, 3, 6))
    change = adapted.merge({"layers": factors})["layers"] - 1
    assert_trees_all_close(change[2], factors["a"][2] @ factors["b"][2], rtol=1e-12)


@pytest.mark.exhaustive
def test_its_strength_is_data_and_other_wrappers_keep_it():
    task = line()

    def final(alpha):
        adapted = augmented(lora(mixed_precision(task), 1, alpha=alpha), lambda key, x: x)
        train = make_train(lambda _: (adapted, sgd(0.1)), (X, Y), steps=3, batch_size=8)
        return adapted.merge(train(KEY).state.params)["w"]

    found = jax.vmap(final)(jnp.array([0.0, 2.0]))
    base = task.init(KEY)[0]["w"]
    assert_trees_all_close(found[0], base)
    assert not jnp.allclose(found[1], base)


def test_what_cannot_be_adapted_is_refused(as_users_run_it):
    task = line()
    for options, error, said in [
        ({"rank": 0}, ValueError, r"`rank` must lie in \[1, inf\)"),
        ({"rank": 4}, ValueError, r"a matrix of at least rank 4, got shape \(5, 3\) at v"),
        ({"rank": 1, "select": {"w": False, "v": False, "b": True}}, ValueError, "at b"),
        ({"rank": 1, "select": lambda p: False}, ValueError, "at least one parameter, got none"),
        (
            {"rank": 1, "alpha": None, "select": by_path({"w": 3}, False)},
            TypeError,
            "`select` must be True or False, got 3",
        ),
        ({"rank": 1, "alpha": jnp.nan}, ValueError, "`alpha` must lie in"),
    ]:
        with pytest.raises(error, match="^lora: .*" + said):
            lora(task, **options)
    with pytest.raises(ValueError, match="must start from given parameters"):
        lora(TASK, 1)
    with pytest.raises(TypeError, match="`task` must be a Task, got"):
        lora(nn.Dense(3), 1)
