"""A whole training as one pure function: reproducible, mapped, differentiated, weighted."""

import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, nesterov, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import OutcomeCode, Rows, evaluate, make_train
from jaxopt_course.transforms import lookahead_params

from .problems import HYPERPARAMETERS, N, blobs, build, counting_task, line, line_task


ROWS = Rows(jnp.arange(40), jnp.ones(40), jnp.arange(40, N))
OPTIONS = {"epochs": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def train():
    return make_train(build, blobs(), **OPTIONS)


@pytest.fixture(scope="module")
def run(train):
    return jax.jit(train)(jax.random.key(0), HYPERPARAMETERS)


def test_a_training_learns(key):
    def build(hyperparameters):
        model = MLP(3, (8,), param_dtype=jnp.float64)
        task = linen_task(model, jnp.zeros((1, 4)), problem("multiclass"))
        return task, adam(0.02)

    train = jax.jit(make_train(build, blobs(), epochs=40, batch_size=8))
    begin = time.perf_counter()
    run = jax.block_until_ready(train(key))
    compiled = time.perf_counter()
    jax.block_until_ready(train(key))
    seconds = (compiled - begin, time.perf_counter() - compiled)
    print("compile and run {:.2f} s, run again {:.4f} s for 280 steps".format(*seconds))  # noqa: T201
    assert run.history["loss"][-1] < 0.2 < run.history["loss"][0]
    assert run.history["accuracy"][-1] > 0.9
    chex.assert_trees_all_equal(run.history["step"], 7 * jnp.arange(1, 41, dtype=jnp.int32))
    assert (run.outcome.code, run.outcome.step) == (OutcomeCode.COMPLETED, 280)
    means = evaluate(build(None)[0], run.best_params, run.best_model_state, *blobs())
    assert means["loss"] < 0.2


def test_the_same_key_gives_the_same_bits_and_another_key_does_not(train, run):
    again = jax.jit(train)(jax.random.key(0), HYPERPARAMETERS)
    chex.assert_trees_all_equal(run, again)
    other = jax.jit(train)(jax.random.key(1), HYPERPARAMETERS)
    assert not jnp.array_equal(
        run.state.params["Dense_0"]["kernel"], other.state.params["Dense_0"]["kernel"]
    )


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_an_epoch_sees_every_row_once_and_each_step_has_a_key_of_its_own(batch_size, key):
    n = 12
    data = (np.arange(n), np.zeros(n))
    build = lambda _: (counting_task(n), sgd(0.1))
    train = make_train(build, data, epochs=3, batch_size=batch_size)
    run = jax.jit(train)(key)
    chex.assert_trees_all_equal(run.state.model_state["seen"], jnp.full(n, 3.0))
    assert int(run.state.step) == 3 * -(-n // batch_size)
    assert len(set(run.state.model_state["draws"].tolist())) == 3


GRID = {
    "learning_rate": jnp.array([0.005, 0.02, 0.05]),
    "weight_decay": jnp.array([0.0, 1e-2, 1e-1]),
    "dropout": jnp.array([0.0, 0.2, 0.5]),
    "momentum": jnp.array([0.5, 0.8, 0.9]),
    "smoothing": jnp.array([0.0, 0.1, 0.2]),
}


@pytest.mark.exhaustive
def test_hyperparameters_seeds_and_rows_map_as_if_one_by_one(train):
    keys = jax.random.split(jax.random.key(2), 3)
    folds = Rows(
        train=jnp.stack([jnp.roll(jnp.arange(N), shift)[:40] for shift in (0, 10, 20)]),
        weights=jax.random.uniform(jax.random.key(4), (3, 40)),
        validation=jnp.stack([jnp.roll(jnp.arange(N), shift)[40:] for shift in (0, 10, 20)]),
    )
    members = (keys, GRID, folds)
    one_by_one = [jax.jit(train)(*jax.tree.map(lambda x, i=i: x[i], members)) for i in range(3)]
    expected = jax.tree.map(
        lambda *x: jnp.stack(x), *(run._replace(state=run.state.params) for run in one_by_one)
    )
    drop_keys = lambda run: run._replace(state=run.state.params)
    mapped = drop_keys(jax.jit(lambda m: jax.lax.map(lambda a: train(*a), m))(members))
    chex.assert_trees_all_equal(mapped, expected)
    together = drop_keys(jax.jit(jax.vmap(train))(*members))
    # Batched products round differently; 18 steps of AdamW carry 1e-16 to at most about 1e-9.
    chex.assert_trees_all_close(together, expected, rtol=1e-7, atol=1e-9)
    losses = together.history["validation_loss"][:, -1]
    assert len(set(np.asarray(losses).tolist())) == 3


def test_twenty_values_compile_once(key):
    traces = []

    def build_and_count(hyperparameters):
        traces.append(1)
        return line_task(), sgd(hyperparameters)

    train = jax.jit(make_train(build_and_count, line(), epochs=2, batch_size=5))
    losses = [float(train(key, rate).history["loss"][-1]) for rate in np.linspace(0.01, 0.2, 20)]
    assert len(traces) == train._cache_size() == 1
    assert losses == sorted(set(losses), reverse=True)


@pytest.mark.exhaustive
def test_the_meta_gradient_is_that_of_central_differences(key):
    train = make_train(build, blobs(), steps=5, batch_size=16)

    def final_loss(hyperparameters):
        return train(key, hyperparameters, ROWS).history["validation_loss"][-1]

    names, h = ["learning_rate", "weight_decay", "momentum", "smoothing"], 1e-5
    shifts = [{}, *({name: sign * h} for name in names for sign in (1, -1))]
    points = {
        name: jnp.array([value + shift.get(name, 0.0) for shift in shifts])
        for name, value in HYPERPARAMETERS.items()
    }
    losses, gradients = jax.jit(jax.vmap(jax.value_and_grad(final_loss)))(points)
    chex.assert_tree_all_finite(gradients)
    for i, name in enumerate(names):
        slope = float(losses[2 * i + 1] - losses[2 * i + 2]) / (2 * h)
        # the error of the difference is h^2 = 1e-10 times the third derivative
        assert float(gradients[name][0]) == pytest.approx(slope, rel=1e-4, abs=1e-7)
        assert abs(slope) > 1e-6


@pytest.mark.exhaustive
def test_integer_weights_are_repeated_rows(key):
    data, counts = line(), np.array([0, 1, 2, 3] * 3)
    kept = np.arange(12)[counts > 0]
    weighted = Rows(jnp.asarray(kept), jnp.asarray(counts[kept], float))
    repeated = Rows(jnp.asarray(np.repeat(np.arange(12), counts)))

    def final(rows):
        train = make_train(
            lambda _: (line_task(), sgd(0.1)), data, epochs=5, batch_size=len(rows.train)
        )
        run = jax.jit(train)(key, None, rows)
        return run.state.params, run.history

    # sums in another order: rounding only
    chex.assert_trees_all_close(final(weighted), final(repeated), rtol=1e-12)


def test_the_ragged_last_batch_takes_the_gradient_of_its_rows_alone(key):
    # Every batch of 5 of 7 rows that are all alike has the same mean: so has the last, of 2.
    inputs, targets = jnp.ones((7, 2)), jnp.full((7, 1), 3.0)
    make = lambda size: make_train(
        lambda _: (line_task(), sgd(0.05)), (inputs, targets), steps=4, batch_size=size
    )
    ragged, full = (jax.jit(make(size))(key).state.params for size in (5, 7))
    chex.assert_trees_all_close(ragged, full, rtol=1e-12)


def test_the_history_of_an_epoch_is_the_mean_over_its_examples(key):
    data = line(7)
    train = make_train(lambda _: (line_task(), sgd(0.0)), data, epochs=1, batch_size=3)
    run = jax.jit(train)(key, None, Rows(jnp.arange(7), None, jnp.arange(7)))
    exact = float(jnp.mean(data.targets**2))  # the model says 0 throughout
    assert float(run.history["loss"][0]) == pytest.approx(exact, rel=1e-12)
    assert float(run.history["validation_loss"][0]) == pytest.approx(exact, rel=1e-12)


def test_an_interval_without_an_example_that_counts_ends_nothing(key):
    train = make_train(
        lambda _: (line_task(), sgd(0.1)), line(), epochs=1, batch_size=1, evaluate_every=1
    )
    run = jax.jit(train)(key, None, Rows(jnp.arange(12), jnp.array([0.0, 1.0] * 6)))
    assert OutcomeCode(int(run.outcome.code)) is OutcomeCode.COMPLETED
    assert np.isnan(run.history["loss"]).sum() == 6


@pytest.mark.parametrize(("steps", "every", "grid"), [(7, 3, [3, 6, 7]), (2, 5, [2])])
def test_evaluations_lie_on_their_grid_and_at_the_end(steps, every, grid, key):
    train = make_train(
        lambda _: (line_task(), sgd(0.1)), line(), steps=steps, batch_size=5, evaluate_every=every
    )
    run = jax.jit(train)(key)
    assert run.history["step"].tolist() == grid
    assert int(run.state.step) == steps


def test_gradients_are_taken_where_the_optimizer_looks(key):
    """The literal Nesterov looks where the usual form, which takes them at its params, stands."""
    literal, usual = (
        jax.jit(make_train(lambda _, tx=tx: (line_task(), tx), line(), steps=9, batch_size=12))(key)
        for tx in (nesterov(0.01, 0.9), sgd(0.01, 0.9, nesterov=True))
    )
    looks_at = lookahead_params(literal.state.opt_state, literal.state.params)
    chex.assert_trees_all_close(looks_at, usual.state.params, rtol=1e-12)


@pytest.mark.exhaustive
def test_a_line_search_is_given_what_it_asks_for(key):
    train = make_train(lambda _: (line_task(), optax.lbfgs()), line(), steps=10, batch_size=12)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        run = jax.jit(train)(key)
    assert run.history["loss"][-1] < 1e-10


def test_a_diverging_run_says_when_and_keeps_the_best(key):
    data = line()
    train = make_train(
        lambda rate: (line_task(), sgd(rate)), data, steps=400, batch_size=12, evaluate_every=4
    )
    runs = jax.jit(jax.vmap(train, in_axes=(None, 0)))(key, jnp.array([0.1, 1e3]))
    fine, diverged = (jax.tree.map(lambda x, i=i: x[i], runs) for i in (0, 1))
    assert OutcomeCode(int(fine.outcome.code)) is OutcomeCode.COMPLETED
    assert fine.history["loss"][-1] < 1e-6
    assert OutcomeCode(int(diverged.outcome.code)) is OutcomeCode.DIVERGED
    step = int(diverged.outcome.step)
    losses = np.asarray(diverged.history["loss"])
    first_bad = int(np.argmin(np.isfinite(losses)))
    assert first_bad * 4 <= step < (first_bad + 1) * 4
    assert int(diverged.state.step) == (first_bad + 1) * 4
    assert np.isnan(losses[first_bad + 1 :]).all()
    chex.assert_tree_all_finite(diverged.best_params)
    assert "Lower the learning rate" in str(diverged.outcome)


def test_float64_numpy_data_are_taken_in_the_widths_of_the_process(key):
    data = (np.asarray(line().inputs), np.asarray(line().targets))
    with jax.enable_x64(False):
        init_key = jax.random.key(0)
        train = make_train(lambda _: (line_task(), sgd(0.1)), data, epochs=1, batch_size=5)
        run = jax.jit(train)(init_key)
        assert run.state.params["w"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "exactly one of `epochs` and `steps`"),
        ({"epochs": 1, "steps": 2}, "exactly one of `epochs` and `steps`"),
        ({"epochs": 0}, r"`epochs` must lie in \[1, inf\), got 0"),
        ({"epochs": 1.5}, "`epochs` must be an int"),
        ({"steps": -1}, r"`steps` must lie in \[1, inf\)"),
        ({"epochs": 1, "batch_size": 0}, r"`batch_size` must lie in \[1, inf\), got 0"),
        ({"epochs": 1, "batch_size": None}, "`batch_size` must be an int"),
        ({"epochs": 1, "evaluate_every": 0}, r"`evaluate_every` must lie in \[1, inf\)"),
    ],
)
def test_bad_numbers_are_refused_when_the_training_is_made(options, sentence, as_users_run_it):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make_train(build, blobs(), **{"batch_size": 8} | options)


def test_a_batch_larger_than_the_training_rows_is_refused(key):
    train = make_train(build, blobs(), epochs=1, batch_size=41)
    with pytest.raises(ValueError, match=r"`batch_size` must lie in \[1, 40\].*got 41"):
        train(key, None, ROWS)


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        ((np.zeros((0, 2)), np.zeros(0)), ValueError, "at least one example"),
        (
            (np.zeros((3, 2)), np.zeros(4)),
            ValueError,
            r"example, got 3 rows in `inputs`, 4 rows in `targets`\.",
        ),
        ([np.zeros((3, 2))], TypeError, "`data` must be a pair"),
    ],
)
def test_unfit_data_are_refused(data, error, sentence):
    with pytest.raises(error, match=sentence):
        make_train(build, data, epochs=1, batch_size=1)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (Rows(jnp.array([0, 50])), r"`rows.train` must lie in \[0, 50\), got 50"),
        (Rows(jnp.arange(3), jnp.ones(2)), r"`rows.weights` must have the shape \(3,\)"),
        (
            Rows(jnp.arange(3), None, jnp.arange(2), jnp.ones(3)),
            r"`rows.validation_weights` must have the shape \(2,\)",
        ),
        (
            Rows(jnp.arange(3), None, None, jnp.ones(3)),
            "`rows.validation_weights` needs `rows.validation`",
        ),
        (
            Rows(jnp.arange(3), jnp.array([1.0, -1, 2])),
            r"`rows.weights` must lie in \[0, inf\), got -1.0",
        ),
        (
            Rows(jnp.arange(3), None, jnp.arange(1), jnp.array([jnp.nan])),
            r"`rows.validation_weights` must lie in \[0, inf\), got nan",
        ),
        (Rows(jnp.ones(3)), "vector of at least one integer, got float64"),
        (Rows(jnp.arange(3), None, jnp.array([-1])), r"`rows.validation` must lie in"),
    ],
)
def test_unfit_rows_are_refused(rows, sentence, key, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        make_train(build, blobs(), epochs=1, batch_size=2)(key, None, rows)


def test_a_model_that_cannot_mask_trains_where_no_row_is_padding(key, standard_promotion):
    import flax.linen as linen

    class Maskless(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.Dense(4)(x.astype(jnp.float32))
            x = linen.BatchNorm(use_running_average=not train)(x)
            return linen.Dense(3)(x)

    task = linen_task(Maskless(), jnp.zeros((1, 4)), problem("multiclass"))
    make = lambda size: make_train(lambda _: (task, sgd(0.1)), blobs(), epochs=1, batch_size=size)
    jax.eval_shape(make(10), key)
    with pytest.raises(ValueError, match="takes no `mask`"):
        jax.eval_shape(make(8), key)
