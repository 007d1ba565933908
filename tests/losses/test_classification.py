import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

from jaxopt_course import losses


DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


def logit(p):
    return jnp.log(p) - jnp.log1p(-p)


# The worked numbers of the course, section 3: its own in log10, with the digits it prints. It
# rounds logarithms first: its categorical number is (.0969 + .0458) / 2 = .07135.

BINARY = jnp.array([0.8, 0.1, 0.3, 0.8]), jnp.array([1.0, 0, 1, 0])
CATEGORICAL = (
    jnp.array([[0.8, 0.1, 0.2], [0.04, 0.06, 0.9]]),
    jnp.array([[1.0, 0, 0], [0, 0, 1]]),
)
MULTILABEL = (
    jnp.array([[0.8, 0.3, 0.9], [0.7, 0.9, 0.1]]),
    jnp.array([[1.0, 0, 1], [1, 1, 0]]),
)
WORKED = {
    "binary": (losses.binary_cross_entropy(*BINARY), 0.34, 2, 0.785479),
    "categorical": (losses.categorical_cross_entropy(*CATEGORICAL), 0.071334, 6, 0.164252),
    "multilabel": (losses.binary_cross_entropy(*MULTILABEL).sum(-1), 0.272, 3, 0.626287),
}


@pytest.mark.parametrize("name", WORKED)
def test_worked_numbers_of_the_course_from_probabilities(name):
    values, stated, digits, natural = WORKED[name]
    assert round(float(values.mean()) / math.log(10), digits) == stated
    assert round(float(values.mean()), 6) == natural


def test_worked_numbers_from_logits():
    (p, y), (q, z) = BINARY, MULTILABEL
    binary = losses.sigmoid_binary_cross_entropy(logit(p), y).mean()
    multilabel = losses.multilabel_cross_entropy(logit(q), z).mean()
    # The first categorical row does not sum to 1, so no logits give it; the second does.
    categorical = losses.softmax_cross_entropy(jnp.log(CATEGORICAL[0][1]), CATEGORICAL[1][1])
    assert round(float(binary), 6) == 0.785479
    assert round(float(multilabel), 6) == 0.626287
    assert float(categorical) == pytest.approx(-math.log(0.9), rel=1e-12)


def test_binary_cross_entropy_is_categorical_for_two_classes(key):
    x = 4 * jax.random.normal(key, (50,))
    y = jax.random.bernoulli(key, 0.4, (50,)).astype(jnp.int32)
    two = jnp.stack([jnp.zeros_like(x), x], -1)  # softmax over (0, x) is (1 - s(x), s(x))
    rows = jax.nn.one_hot(y, 2)

    @jax.jit
    def forms(x, y, two):
        return (
            losses.sigmoid_binary_cross_entropy(x, y),
            losses.binary_cross_entropy(jax.nn.sigmoid(x), y),
            losses.softmax_cross_entropy(two, rows),
            losses.softmax_cross_entropy_with_integer_labels(two, y),
            losses.categorical_cross_entropy(jax.nn.softmax(two), rows),
        )

    first, *others = forms(x, y, two)
    # A probability near 1 has an absolute error of 1e-16, and so has its logarithm.
    for other in others:
        chex.assert_trees_all_close(first, other, rtol=1e-12, atol=1e-13)


# Against peers, in float64.


@pytest.fixture
def logits(key):
    return 3 * jax.random.normal(key, (4, 5, 6))


def masks(x, axis, key):
    """No mask, one of single entries, one of whole examples."""
    entries = jax.random.bernoulli(key, 0.4, x.shape)
    return [None, entries] + ([] if axis is None else [jnp.any(entries, axis)])


@pytest.mark.parametrize("axis", [-1, 1, (0, 2), None])
def test_softmax_cross_entropy_agrees_with_optax(axis, logits, key, standard_promotion):
    labels = jax.nn.softmax(jax.random.normal(jax.random.fold_in(key, 1), logits.shape), axis)
    wheres = masks(logits, axis, key)
    ours, theirs = (
        jax.jit(lambda x, y, f=lib.softmax_cross_entropy: [f(x, y, axis, w) for w in wheres])
        for lib in (losses, optax)
    )
    for our, their in zip(ours(logits, labels), theirs(logits, labels), strict=True):
        # Where nothing takes part, optax's value is that of an empty logarithm: NaN.
        np.testing.assert_allclose(our, np.nan_to_num(their), rtol=1e-12)


@pytest.mark.parametrize("axis", [-1, 1, (0, 2), (2, 0)])
def test_integer_labels_agree_with_optax(axis, logits, key, standard_promotion):
    labels = jax.random.randint(key, jnp.sum(logits, axis).shape, 0, 4)
    wheres = masks(logits, axis, key)
    ours, theirs = (
        jax.jit(lambda x, y, f=f: [f(x, y, axis, where) for where in wheres])
        for f in (
            losses.softmax_cross_entropy_with_integer_labels,
            optax.softmax_cross_entropy_with_integer_labels,
        )
    )
    chex.assert_trees_all_close(ours(logits, labels), theirs(logits, labels), rtol=1e-12)


def test_elementwise_losses_agree_with_optax(logits, key, standard_promotion):
    labels = jax.random.uniform(key, logits.shape)
    for name, targets in (
        ("sigmoid_binary_cross_entropy", labels),
        ("hinge_loss", jnp.sign(labels - 0.5)),
    ):
        ours, theirs = (jax.jit(getattr(lib, name))(logits, targets) for lib in (losses, optax))
        chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


def test_agrees_with_torch(logits, key):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = torch.from_numpy(np.array(logits[0]))
    y = np.array(jax.random.randint(key, (5,), 0, 6))
    chex.assert_trees_all_close(
        losses.softmax_cross_entropy_with_integer_labels(logits[0], jnp.asarray(y)),
        functional.cross_entropy(x, torch.from_numpy(y), reduction="none").numpy(),
        rtol=1e-12,
    )
    bits = np.array(jax.random.bernoulli(key, 0.5, (5, 6)), float)
    chex.assert_trees_all_close(
        losses.sigmoid_binary_cross_entropy(logits[0], jnp.asarray(bits)),
        functional.binary_cross_entropy_with_logits(
            x, torch.from_numpy(bits), reduction="none"
        ).numpy(),
        rtol=1e-12,
    )


def test_agrees_with_scikit_learn(logits, key):
    y = jax.random.randint(key, (20,), 0, 6)
    p = jax.nn.softmax(logits.reshape(20, 6))
    ours = losses.categorical_cross_entropy(p, jax.nn.one_hot(y, 6)).mean()
    theirs = sklearn.metrics.log_loss(np.array(y), np.array(p), labels=range(6))
    assert float(ours) == pytest.approx(theirs, rel=1e-12)
    ours = losses.binary_cross_entropy(p[:, 0], y % 2).mean()
    theirs = sklearn.metrics.log_loss(np.array(y % 2), np.array(p[:, 0]))
    assert float(ours) == pytest.approx(theirs, rel=1e-12)
    ours = losses.hinge_loss(logits[0, 0], jnp.array([-1, 1, 1, -1, 1, -1])).mean()
    theirs = sklearn.metrics.hinge_loss([-1, 1, 1, -1, 1, -1], np.array(logits[0, 0]))
    assert float(ours) == pytest.approx(theirs, rel=1e-12)


def test_the_gradient_is_probability_minus_label(logits):
    x, y = logits[0], jnp.arange(5)
    rows = jax.nn.one_hot(y, 6)
    for loss, labels in (
        (losses.softmax_cross_entropy, rows),
        (losses.softmax_cross_entropy_with_integer_labels, y),
    ):
        slopes = jax.jit(jax.grad(lambda x, loss=loss, y=labels: loss(x, y).sum()))(x)
        chex.assert_trees_all_close(slopes, jax.nn.softmax(x) - rows, atol=1e-14)
    slopes = jax.jit(jax.grad(lambda x: losses.multilabel_cross_entropy(x, rows).sum()))(x)
    chex.assert_trees_all_close(slopes, jax.nn.sigmoid(x) - rows, atol=1e-14)


# Extremes.

EXTREME = [[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, 0.0]]
FROM_LOGITS = {  # loss, labels, the value to expect of each row of EXTREME for class 0
    "sigmoid_binary_cross_entropy": ([[1, 0]] * 4, [0, 2e4, 1e4, 2 * math.log(2)]),
    "multilabel_cross_entropy": ([[1, 0]] * 4, [0, 2e4, 1e4, 2 * math.log(2)]),
    "softmax_cross_entropy": ([[1, 0]] * 4, [0, 2e4, math.log(2), math.log(2)]),
    "softmax_cross_entropy_with_integer_labels": ([0] * 4, [0, 2e4, math.log(2), math.log(2)]),
}


def check_extremes(loss, labels, expected):
    y = jnp.array(labels)
    rows = {jnp.dtype(dtype).name: jnp.array(EXTREME, dtype) for dtype in DTYPES}
    slope = jax.grad(lambda x: loss(x, y).astype(jnp.float32).sum())
    everything = jax.jit(lambda rows: {k: (loss(x, y), slope(x)) for k, x in rows.items()})
    for name, (values, slopes) in everything(rows).items():
        assert values.dtype == slopes.dtype == name
        # One rounding to the dtype; two for a pair of entries.
        tolerance = 2 * float(jnp.finfo(name).eps)
        values = np.array(values, float).reshape(4, -1).sum(-1)
        np.testing.assert_allclose(values, expected, rtol=tolerance)
        assert jnp.isfinite(slopes).all()
        assert (jnp.abs(slopes[1]) == 1).all(), "the gradient of a wrong answer has vanished"


@pytest.mark.parametrize("name", FROM_LOGITS)
def test_extreme_logits_give_exact_losses_and_finite_gradients(name):
    check_extremes(getattr(losses, name), *FROM_LOGITS[name])


def test_the_check_of_extremes_rejects_naive_forms():
    def naive(x, y):
        return -jnp.sum(y.astype(x.dtype) * jnp.log(jax.nn.softmax(x)), -1)

    def clipped(x, y):
        return losses.categorical_cross_entropy(jax.nn.softmax(x), y)

    def cancelling(x, y):
        return jax.nn.logsumexp(x, -1) - x[..., 0]

    labels, expected = FROM_LOGITS["softmax_cross_entropy"]
    for loss in (naive, clipped, cancelling):
        with pytest.raises(AssertionError):
            check_extremes(loss, labels, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_of_zero_and_one_give_finite_losses_and_gradients(dtype):
    p = jnp.array([0.0, 1.0, 0.0, 1.0], dtype)
    y = jnp.array([0, 1, 1, 0])
    for loss in (losses.binary_cross_entropy, losses.categorical_cross_entropy):
        values = loss(p, y)
        slopes = jax.jit(jax.grad(lambda p, loss=loss: loss(p, y).sum()))(p)
        assert values.dtype == dtype
        assert jnp.isfinite(values).all()
        assert jnp.isfinite(slopes).all()
    right, wrong = losses.binary_cross_entropy(p, y).reshape(2, 2)
    assert (right == 0).all()
    chex.assert_trees_all_close(wrong, jnp.full(2, -jnp.log(jnp.finfo(dtype).eps)).astype(dtype))


def test_small_losses_keep_their_digits():
    # -log s(40) = exp(-40) (1 - exp(-40) / 2 + ...)
    loss = losses.sigmoid_binary_cross_entropy(jnp.array([40.0, -40.0]), jnp.array([1, 0]))
    chex.assert_trees_all_close(loss, jnp.full(2, math.exp(-40)), rtol=1e-14)


@pytest.mark.parametrize("integer", [False, True])
def test_an_example_with_nothing_to_count_loses_nothing(integer):
    x, where = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([True, False])
    if integer:
        loss, labels = losses.softmax_cross_entropy_with_integer_labels, jnp.array([0, 1])
    else:
        loss, labels = losses.softmax_cross_entropy, jnp.eye(2)
    total = lambda x, y: loss(x, y, where=where).sum()
    value, slopes = jax.jit(jax.value_and_grad(total))(x, labels)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slopes).all()
    assert (slopes[1] == 0).all()
    if not integer:
        assert jnp.isfinite(jax.jit(jax.grad(total, argnums=1))(x, labels)).all()


def test_a_mask_without_any_axis_takes_all_or_nothing():
    x, labels = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 1.0]])
    loss = lambda where: losses.softmax_cross_entropy(x, labels, None, where)
    assert loss(jnp.array(True)) == loss(None) > 0
    assert loss(jnp.array(False)) == 0


def test_labels_of_any_integer_dtype_count_all_classes():
    x = jax.random.normal(jax.random.key(1), (2, 256))
    rows = [
        jax.jit(losses.softmax_cross_entropy_with_integer_labels)(x, jnp.array([0, 255], dtype))
        for dtype in (jnp.int32, jnp.uint8, jnp.int64)
    ]
    chex.assert_trees_all_close(rows[0], rows[1], rows[2])


# Label smoothing.


def test_smooth_labels_agree_with_optax(key, standard_promotion):
    labels = jax.nn.one_hot(jax.random.randint(key, (4, 5), 0, 6), 6)
    where = jax.random.bernoulli(key, 0.7, labels.shape).at[..., 0].set(True)
    options = [{"axis": axis} for axis in (-1, 0, (0, 2), None)] + [{"where": where}]
    ours, theirs = (
        jax.jit(lambda y, lib=lib: [lib.smooth_labels(y, 0.1, **kw) for kw in options])(labels)
        for lib in (losses, optax)
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


def test_smoothed_rows_sum_to_one_and_the_ends_are_exact():
    labels = jnp.eye(5)
    chex.assert_trees_all_equal(losses.smooth_labels(labels, 0.0), labels)
    chex.assert_trees_all_close(losses.smooth_labels(labels, 1.0), jnp.full((5, 5), 0.2))
    chex.assert_trees_all_close(losses.smooth_labels(labels, 0.3).sum(-1), jnp.ones(5))


def test_alpha_can_be_vmapped_and_differentiated(key):
    x, labels = jax.random.normal(key, (3, 4)), jnp.eye(4)[:3]
    loss = jax.jit(lambda a: losses.softmax_cross_entropy(x, losses.smooth_labels(labels, a)))
    alphas = jnp.array([0.0, 0.1, 1.0])
    one_by_one = jnp.stack([loss(float(alpha)) for alpha in alphas])
    chex.assert_trees_all_close(jax.vmap(loss)(alphas), one_by_one, rtol=1e-12)
    # The loss is linear in alpha.
    chex.assert_trees_all_close(jax.jacobian(loss)(0.1), loss(1.0) - loss(0.0), rtol=1e-12)


@pytest.mark.usefixtures("as_users_run_it")
class TestBadArguments:
    @pytest.mark.parametrize(
        ("name", "what", "aim"),
        [
            ("sigmoid_binary_cross_entropy", "logits", "labels"),
            ("multilabel_cross_entropy", "logits", "labels"),
            ("softmax_cross_entropy", "logits", "labels"),
            ("hinge_loss", "predictor_outputs", "targets"),
            ("binary_cross_entropy", "probabilities", "labels"),
            ("categorical_cross_entropy", "probabilities", "labels"),
        ],
    )
    def test_shapes_that_merely_broadcast_are_refused(self, name, what, aim):
        loss = getattr(losses, name)
        with pytest.raises(ValueError, match=rf"{name}: `{aim}` has shape \(3, 1\), `{what}` has"):
            loss(jnp.ones(3), jnp.ones((3, 1)))
        with pytest.raises(TypeError, match=rf"{name}: `{what}` must be floating-point, got int"):
            loss(jnp.ones(3, jnp.int32), jnp.ones(3))

    def test_integer_labels_must_be_integers_of_the_batch_shape(self):
        loss = losses.softmax_cross_entropy_with_integer_labels
        with pytest.raises(ValueError, match=r"`labels` has shape \(3, 1\), one class of the"):
            loss(jnp.ones((3, 5)), jnp.ones((3, 1), jnp.int32))
        with pytest.raises(TypeError, match="`labels` must be integers, got float64"):
            loss(jnp.ones((3, 5)), jnp.ones(3))

    @pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
    def test_alpha_must_be_a_share(self, alpha):
        with pytest.raises(ValueError, match=r"smooth_labels: `alpha` must lie in \[0, 1\], got"):
            losses.smooth_labels(jnp.eye(2), alpha)
