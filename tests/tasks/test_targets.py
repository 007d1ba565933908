"""Concrete targets that the problem does not allow are refused by whatever is given data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import k_fold
from jaxopt_course.diagnostics import gradient_flow, learning_rate_range
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.studies import (
    Float,
    bagging,
    cross_validate,
    ensemble,
    hyperband,
    population_based_training,
    search,
)
from jaxopt_course.tasks import (
    Batch,
    Task,
    augmented,
    function_task,
    mixed,
    mixed_precision,
    targets_check,
)
from jaxopt_course.training import (
    Rows,
    Stream,
    evaluate,
    fit,
    init_state,
    make_population,
    make_train,
    make_training,
)
from tests.tiers import everyday_first


N, BATCH = 12, 4
I = np.arange(N)
X = np.stack([np.sin(I), np.cos(I)], 1)
KEY = jax.random.key(0)
SPACE = {"learning_rate": Float(1e-3, 1e-1, log=True)}


def task_of(name, outputs):
    """A linear model."""
    init = lambda key: {"w": jnp.zeros((2, outputs))}
    return function_task(init, lambda params, x: x @ params["w"], problem(name))


def build(name, outputs):
    return lambda hp: (task_of(name, outputs), sgd(hp["learning_rate"]))


MULTICLASS = task_of("multiclass", 3)
GOOD = I % 3


def with_bad(value, row=7, targets=GOOD):
    return np.where(row == I, value, targets)


def trainer(targets):
    return make_train(build("multiclass", 3), (X, targets), epochs=1, batch_size=BATCH)


def fitted(task, data, **options):
    options = {"epochs": 1, "batch_size": BATCH, "progress": False, **options}
    return fit(task, sgd(0.1), data, key=KEY, **options)


def batches(targets):
    return [(X[i : i + BATCH], targets[i : i + BATCH]) for i in range(0, N, BATCH)]


def training_of(targets):
    return make_training(build("multiclass", 3), (X, targets), batch_size=BATCH)


HP = {"learning_rate": 0.1}
HALF = Rows(jnp.arange(0, N, 2), validation=jnp.arange(1, N, 2))


def last_params(targets):
    train = trainer(targets)
    return lambda key, hp, rows: train(key, HP, rows).state.params["w"]


DRIVERS = {
    "fit": lambda y: fitted(MULTICLASS, (X, y)),
    "stream": lambda y: fitted(MULTICLASS, batches(y), batch_size=None),
    "stream of jax arrays": lambda y: fitted(MULTICLASS, batches(jnp.asarray(y)), batch_size=None),
    "validation": lambda y: fitted(MULTICLASS, Stream(batches(GOOD), (X, y)), batch_size=None),
    "make_train": lambda y: trainer(y)(KEY, HP),
    "make_train in jit": lambda y: jax.jit(trainer(y))(KEY, HP),
    "make_train in vmap": lambda y: jax.vmap(trainer(y), (0, None))(jax.random.split(KEY, 2), HP),
    "make_training": lambda y: training_of(y)(HP).start(KEY),
    "evaluate": lambda y: evaluate(MULTICLASS, *MULTICLASS.init(KEY), X, y),
    "gradient_flow": lambda y: gradient_flow(
        MULTICLASS, init_state(MULTICLASS, sgd(0.1), KEY), Batch(jnp.asarray(X), jnp.asarray(y))
    ),
    "learning_rate_range": lambda y: learning_rate_range(trainer(y), key=KEY, points=2),
    "population": lambda y: make_population(trainer(y), ["key"])(jax.random.split(KEY, 2), HP),
    "search": lambda y: search(trainer(y), SPACE, key=KEY, trials=2, progress=False),
    "cross_validate": lambda y: cross_validate(
        trainer(y), k_fold(KEY, I, 2), key=KEY, hyperparameters=HP
    ),
    "halving": lambda y: hyperband(
        training_of(y), SPACE, key=KEY, rows=HALF, min_steps=2, max_steps=6, progress=False
    ),
    "population_based": lambda y: population_based_training(
        training_of(y), SPACE, key=KEY, rows=HALF, members=2, rounds=2, interval=2, progress=False
    ),
    "ensemble": lambda y: ensemble(last_params(y), key=KEY, members=2),
    "bagging": lambda y: bagging(last_params(y), jnp.arange(N), key=KEY, members=2),
}


@pytest.mark.parametrize("value", everyday_first(1, [-1, 3]))
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_class_number_outside_its_range_is_refused_by_every_driver(driver, value):
    row = 3 if "stream" in driver else 7  # of the second batch of a stream
    sentence = rf"multiclass targets must lie in \[0, 3\), got {value} at row {row}\."
    with pytest.raises(ValueError, match=sentence):
        DRIVERS[driver](with_bad(value))


def test_a_batch_of_a_stream_is_named():
    with pytest.raises(ValueError, match=r"^fit: batch 2 of the stream: multiclass .* at row 1\."):
        fitted(MULTICLASS, batches(with_bad(-1, row=9)), batch_size=None)


BAD = [
    ("binary", 1, I % 2 * 2 - 1, r"must lie in \[0, 1\], got -1 at row 0"),
    ("binary", 1, (I % 2 * 2.0 - 1)[:, None], r"must lie in \[0, 1\], got -1.0 at row 0, column 0"),
    ("binary", 1, with_bad(np.nan, 5, 1.0), r"must lie in \[0, 1\], got nan at row 5"),
    ("multiclass", 3, GOOD + 1, r"must lie in \[0, 3\), got 3 at row 2"),
    ("multiclass", 3, 2.0 * np.eye(3)[GOOD], r"must lie in \[0, 1\], got 2.0 at row 0, column 0"),
    ("multiclass", 3, 0.4 * np.eye(3)[GOOD], r"must have rows that sum to 1, got 0.4 at row 0"),
    ("multilabel", 2, np.full((N, 2), 1.5), r"must lie in \[0, 1\], got 1.5 at row 0, column 0"),
    ("regression", 1, with_bad(np.inf, 5, 1.0), r"must be finite, got inf at row 5"),
    ("unit_regression", 1, I / 8, r"must lie in \[0, 1\], got 1.125 at row 9"),
    ("unit_regression_cross_entropy", 1, -I / 8, r"must lie in \[0, 1\], got -0.125 at row 1"),
]


@pytest.mark.parametrize(("name", "outputs", "targets", "sentence"), BAD)
@pytest.mark.parametrize("dtype", [None, jnp.float16, jnp.bfloat16])
def test_every_problem_names_what_it_allows_and_the_first_bad_row(
    name, outputs, targets, sentence, dtype
):
    if dtype is not None and np.issubdtype(targets.dtype, np.integer):
        return
    if dtype is not None:
        targets, sentence = jnp.asarray(targets, dtype), sentence.replace("got 0.4", "got 0.*")
    with pytest.raises(ValueError, match=rf"^fit: {name} targets {sentence}"):
        fitted(task_of(name, outputs), (X, targets))


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (GOOD.astype(float), r"must be integers in \[0, 3\) or one-hot rows, got float64"),
        (GOOD > 0, r"must be integers in \[0, 3\) or one-hot rows, got bool"),
        (np.array(["cat", "dog", "cow"])[GOOD], "`targets` must hold numbers, got <U3"),
        (np.array(["cat", "dog", "cow"], object)[GOOD], "`targets` must hold numbers, got object"),
        (GOOD.tolist(), "`targets` must be an array, or a pytree of arrays.*, got 0 as a leaf"),
        (list(GOOD), "`targets` must be an array, or a pytree of arrays"),
        (["cat"] * N, "`targets` must be an array, or a pytree of arrays.*, got 'cat'"),
    ],
)
def test_targets_of_another_kind_are_refused_by_one_sentence(targets, sentence):
    with pytest.raises(TypeError, match=rf"^fit: .*{sentence}"):
        fitted(MULTICLASS, (X, targets))
    with pytest.raises(TypeError, match=sentence):
        evaluate(MULTICLASS, *MULTICLASS.init(KEY), X, targets)
    with pytest.raises(TypeError, match=sentence):
        fitted(MULTICLASS, [(X, targets)], batch_size=None)
    with pytest.raises(TypeError, match=sentence):
        trainer(targets)(KEY, HP)


@pytest.mark.parametrize(
    ("name", "outputs", "targets"),
    [
        ("binary", 1, I % 2 == 0),
        ("binary", 1, I / 11),  # probabilities
        ("binary", 1, (I % 2)[:, None].astype(np.uint8)),
        ("multiclass", 3, np.eye(3)[GOOD]),
        ("multiclass", 3, np.full((N, 3), 1 / 3, np.float16)),
        ("multiclass", 3, GOOD.astype(np.uint8)),
        ("multilabel", 2, np.ones((N, 2), bool)),
        ("regression", 1, I - 5),
        ("regression", 1, np.full(N, 65504, np.float16)),
        ("unit_regression", 1, np.eye(2)[I % 2][:, :1]),
    ],
)
def test_what_a_problem_allows_trains(name, outputs, targets):
    targets_check(task_of(name, outputs), X)("fit", targets)
    targets_check(task_of(name, outputs), X)("fit", jnp.asarray(targets))


def test_positions_of_a_sequence_have_class_numbers_of_their_own():
    init = lambda key: {"w": jnp.zeros((2, 5, 3))}
    apply = lambda params, x: jnp.einsum("bi,ijk->bjk", x, params["w"])
    check = targets_check(function_task(init, apply, problem("multiclass")), X)
    targets = np.tile(np.array([0, 1, 2, 0, 1]), (N, 1))
    check("fit", targets)
    check("fit", np.eye(3)[targets])
    targets[4, 2] = 3
    with pytest.raises(ValueError, match=r"lie in \[0, 3\), got 3 at row 4, column 2"):
        check("fit", targets)


@pytest.mark.exhaustive
def test_rows_that_are_not_used_may_hold_anything():
    bad, others = with_bad(-1), np.delete(I, 7)
    fitted(MULTICLASS, (X, bad), rows=Rows(others))
    fitted(MULTICLASS, (X, bad), rows=Rows(I, np.where((I == 7), 0.0, 1.0)))
    trainer(bad)(KEY, HP, Rows(others[:5], validation=others[5:]))
    weighted = [(x, y, (y >= 0).astype(float)) for x, y in batches(bad)]
    fitted(MULTICLASS, weighted, batch_size=None)
    for rows in (Rows(I), Rows(others, validation=I[7:8])):
        with pytest.raises(ValueError, match="got -1 at row 7"):
            fitted(MULTICLASS, (X, bad), rows=rows)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "wrapper",
    [
        mixed_precision,
        lambda t: augmented(t, lambda key, x: x),
        lambda t: mixed(t, 1.0, n_classes=3),
    ],
)
def test_a_wrapped_task_knows_its_problem(wrapper):
    with pytest.raises(ValueError, match="got -1 at row 7"):
        fitted(wrapper(MULTICLASS), (X, with_bad(-1)))
    fitted(wrapper(MULTICLASS), (X, GOOD))


def test_a_task_of_ones_own_and_a_problem_of_any_targets_are_not_checked():
    own = Task(MULTICLASS.init, MULTICLASS.loss, MULTICLASS.predict)
    targets_check(own, X)("fit", with_bad(-1))
    hinge = dataclasses.replace(
        problem("binary"),
        targets="any",
        loss=lambda outputs, targets: jax.nn.relu(1 - outputs[:, 0] * targets),
        metrics={},
    )
    init = lambda key: {"w": jnp.zeros((2, 1))}
    task = function_task(init, lambda params, x: x @ params["w"], hinge)
    assert fitted(task, (X, I % 2 * 2.0 - 1)).outcome.code == 0


def test_traced_targets_pass_and_come_out_as_nan():
    state = MULTICLASS.init(KEY)
    losses = jax.jit(lambda y: targets_check(MULTICLASS, X)("fit", y) or y)(
        jnp.asarray(with_bad(9))
    )
    assert losses.shape == (N,)
    found = jax.jit(
        lambda y: MULTICLASS.loss(*state, Batch(jnp.asarray(X), y), key=None, train=False)
    )
    for value in (-1, -3, 3, 300):
        losses, (_, metrics) = found(jnp.asarray(with_bad(value)))
        for values in (losses, metrics["accuracy"]):
            assert np.array_equal(np.isnan(values), (I == 7))


def test_an_array_of_an_accelerator_is_copied_block_by_block():
    from jaxopt_course.tasks._task import copied_blocks  # no public name reaches it on a CPU

    array = jnp.arange(20.0).reshape(10, 2)

    def joined(_):
        blocks = list(copied_blocks(array, block=3 * array[:1].nbytes))
        assert [begin for begin, _ in blocks] == [0, 3, 6, 9]
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), array)
        return 0

    joined(0)
    jax.jit(joined)(0)  # the array has values, though the function is traced


def test_nothing_of_the_targets_is_copied():
    """Of 40 MB of targets on the host, the check allocates less than a hundredth."""
    import tracemalloc

    check = targets_check(task_of("regression", 1), X)
    for targets in (np.ones(5_000_000), jnp.ones(5_000_000)):
        tracemalloc.start()
        check("fit", targets)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < targets.nbytes / 100
