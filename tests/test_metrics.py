import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxopt_course import metrics
from jaxopt_course.problems import problem


@pytest.fixture
def classes(key):
    scores = jax.random.normal(key, (60, 5))
    return scores, jax.random.randint(key, (60,), 0, 5)


@pytest.fixture
def bits(key):
    scores = jax.random.normal(key, (60, 3))
    noise = 0.5 * jax.random.normal(jax.random.fold_in(key, 1), scores.shape)
    return scores, (scores + noise > 0).astype(jnp.int32)


def as_numpy(*arrays):
    return tuple(np.array(x) for x in arrays)


def test_accuracy_agrees_with_scikit_learn(classes):
    scores, targets = classes
    y, t = as_numpy(scores.argmax(-1), targets)
    ours = metrics.accuracy(scores, targets)
    assert float(ours.mean()) == sklearn.metrics.accuracy_score(t, y)
    chex.assert_trees_all_equal(ours, metrics.accuracy(scores, jax.nn.one_hot(targets, 5)))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_agrees_with_scikit_learn(k, classes):
    scores, targets = classes
    s, t = as_numpy(*classes)
    ours = float(metrics.top_k_accuracy(scores, targets, k).mean())
    expected = sklearn.metrics.top_k_accuracy_score(t, s, k=k) if k < 5 else 1.0
    assert ours == pytest.approx(expected, rel=1e-12)


def test_the_number_of_a_class_does_not_wrap_around():
    scores, targets = jax.nn.one_hot(jnp.array([256, 3]), 300), jnp.array([0, 3], jnp.uint8)
    for values in (metrics.accuracy(scores, targets), metrics.top_k_accuracy(scores, targets, 1)):
        np.testing.assert_array_equal(values, [0, 1])


def test_a_model_that_says_the_same_of_all_classes_knows_no_more_than_k_of_them():
    scores, targets = jnp.zeros((4, 4)), jnp.arange(4)
    assert float(metrics.top_k_accuracy(scores, targets, 2).mean()) == 0.5
    assert float(metrics.accuracy(scores, targets).mean()) == 0.25


def test_label_metrics_agree_with_scikit_learn(bits):
    scores, targets = bits
    y, t = as_numpy(scores > 0, targets)
    by_label = metrics.binary_accuracy(scores, targets)
    exact = metrics.exact_match(scores, targets)
    assert by_label.shape == (60, 3)
    assert float(by_label.mean()) == pytest.approx(1 - sklearn.metrics.hamming_loss(t, y))
    assert float(exact.mean()) == pytest.approx(sklearn.metrics.accuracy_score(t, y))
    probabilities = jax.nn.sigmoid(scores)
    chex.assert_trees_all_equal(metrics.binary_accuracy(probabilities, targets, 0.5), by_label)
    chex.assert_trees_all_equal(metrics.exact_match(probabilities, targets, 0.5), exact)


def test_the_threshold_can_be_vmapped(bits):
    scores, targets = bits
    thresholds = jnp.array([-0.5, 0.0, 0.5])
    together = jax.vmap(lambda at: metrics.exact_match(scores, targets, at))(thresholds)
    one_by_one = [metrics.exact_match(scores, targets, float(at)) for at in thresholds]
    chex.assert_trees_all_equal(together, jnp.stack(one_by_one))


@pytest.mark.parametrize("shape", [(30,), (30, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_metrics_agree_with_scikit_learn(shape, weighted, key):
    targets, noise = jax.random.normal(key, (2, *shape))
    outputs = targets + 0.3 * noise
    weights = jax.random.randint(key, (30,), 0, 3) if weighted else None
    y, t = as_numpy(outputs, targets)
    w = np.array(weights) if weighted else None
    ours = float(jax.jit(metrics.r2)(outputs, targets, weights))
    assert ours == pytest.approx(sklearn.metrics.r2_score(t, y, sample_weight=w), rel=1e-12)
    rows = metrics.mean_absolute_error(outputs, targets)
    ours = float(metrics.weighted_mean(rows, jnp.ones(30) if weights is None else weights))
    theirs = sklearn.metrics.mean_absolute_error(t, y, sample_weight=w)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_r2_of_constant_targets_is_one_if_met_and_else_zero():
    targets = jnp.ones((4, 2))
    for outputs in (targets, targets.at[0, 0].set(2.0)):
        theirs = sklearn.metrics.r2_score(*as_numpy(targets, outputs))
        assert float(metrics.r2(outputs, targets)) == theirs


@pytest.mark.parametrize("weighted", [False, True])
def test_the_confusion_matrix_and_its_rates_agree_with_scikit_learn(weighted, classes, key):
    scores, targets = classes
    targets = jnp.where(targets == 4, 0, targets)  # class 4 does not occur
    predicted = jnp.where(scores.argmax(-1) == 3, 2, scores.argmax(-1))  # 3 is never said
    weights = jax.random.randint(key, (60,), 0, 3).astype(jnp.float32) if weighted else None
    y, t = as_numpy(predicted, targets)
    w = np.array(weights) if weighted else None
    matrix = jax.jit(lambda *a: metrics.confusion_matrix(a[0], a[1], 5, a[2]))(
        predicted, targets, weights
    )
    assert matrix.dtype == (jnp.float32 if weighted else jnp.int32)
    theirs = sklearn.metrics.confusion_matrix(t, y, labels=range(5), sample_weight=w)
    np.testing.assert_array_equal(matrix, theirs)
    rates = sklearn.metrics.precision_recall_fscore_support(
        t, y, labels=range(5), sample_weight=w, zero_division=0
    )
    functions = (metrics.precision, metrics.recall, metrics.f1_score)
    for function, expected in zip(functions, rates, strict=False):
        np.testing.assert_allclose(function(matrix), expected, rtol=1e-6 if weighted else 1e-12)


def test_the_confusion_matrix_does_not_count_what_lies_outside():
    matrix = metrics.confusion_matrix(jnp.array([0, -1, 2, 1]), jnp.array([0, 1, 1, -1]), 2)
    np.testing.assert_array_equal(matrix, [[1, 0], [0, 0]])


def test_weighted_mean_ignores_padding_rows_also_where_they_are_nan():
    values, weights = jnp.array([1.0, 4.0, jnp.nan]), jnp.array([2.0, 1.0, 0.0])
    mean, slopes = jax.value_and_grad(metrics.weighted_mean)(values, weights)
    assert float(mean) == 2.0
    chex.assert_trees_all_close(slopes, jnp.array([2 / 3, 1 / 3, 0]))


def test_weighted_mean_of_nothing_is_zero_with_zero_slopes():
    values, weights = jnp.array([1.0, 4.0]), jnp.zeros(2)
    mean, slopes = jax.value_and_grad(metrics.weighted_mean)(values, weights)
    assert float(mean) == 0.0
    chex.assert_trees_all_equal(slopes, jnp.zeros(2))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_metrics_come_in_float32_or_wider(dtype):
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    scores, bits = jnp.ones((3, 2), dtype), jnp.ones((3, 2), jnp.int32)
    classes = jnp.zeros(3, jnp.int32)
    values = jax.eval_shape(
        lambda: (
            metrics.accuracy(scores, classes),
            metrics.top_k_accuracy(scores, classes, 1),
            metrics.binary_accuracy(scores, bits),
            metrics.exact_match(scores, bits),
            metrics.mean_absolute_error(scores, bits),
            metrics.r2(scores, bits),
            metrics.weighted_mean(scores[:, 0], bits[:, 0]),
        )
    )
    assert all(value.dtype == wide for value in values)
    # 4096 ones: a bfloat16 sum would stop at 256.
    ones = jnp.ones(4096, dtype)
    assert float(metrics.weighted_mean(ones, ones)) == 1
    counts = metrics.confusion_matrix(jnp.zeros(4096, int), jnp.zeros(4096, int), 1, ones)
    assert float(counts[0, 0]) == 4096


@pytest.mark.usefixtures("as_users_run_it")
class TestBadArguments:
    @pytest.mark.parametrize("name", ["binary_accuracy", "exact_match", "mean_absolute_error"])
    def test_shapes_that_merely_broadcast_are_refused(self, name):
        with pytest.raises(ValueError, match=rf"{name}: `targets` has shape \(3, 1\), `outputs`"):
            getattr(metrics, name)(jnp.ones(3), jnp.ones((3, 1)))

    def test_class_numbers_must_fit_the_outputs(self):
        with pytest.raises(ValueError, match=r"accuracy: `targets` has shape \(3, 1\), `outputs`"):
            metrics.accuracy(jnp.ones((3, 5)), jnp.ones((3, 1), jnp.int32))
        with pytest.raises(ValueError, match=r"`targets` has shape \(4,\), one class of the"):
            metrics.top_k_accuracy(jnp.ones((3, 5)), jnp.ones(4, jnp.int32), 2)

    def test_weights_must_fit_the_values(self):
        with pytest.raises(ValueError, match=r"weighted_mean: `weights` has shape \(3, 1\)"):
            metrics.weighted_mean(jnp.ones(3), jnp.ones((3, 1)))

    def test_k_must_lie_within_the_classes(self):
        with pytest.raises(ValueError, match=r"top_k_accuracy: `k` must lie in \[1, 5\], got 6"):
            metrics.top_k_accuracy(jnp.ones((3, 5)), jnp.ones(3, jnp.int32), 6)


def test_perplexity_is_the_exponential_of_the_mean_loss():
    losses, weights = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([3.0, 1.0, 0.0])
    chex.assert_trees_all_close(metrics.perplexity(losses, weights), jnp.exp(1.5), rtol=1e-12)
    uniform = problem("next_byte").loss(jnp.zeros((2, 5, 256)), jnp.ones((2, 5), jnp.int32))
    chex.assert_trees_all_close(metrics.perplexity(uniform), 256.0, rtol=1e-12)


def test_bits_per_byte_count_halvings():
    row = problem("next_byte")
    outputs, targets = jnp.log(jnp.array([[[0.5, 0.25, 0.25]] * 2])), jnp.array([[0, 2]])
    found = row.metrics["bits_per_byte"](outputs, targets)
    chex.assert_trees_all_close(found, jnp.array([1.5]), rtol=1e-12)
    per_byte = metrics.bits_per_byte(jnp.log(jnp.array([16.0])), bytes_per_token=4.0)
    chex.assert_trees_all_close(per_byte, jnp.array([1.0]), rtol=1e-12)
    with pytest.raises(ValueError, match=r"`bytes_per_token` must lie in \(0, inf\)"):
        metrics.bits_per_byte(jnp.ones(2), 0.0)
