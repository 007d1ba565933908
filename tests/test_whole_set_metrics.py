"""Metrics of whole data sets: against scikit-learn, and in evaluations and trainings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxopt_course import metrics
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task, with_metrics
from jaxopt_course.training import (
    EarlyStopping,
    OutcomeCode,
    Rows,
    evaluate,
    fit,
    make_population,
    make_train,
    predict,
)


RNG = np.random.default_rng(0)
N = 200
TIED = np.round(RNG.normal(size=(N, 4)), 1)  # many equal scores
SCORES = {"tied": TIED, "untied": RNG.normal(size=(N, 4)), "constant": np.zeros((N, 4))}
WEIGHTS = {"without weights": None, "weighted": RNG.integers(0, 4, N).astype(float)}
INDICES = RNG.integers(0, 4, N)
BITS = (RNG.normal(size=(N, 4)) + TIED > 0.4).astype(int)
near = functools.partial(pytest.approx, rel=1e-12, abs=1e-12)


def of_arrays(metric):
    """``metric`` of NumPy arrays, as scikit-learn takes them."""
    arrays = lambda xs: [None if x is None else jnp.asarray(x) for x in xs]
    return lambda *xs, **options: metric(*arrays(xs), **options)


roc_auc, average_precision, f1, r2 = map(
    of_arrays, (metrics.roc_auc, metrics.average_precision, metrics.f1, metrics.r2)
)
over = lambda cases: pytest.mark.parametrize("case", cases)
weighted = pytest.mark.parametrize("w", WEIGHTS.values(), ids=WEIGHTS)


def softmax(scores):
    return np.array(jax.nn.softmax(scores))


@weighted
@over(SCORES)
def test_two_classes_agree_with_scikit_learn(case, w):
    s, t = SCORES[case][:, 0], BITS[:, 0]
    oracle = {"sample_weight": w}
    assert float(roc_auc(s, t, w)) == near(sklearn.metrics.roc_auc_score(t, s, **oracle))
    expected = sklearn.metrics.average_precision_score(t, s, **oracle)
    assert float(average_precision(s, t, w)) == near(expected)
    expected = sklearn.metrics.f1_score(t, s > 0.1, **oracle)
    assert float(f1(s, t, w, threshold=0.1)) == near(expected)
    assert float(roc_auc(s[:, None], t, w)) == float(roc_auc(s, t[:, None], w))


@weighted
@over(["tied", "untied"])
def test_several_classes_agree_with_scikit_learn(case, w):
    p = softmax(SCORES[case])
    oracle = {"sample_weight": w}
    expected = sklearn.metrics.roc_auc_score(INDICES, p, multi_class="ovr", **oracle)
    assert float(roc_auc(p, INDICES, w)) == near(expected)
    expected = sklearn.metrics.average_precision_score(INDICES, p, **oracle)
    assert float(average_precision(p, INDICES, w)) == near(expected)
    expected = sklearn.metrics.f1_score(INDICES, p.argmax(-1), average="macro", **oracle)
    assert float(f1(p, INDICES, w)) == near(expected)


@weighted
def test_several_labels_agree_with_scikit_learn(w):
    oracle = {"sample_weight": w}
    expected = sklearn.metrics.roc_auc_score(BITS, TIED, **oracle)
    assert float(roc_auc(TIED, BITS, w)) == near(expected)
    expected = sklearn.metrics.average_precision_score(BITS, TIED, **oracle)
    assert float(average_precision(TIED, BITS, w)) == near(expected)
    expected = sklearn.metrics.f1_score(BITS, TIED > 0.5, average="macro", **oracle)
    assert float(f1(TIED, BITS, w)) == near(expected)
    expected = sklearn.metrics.r2_score(BITS, TIED, **oracle)
    assert float(r2(TIED, BITS, w)) == near(expected)


def test_a_class_that_does_not_occur_does_not_count_in_f1():
    p, t = softmax(TIED)[:, :3], INDICES[:] % 2
    p = np.where(np.arange(3) == 2, 0, p)
    expected = sklearn.metrics.f1_score(t, p.argmax(-1), average="macro")
    assert float(f1(p, t)) == near(expected)


ALL = {"roc_auc": roc_auc, "average_precision": average_precision, "f1": f1}
of_all = pytest.mark.parametrize("metric", ALL.values(), ids=ALL)


@of_all
def test_rows_of_weight_zero_are_as_if_absent(metric):
    s, t, w = (np.append(x, y) for x, y in [(TIED[:, 0], np.nan), (BITS[:, 0], 7), (np.ones(N), 0)])
    assert float(metric(s, t, w)) == near(float(metric(TIED[:, 0], BITS[:, 0])))


@of_all
def test_what_they_cannot_tell(metric):
    assert np.isnan(metric(np.array([np.nan, 1.0]), np.array([0, 1])))
    with pytest.raises(ValueError, match=r"`targets` must lie in \[0, 1\], got -?[1-9]"):
        metric(BITS[:, 0], 10 * SCORES["untied"][:, 0])  # the two arguments swapped
    with pytest.raises(ValueError, match=r"`targets` must lie in \[0, 3\], got 4"):
        metric(TIED, np.full(N, 4))


def test_one_class_alone_has_no_curve():
    assert np.isnan(roc_auc(np.arange(3.0), np.ones(3, int)))
    assert float(average_precision(np.arange(3.0), np.zeros(3, int))) == 0


@of_all
def test_they_map_and_compile(metric):
    mapped = jax.jit(jax.vmap(metric, in_axes=(1, 1)))(TIED, BITS)
    each = [float(metric(TIED[:, i], BITS[:, i])) for i in range(4)]
    np.testing.assert_allclose(mapped, each, rtol=1e-12)


X = RNG.normal(size=(90, 3))
Y = (X[:, 0] + RNG.normal(size=90) > 0).astype(int)
TASK = linen_task(MLP(1, (4,), param_dtype=jnp.float64), X[:1], problem("binary"))
WHOLE = {"roc_auc": metrics.roc_auc, "f1": metrics.f1}
RANKED = with_metrics(TASK, WHOLE)
ROWS = Rows(jnp.arange(60), None, jnp.arange(60, 90), jnp.array(RNG.integers(0, 3, 30), float))
OPTIONS = {"epochs": 4, "batch_size": 7}


def test_evaluate_computes_them_over_all_rows():
    params, state = RANKED.init(jax.random.key(0))
    found = evaluate(RANKED, params, state, X, Y, batch_size=13)
    scores = predict(RANKED, params, state, X)[:, 0]
    assert found["roc_auc"] == near(sklearn.metrics.roc_auc_score(Y, scores))
    assert found["f1"] == near(sklearn.metrics.f1_score(Y, scores > 0.5))
    assert {"loss", "accuracy"} < found.keys()
    nested = with_metrics(with_metrics(TASK, {"a": metrics.f1}), {"b": metrics.roc_auc})
    found = evaluate(nested, params, state, X, Y)
    assert {"a", "b"} < found.keys()


@pytest.mark.exhaustive
def test_trainings_compute_them_over_the_validation_rows():
    train = make_train(lambda _: (RANKED, adam(0.1)), (X, Y), **OPTIONS)
    run = jax.jit(train)(jax.random.key(0), None, ROWS)
    fitted = fit(
        *(RANKED, adam(0.1), (X, Y)), key=jax.random.key(0), rows=ROWS, progress=False, **OPTIONS
    )
    scores = predict(RANKED, run.state.params, run.state.model_state, X[60:])[:, 0]
    expected = sklearn.metrics.roc_auc_score(Y[60:], scores, sample_weight=ROWS.validation_weights)
    for history in (run.history, fitted.history):
        assert float(history["validation_roc_auc"][-1]) == near(expected)
    plain = make_train(lambda _: (TASK, adam(0.1)), (X, Y), **OPTIONS)
    other = jax.jit(plain)(jax.random.key(0), None, ROWS)
    np.testing.assert_array_equal(other.history["loss"], run.history["loss"])


def test_a_population_stops_by_one():
    rule = EarlyStopping(1, min_delta=2.0, monitor="validation_roc_auc", mode="max")
    options = {**OPTIONS, "early_stopping": rule}
    train = make_train(lambda rate: (RANKED, adam(rate)), (X, Y), **options)
    both = make_population(train, ["hyperparameters"])
    runs = jax.jit(both)(jax.random.key(0), jnp.array([0.01, 0.1]), ROWS)
    # No area grows by 2, except from minus infinity: the second evaluation stops.
    assert runs.outcome.code.tolist() == [OutcomeCode.STOPPED_EARLY] * 2
    assert runs.state.step.tolist() == [18, 18]
    assert np.isnan(runs.history["validation_roc_auc"][:, 2:]).all()


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"accuracy": metrics.f1}, "a metric cannot be called 'accuracy'"),
        ({"scores": lambda s, t, w: s}, "'scores' of a whole data set must be one number"),
    ],
)
def test_what_a_task_may_not_compute(own, sentence):
    params, state = TASK.init(jax.random.key(0))
    with pytest.raises(ValueError, match=sentence):
        evaluate(with_metrics(TASK, own), params, state, X, Y)


def test_metrics_have_names():
    with pytest.raises(TypeError, match="metrics"):
        with_metrics(TASK, {"f1": 0.5})
