import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import losses
from jaxopt_course.problems import PROBLEMS, check_targets, infer_problem, problem


BATCH = 6
TARGETS = {  # targets and the number of outputs
    "binary": (jnp.array([0, 1, 1, 0, 1, 0]), 1),
    "multiclass": (jnp.array([0, 1, 2, 0, 1, 3]), 4),
    "next_byte": (jnp.array([0, 1, 2, 0, 1, 3]), 4),
    "multilabel": (jnp.array([[0, 1], [1, 1]] * 3), 2),
    "regression": (jnp.array([[0.0, -10.0], [3.0, 1.0]] * 3), 2),
    "unit_regression": (jnp.array([0.0, 0.3, 1.0] * 2), 1),
    "unit_regression_cross_entropy": (jnp.array([0.0, 0.3, 1.0] * 2), 1),
}


@pytest.fixture(params=PROBLEMS)
def example(request, key):
    row = problem(request.param)
    targets, n_outputs = TARGETS[row.name]
    return row, 2 * jax.random.normal(key, (BATCH, n_outputs)), targets


def reference(name, p, t):
    """The table of the course, section 3, one example at a time, from the activations."""
    cross_entropy = lambda p, t: -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p))
    return {
        "binary": cross_entropy,
        "multiclass": lambda p, t: -np.log(p[t]),
        "next_byte": lambda p, t: -np.log(p[t]),
        "multilabel": cross_entropy,
        "regression": lambda p, t: np.mean((p - t) ** 2),
        "unit_regression": lambda p, t: np.mean((p - t) ** 2),
        "unit_regression_cross_entropy": cross_entropy,
    }[name](p, t)


def test_the_loss_is_that_of_the_table(example):
    row, outputs, targets = example
    predictions = np.array(row.activation(outputs))
    pairs = zip(predictions, np.array(targets), strict=True)
    expected = np.array([reference(row.name, p, t) for p, t in pairs])
    chex.assert_trees_all_close(jax.jit(row.loss)(outputs, targets), expected, rtol=1e-10)


def check_problem(row, outputs, targets):
    """One finite loss and metric for each example, in float32, and a gradient that descends."""
    functions = [row.loss, *row.metrics.values()]
    evaluate = jax.jit(lambda outputs: [function(outputs, targets) for function in functions])
    for values in evaluate(outputs.astype(jnp.float16)):
        assert values.shape == (BATCH,)
        assert values.dtype == jnp.float32
        assert jnp.isfinite(values).all()
    slope = jax.jit(jax.grad(lambda outputs: row.loss(outputs, targets).mean()))(outputs)
    before, after, extreme = (
        evaluate(x)[0].mean() for x in (outputs, outputs - 0.1 * slope, outputs * 1e4)
    )
    assert after < before
    assert jnp.isfinite(extreme)


def test_every_problem_keeps_the_contract(example):
    check_problem(*example)


@pytest.mark.parametrize(
    "broken",
    [
        lambda outputs, targets: losses.mean_squared_error(outputs, targets).mean(),
        lambda outputs, targets: losses.squared_error(outputs, targets),
        lambda outputs, targets: -losses.mean_squared_error(outputs, targets),
        lambda outputs, targets: jnp.exp(outputs.astype(jnp.float32)).sum(-1),
    ],
    ids=["reduced", "by entry", "uphill", "overflowing"],
)
def test_the_contract_rejects_broken_losses(broken, key):
    row = types.SimpleNamespace(loss=broken, metrics={})
    targets, n_outputs = TARGETS["regression"]
    with pytest.raises(AssertionError):
        check_problem(row, jax.random.normal(key, (BATCH, n_outputs)), targets)


def test_a_perfect_model_scores_full_marks():
    for name in ("binary", "multiclass", "multilabel"):
        row, (targets, n_outputs) = problem(name), TARGETS[name]
        bits = jax.nn.one_hot(targets, n_outputs) if name == "multiclass" else targets
        outputs = 20 * bits.reshape(BATCH, n_outputs).astype(jnp.float64) - 10
        scored = lambda row, *pair: [f(*pair) for f in (*row.metrics.values(), row.loss)]
        *metrics, loss = jax.jit(scored, static_argnums=0)(row, outputs, targets)
        assert all((values == 1).all() for values in metrics)
        np.testing.assert_array_equal(row.predict_label(outputs), targets)
        assert (loss < 1e-3).all()


def test_one_hot_rows_and_class_numbers_are_the_same():
    row, outputs = problem("multiclass"), jnp.array([[1.0, 2.0, 0.5], [0.0, 3.0, 1.0]])
    labels = jnp.array([2, 1])
    for function in (row.loss, row.metrics["accuracy"]):
        rows = function(outputs, jax.nn.one_hot(labels, 3))
        chex.assert_trees_all_close(function(outputs, labels), rows, rtol=1e-12)


@pytest.mark.parametrize("name", ["binary", "regression", "unit_regression"])
def test_a_column_and_a_vector_are_the_same_where_there_is_one_output(name):
    row, x, t = problem(name), jnp.array([0.2, 3.0, -1.0]), jnp.array([1.0, 0.0, 1.0])
    expected = row.loss(x, t)
    for outputs, targets in ((x[:, None], t), (x, t[:, None]), (x[:, None], t[:, None])):
        chex.assert_trees_all_close(row.loss(outputs, targets), expected)
        for metric in row.metrics.values():
            assert metric(outputs, targets).shape == (3,)


def test_outcomes_of_an_example_are_averaged():
    row, outputs = problem("multiclass"), jax.random.normal(jax.random.key(1), (2, 3, 4))
    labels = jnp.array([[0, 1, 2], [3, 0, 1]])
    each = losses.softmax_cross_entropy_with_integer_labels(outputs, labels)
    chex.assert_trees_all_close(row.loss(outputs, labels), each.mean(-1), rtol=1e-12)


def test_predictions_are_probabilities_or_values():
    x = jnp.array([[0.0, 2.0]])
    assert float(problem("multiclass").activation(x).sum()) == pytest.approx(1)
    chex.assert_trees_all_equal(problem("multilabel").activation(x), jax.nn.sigmoid(x))
    chex.assert_trees_all_equal(problem("regression").predict_label(x), x)
    chex.assert_trees_all_equal(problem("unit_regression").predict_label(x), jax.nn.sigmoid(x))
    chex.assert_trees_all_equal(problem("multilabel").predict_label(x), jnp.array([[0, 1]]))


def test_half_precision_sums_do_not_overflow():
    outputs, targets = jnp.full((1, 20), -1e4, jnp.float16), jnp.ones((1, 20), jnp.int32)
    assert float(problem("multilabel").loss(outputs, targets)[0]) == 2e5


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_number_of_outputs_is_read_off_the_targets(name):
    row, (targets, n_outputs) = problem(name), TARGETS[name]
    assert row.n_outputs(targets) == n_outputs
    check_targets(row, targets, n_outputs)
    assert row.n_outputs(jnp.zeros((3, 7))) == 7


def test_classes_are_not_told_apart_by_one_output():
    with pytest.raises(ValueError, match=r"classes in \[2, inf\), got the shape \(4, 1\)"):
        problem("multiclass").loss(jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        ([0, 1, 1], "binary"),
        ([True, False], "binary"),
        ([0, 1, 2], "multiclass"),
        ([[0, 1], [1, 0]], "multiclass"),
        ([[0, 1], [1, 1]], "multilabel"),
        ([0.0, 1.0], "regression"),
    ],
)
def test_the_problem_is_guessed_from_the_targets(targets, name):
    assert infer_problem(np.array(targets)).name == name


@pytest.mark.parametrize(
    ("name", "targets", "n_outputs", "sentence"),
    [
        ("multiclass", [0, 3], 3, r"multiclass targets must lie in \[0, 3\), got 3 at row 1\."),
        ("multiclass", [0, -1], 3, r"targets must lie in \[0, 3\), got -1 at row 1\."),
        ("multiclass", [[1.0, 0, 1]], 3, r"must have rows that sum to 1, got 2.0 at row 0\."),
        ("multiclass", [[0, 1]], 3, r"shape \[rows\] or \[rows, 3\], got \(1, 2\)\."),
        ("binary", [0, 2], 1, r"binary targets must lie in \[0, 1\], got 2 at row 1\."),
        ("multilabel", [[0, 1], [0, 5]], 2, r"must lie in \[0, 1\], got 5 at row 1, column 1\."),
        ("multilabel", [0, 1], 2, r"must have the shape \[rows, 2\], got \(2,\)\."),
        ("regression", [0.0, float("nan")], 1, r"must be finite, got nan at row 1\."),
        ("regression", [[0.0, 1.0]], 1, r"shape \[rows\] or \[rows, 1\], got \(1, 2\)\."),
        ("unit_regression", [0.0, 1.5], 1, r"must lie in \[0, 1\], got 1.5 at row 1\."),
        ("regression", [], 1, r"must have at least one row, got shape \(0,\)\."),
    ],
)
def test_bad_targets_are_refused_by_a_sentence(name, targets, n_outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_targets(problem(name), np.array(targets), n_outputs)


def test_targets_of_the_wrong_kind_are_refused():
    with pytest.raises(
        TypeError, match=r"must be integers in \[0, 2\) or one-hot rows, got float64"
    ):
        check_targets(problem("multiclass"), np.array([0.0, 1.0]), 2)
    with pytest.raises(TypeError, match="call it outside jit"):
        jax.jit(lambda t: check_targets(problem("regression"), t, 1))(jnp.ones(3))


@pytest.mark.usefixtures("as_users_run_it")
class TestBadArguments:
    def test_names_are_no_targets(self):
        with pytest.raises(TypeError, match="map names to class indices first"):
            infer_problem(np.array(["cat", "dog"]))

    @pytest.mark.parametrize("name", PROBLEMS)
    def test_targets_of_another_shape_are_refused(self, name):
        row = problem(name)
        for function in (row.loss, *row.metrics.values()):
            with pytest.raises(ValueError, match=r"has shape \(4,\)"):
                function(jnp.ones((3, 2)), jnp.ones(4, jnp.int32))

    @pytest.mark.parametrize("name", ["multiclass", "multilabel"])
    def test_outputs_without_their_axis_are_refused(self, name):
        with pytest.raises(ValueError, match=r"outputs must have the shape \[batch, n_outputs\]"):
            problem(name).loss(jnp.ones(3), jnp.ones(3))

    def test_an_unknown_name_is_refused_with_a_suggestion(self):
        with pytest.raises(ValueError, match=r"problem: `name` must be one of .*'multiclass'"):
            problem("multi-class")
