"""Many trainings in one program: which member gets what, and the bits that it has alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import bootstrap_weights, k_fold
from jaxopt_course.optimizers import sgd
from jaxopt_course.training import OutcomeCode, Rows, make_population, make_train
from jaxopt_course.transforms import apply_updates

from .problems import line, line_task


KEYS = jax.random.split(jax.random.key(0), 2)
RATES = {"learning_rate": jnp.array([0.01, 0.1, 0.3])}
FOLDS = Rows(jnp.arange(12).reshape(2, 6), None, jnp.arange(12).reshape(2, 6)[::-1])


def told(key, hyperparameters, rows):
    """What a member was given, as one row."""
    parts = (jax.random.key_data(key), hyperparameters["learning_rate"], rows.train)
    return jnp.concatenate([jnp.ravel(jnp.asarray(part, float)) for part in parts])


@pytest.mark.parametrize(
    ("strategy", "chunk_size"),
    [("map", None), ("chunk", 1), ("chunk", 5), ("chunk", 50), ("vmap", None)],
)
def test_members_get_their_arguments_however_they_are_run(strategy, chunk_size):
    run = make_population(
        told, ("hyperparameters", "rows", "key"), strategy=strategy, chunk_size=chunk_size
    )
    one = lambda x, i: jax.tree.map(lambda leaf: leaf[i], x)
    expected = [
        [[told(KEYS[s], one(RATES, c), one(FOLDS, f)) for s in range(2)] for f in range(2)]
        for c in range(3)
    ]
    np.testing.assert_array_equal(jax.jit(run)(KEYS, RATES, FOLDS), expected)


def test_no_more_members_are_run_at_a_time_than_there_are(key):
    sizes = []

    def count(key, hyperparameters, rows):
        jax.debug.callback(lambda _: sizes.append(1), hyperparameters)
        return hyperparameters

    run = make_population(count, ("hyperparameters",), strategy="chunk", chunk_size=8)
    jax.block_until_ready(run(key, jnp.arange(3.0)))
    jax.effects_barrier()
    assert len(sizes) == 3


def test_arguments_may_vary_together_or_along_two_axes():
    together = make_population(told, [("key", "rows")])(KEYS, {"learning_rate": 0.1}, FOLDS)
    expected = [told(KEYS[i], {"learning_rate": 0.1}, Rows(FOLDS.train[i])) for i in range(2)]
    np.testing.assert_array_equal(together, expected)
    table = {"learning_rate": jnp.arange(6.0).reshape(2, 3)}
    twice = make_population(
        lambda key, hyperparameters, rows: hyperparameters["learning_rate"],
        ("hyperparameters", "hyperparameters"),
    )
    np.testing.assert_array_equal(twice(KEYS[0], table), table["learning_rate"])


def test_a_member_has_the_bits_that_it_has_alone_and_disturbs_no_other():
    """The second rate diverges."""
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["learning_rate"]))
    train = make_train(build, line(), epochs=4, batch_size=4)
    rates = {"learning_rate": jnp.array([0.1, 1e200, 0.2])}
    runs = jax.jit(make_population(train, ("hyperparameters", "key")))(KEYS, rates)
    compiled = jax.jit(train)
    for c in range(3):
        for s in range(2):
            alone = compiled(KEYS[s], jax.tree.map(lambda x, c=c: x[c], rates))
            own = jax.tree.map(lambda x, c=c, s=s: x[c, s], runs)
            chex.assert_trees_all_equal(own, alone)
    assert (runs.outcome.code[1] == OutcomeCode.DIVERGED).all()
    assert (runs.outcome.code[::2] == OutcomeCode.COMPLETED).all()


@pytest.mark.exhaustive
def test_folds_of_unequal_size_are_validated_as_if_each_were_alone(key):
    """Course 5, k-fold cross-validation: 12 rows less a test row, in 3 folds of one program."""
    build = lambda hyperparameters: (line_task(), sgd(0.1))
    train = make_train(build, line(), epochs=2, batch_size=4)
    folds = k_fold(key, np.arange(11), 3)
    run = jax.jit(make_population(train, ("rows",)))
    losses = run(key, None, Rows(*folds)).history["validation_loss"]
    for i in range(3):
        real = folds.validation[i][folds.validation_weights[i] > 0]
        rows = Rows(folds.train[i], folds.weights[i], real)
        alone = jax.jit(train)(key, None, rows).history["validation_loss"]
        np.testing.assert_allclose(losses[i], alone, rtol=1e-12)


@pytest.mark.exhaustive
def test_an_average_over_bags_errs_less_than_its_members_do():
    """Course 2, bagging, ensembles: (mean of p_b - y)^2 <= mean of (p_b - y)^2, in one program."""
    data = line(20)
    noisy = data._replace(targets=data.targets + jax.random.normal(jax.random.key(3), (20, 1)))
    train = make_train(lambda _: (line_task(), sgd(0.1)), noisy, epochs=5, batch_size=4)

    def predictions(key, hyperparameters, weights):
        run = train(key, None, Rows(jnp.arange(12), weights))
        return line_task().predict(run.best_params, run.best_model_state, data.inputs[12:])

    keys = jax.random.split(jax.random.key(1), 10)
    bags = jax.vmap(lambda key: bootstrap_weights(key, 12))(keys)
    members = jax.jit(make_population(predictions, [("key", "rows")]))(keys, None, bags)
    error = lambda p: jnp.mean((p - data.targets[12:]) ** 2)
    assert float(members.std(0).max()) > 0.05
    assert float(error(members.mean(0))) < float(jnp.mean(jax.vmap(error)(members)))


def test_it_is_differentiable():
    """The slope of a population's mean loss is the mean of the members' slopes."""
    loss = lambda w: jnp.sum((w - 1) ** 2)

    def train(key, hyperparameters, rows):
        w = jax.random.normal(key, (2,))
        tx = sgd(hyperparameters)
        return loss(apply_updates(w, tx.update(jax.grad(loss)(w), tx.init(w))[0]))

    run = make_population(train, ("key",), strategy="chunk", chunk_size=2)
    slope = jax.grad(lambda rate: run(KEYS, rate).mean())(0.1)
    slopes = [jax.grad(lambda rate, key=key: train(key, rate, None))(0.1) for key in KEYS]
    np.testing.assert_allclose(slope, np.mean(slopes), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: make_population(told, ()), "`axes` must name an argument for each axis"),
        (lambda: make_population(told, ("key", ())), "`axes` must name an argument for each axis"),
        (lambda: make_population(told, ("keys",)), "Did you mean 'key'"),
        (lambda: make_population(told, ("key",), strategy="serial"), "`strategy` must be one of"),
        (lambda: make_population(told, ("key",), strategy="chunk", chunk_size=0), r"\[1, inf\)"),
        (lambda: make_population(told, ("key",), strategy="vmap", chunk_size=4),
         "make_population: `chunk_size` needs `strategy='chunk'`, got 4"),
        (lambda: make_population(told, ("key",), mesh=jax.make_mesh((1,), ("data",))),
         "`mesh` must have an axis 'pop'"),
        (lambda: make_population(told, [("key", "rows")])(KEYS[:1], RATES, FOLDS),
         "key and rows must have one length .*'key': \\[1\\], 'rows': \\[2\\]"),
        (lambda: make_population(told, ("hyperparameters",))(KEYS[0], {"a": RATES, "b1": 0.9}),
         r"^make_population: hyperparameters\['b1'\] is a scalar, and every leaf needs an axis of "
         "length 3: repeat it, or set it in `build`.$"),
        (lambda: make_population(told, ("rows",))(KEYS, RATES), "rows must have one length"),
        (lambda: make_population(told, ("key",))(KEYS[0], RATES), "key must have one length"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        call()
