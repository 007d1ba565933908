"""Every loss at the edge of its range: the limit where there is one, finite slopes, no less than 0.

One check for the whole family: own losses and those handed on from optax.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import losses
from jaxopt_course.core import HANDED_ON
from tests.names import public_names
from tests.tiers import everyday


INF, LOG2 = math.inf, math.log(2)
DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
BIG = {"float16": 1e4, "bfloat16": 1e30, "float32": 1e30, "float64": 1e30}

# Binary losses: x, label, limit. B stands for a number as large as the dtype allows.
B = 12345.0
BINARY = [
    (INF, 1, 0.0),
    (INF, 0, INF),
    (-INF, 1, INF),
    (-INF, 0, 0.0),
    (B, 1, 0.0),
    (B, 0, B),
    (0.0, 1, LOG2),
    (-INF, 0.5, INF),
]
# Losses of two classes: logits, one-hot labels, limit.
TWO = [
    ([0.0, -INF], [1, 0], 0.0),
    ([0.0, -INF], [0, 1], INF),
    ([INF, 0.0], [1, 0], 0.0),
    ([INF, 0.0], [0, 1], INF),
    ([B, 0.0], [1, 0], 0.0),
    ([B, 0.0], [0, 1], B),
    ([0.0, 0.0], [1, 0], LOG2),
    ([B, B], [1, 0], LOG2),
]
HINGE = [  # scores, label, limit of the hinge loss, of the perceptron loss
    ([0.0, -INF], 0, 0.0, 0.0),
    ([0.0, -INF], 1, INF, INF),
    ([INF, 0.0], 0, 0.0, 0.0),
    ([B, 0.0], 1, B, B),
    ([0.1, 0.1], 0, 1.0, 0.0),
    ([0.7, 0.2], 0, 0.5, 0.0),
]
FOCAL = [  # gamma = 2: at 0 a quarter of the cross-entropy
    (x, y, LOG2 / 4 if x == 0 else limit) for x, y, limit in BINARY
]
SPARSE = [(x, y, 0.25 if x == 0 else limit) for x, y, limit in BINARY if y != 0.5]
KL = [  # log-predictions, targets, limit
    ([0.0, -INF], [1.0, 0.0], 0.0),
    ([0.0, -INF], [0.0, 1.0], INF),
    ([-LOG2, -LOG2], [0.5, 0.5], 0.0),
    ([-LOG2, -LOG2], [1.0, 0.0], LOG2),
]
POLY = [  # epsilon = 2: 2 (1 - p) more
    (x, y, limit + (0 if limit == 0 else 1 if limit == LOG2 else 2) if limit != B else B)
    for x, y, limit in TWO
]
VECTORS = [  # a, b, the cosine distance
    ([0.0, 0.0], [1.0, 0.0], 1.0),
    ([0.0, 0.0], [0.0, 0.0], 1.0),
    ([0.1, 0.7], [0.1, 0.7], 0.0),
    ([B, 0.0], [1.0, 0.0], 0.0),
    ([B, 0.0], [0.0, B], 1.0),
    ([1.0, 0.0], [-1.0, 0.0], 2.0),
]


def columns(rows, which=2):
    return [row[0] for row in rows], [row[1] for row in rows], [row[which] for row in rows]


def probabilities(rows):
    """Rows of logits of (0, 1) as probabilities, whose log is cut at epsilon."""
    return [
        ([0.0, 1.0], [0, 1], 0.0),
        ([1.0, 0.0], [1, 0], 0.0),
        ([0.5, 0.5], [1, 0], LOG2),
        *rows,
    ]


def integer(loss):
    return lambda x, y: loss(x, jnp.argmax(y, -1).astype(jnp.int32))


CASES = {
    "sigmoid_binary_cross_entropy": (losses.sigmoid_binary_cross_entropy, columns(BINARY)),
    "multilabel_cross_entropy": (
        lambda x, y: losses.multilabel_cross_entropy(x[..., None], y[..., None]),
        columns(BINARY),
    ),
    "softmax_cross_entropy": (losses.softmax_cross_entropy, columns(TWO)),
    "softmax_cross_entropy:where": (
        lambda x, y: losses.softmax_cross_entropy(x, y, where=jnp.ones(x.shape, bool)),
        columns(TWO),
    ),
    "safe_softmax_cross_entropy": (losses.safe_softmax_cross_entropy, columns(TWO)),
    "softmax_cross_entropy_with_integer_labels": (
        integer(losses.softmax_cross_entropy_with_integer_labels),
        columns(TWO),
    ),
    "poly_loss_cross_entropy": (losses.poly_loss_cross_entropy, columns(POLY)),
    "sigmoid_focal_loss": (losses.sigmoid_focal_loss, columns(FOCAL)),
    "sparsemax_loss": (losses.sparsemax_loss, columns(SPARSE)),
    "multiclass_hinge_loss": (losses.multiclass_hinge_loss, columns(HINGE, 2)),
    "multiclass_perceptron_loss": (losses.multiclass_perceptron_loss, columns(HINGE, 3)),
    "hinge_loss": (
        losses.hinge_loss,
        ([INF, -INF, B, B, 1.0], [1, 1, 1, -1, 1], [0.0, INF, 0.0, B, 0.0]),
    ),
    "perceptron_loss": (
        losses.perceptron_loss,
        ([INF, -INF, B, B], [1, 1, 1, -1], [0.0, INF, 0.0, B]),
    ),
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        ([0.0, 1.0, 0.5, 0.5], [0, 1, 1, 0], [0.0, 0.0, LOG2, LOG2]),
    ),
    "categorical_cross_entropy": (
        losses.categorical_cross_entropy,
        columns(probabilities([])),
    ),
    "kl_divergence": (losses.kl_divergence, columns(KL)),
    "generalized_kl_divergence": (losses.generalized_kl_divergence, columns(KL[:3])),
    "convex_kl_divergence": (losses.convex_kl_divergence, columns(KL[:3])),
    "kl_divergence_with_log_targets": (
        lambda x, y: losses.kl_divergence_with_log_targets(x, jnp.log(y)),
        columns(KL),
    ),
    "cosine_distance": (losses.cosine_distance, columns(VECTORS)),
    "cosine_similarity": (
        lambda a, b: 1 - losses.cosine_similarity(a, b),
        columns(VECTORS),
    ),
    "triplet_margin_loss": (
        lambda a, b: losses.triplet_margin_loss(a, b, jnp.zeros_like(a), margin=0.5),
        (
            [[0.0, 0.0], [B, 0.0], [1.0, 0.0]],
            [[0.0, 0.0], [B, 0.0], [1.0, 0.0]],
            [0.5, 0.0, 0.0],
        ),
    ),
    **{
        name: (functools.partial(lambda f, x, y: f(x, y), getattr(losses, name)), rows)
        for name, rows in {
            "absolute_error": ([INF, -INF, B, 0.0], [0, 0, 0, 0], [INF, INF, B, 0.0]),
            "huber_loss": ([INF, -INF, B, 0.0], [0, 0, 0, 0], [INF, INF, B, 0.0]),
            "log_cosh": ([INF, -INF, B, 0.0], [0, 0, 0, 0], [INF, INF, B, 0.0]),
            "squared_error": ([INF, -INF, 0.0], [0, 0, 0], [INF, INF, 0.0]),
            "l2_loss": ([INF, -INF, 0.0], [0, 0, 0], [INF, INF, 0.0]),
            "mean_squared_error": ([INF, -INF, 0.0], [0, 0, 0], [INF, INF, 0.0]),
            "half_squared_error": ([INF, -INF, 0.0], [0, 0, 0], [INF, INF, 0.0]),
        }.items()
    },
}
NOT_HERE = {
    **dict.fromkeys(("ctc_loss", "ctc_loss_with_forward_probs"), "below"),
    "smooth_labels": "it gives labels",
}
AS_IN_OPTAX = {  # handed on as they are; their edges are optax's
    *("binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"),
    *("make_fenchel_young_loss", "multiclass_sparsemax_loss", "ntxent"),
    *("perceptron_loss", "ranking_softmax_loss"),
}


def check_edges(loss, rows, dtype):
    big = BIG[jnp.dtype(dtype).name]
    filled = lambda rows: np.where(np.equal(rows, B), big, rows)
    x, y, limits = (filled(list(column)) for column in rows)
    labels = jnp.asarray(y, int if np.ndim(x) > np.ndim(y) else dtype)
    x = jnp.asarray(x, dtype)

    @jax.jit
    def everything(x, y):
        one = lambda x, y: loss(x[None], y[None])[0]
        forward = jax.jvp(lambda x: loss(x, y), (x,), (jnp.ones_like(x),))
        return loss(x, y), jax.vmap(one)(x, y), jax.vmap(jax.grad(one))(x, y), *forward

    values, mapped, slopes, again, along = everything(x, labels)
    assert values.dtype == mapped.dtype == dtype
    rounding = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-12}[x.dtype.name]
    for found in (values, mapped, again):
        found = np.asarray(found, float)
        # An argument such as -log(2) is itself rounded to the dtype.
        np.testing.assert_allclose(found, limits, rtol=rounding, atol=rounding / 10)
        assert (found >= 0).all()
    assert not jnp.isnan(slopes).any()
    assert not jnp.isnan(along).any()
    summed = np.asarray(slopes, float).reshape(len(limits), -1).sum(-1)
    np.testing.assert_allclose(np.asarray(along, float), summed, rtol=rounding, atol=rounding)


COMMON = {
    *("sigmoid_binary_cross_entropy", "softmax_cross_entropy", "hinge_loss"),
    *("softmax_cross_entropy_with_integer_labels", "kl_divergence", "cosine_distance"),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: jnp.dtype(dtype).name)
@pytest.mark.parametrize("name", everyday(CASES, COMMON))
def test_values_and_slopes_at_the_edge(name, dtype, standard_promotion):
    check_edges(*CASES[name], dtype)


def test_every_loss_has_a_case():
    cases = {name.split(":")[0] for name in CASES}
    assert set(public_names(losses)) <= cases | set(NOT_HERE)
    assert set(HANDED_ON["losses"]) <= cases | AS_IN_OPTAX


@pytest.mark.parametrize(
    "name",
    [
        *("softmax_cross_entropy", "safe_softmax_cross_entropy", "sigmoid_binary_cross_entropy"),
        *("cosine_distance", "kl_divergence", "sigmoid_focal_loss"),
        *("poly_loss_cross_entropy", "multiclass_hinge_loss"),
    ],
)
def test_the_check_rejects_those_of_optax(name, standard_promotion):
    loss = getattr(optax.losses, name)
    with pytest.raises(AssertionError):
        check_edges(loss, CASES[name][1], jnp.float32)


@pytest.mark.exhaustive
def test_ctc_losses_at_the_edge(standard_promotion):
    # One time, one label: the loss is that of the label. With -inf and certain classes.
    logits = jnp.array([[[0.0, 40.0]], [[-jnp.inf, 0.0]], [[0.0, 1e30]], [[0.0, 0.0]]], jnp.float32)
    times, labels = jnp.zeros((4, 1)), jnp.ones((4, 1), jnp.int32)
    loss = lambda x: losses.ctc_loss(x, times, labels, jnp.zeros((4, 1)))
    np.testing.assert_allclose(loss(logits), [0, 0, 0, LOG2], atol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: loss(x).sum())(logits)).all()
    assert jnp.isfinite(jax.jvp(loss, (logits,), (jnp.ones_like(logits),))[1]).all()


@pytest.mark.exhaustive
def test_no_loss_of_equal_distributions_is_below_zero(standard_promotion):
    for dtype in (jnp.float16, jnp.float32):
        x = jax.random.normal(jax.random.key(3), (500, 7), dtype)
        p, log_p = jax.nn.softmax(x), jax.nn.log_softmax(x)
        for value in (
            losses.kl_divergence(log_p, p),
            losses.kl_divergence_with_log_targets(log_p, log_p),
            losses.convex_kl_divergence(log_p, p),
            losses.cosine_distance(x, 3 * x),
        ):
            assert (value >= 0).all()
            assert (value < 1e-2).all()
        labels = jax.nn.one_hot(x.argmax(-1), 7)
        assert (losses.poly_loss_cross_entropy(20 * x, labels, epsilon=-1.0) >= 0).all()


@pytest.mark.exhaustive
def test_own_versions_agree_with_optax_within_the_range(standard_promotion):
    key = jax.random.key(0)
    x = jax.random.normal(key, (6, 4))
    y = jax.nn.softmax(jax.random.normal(jax.random.fold_in(key, 1), x.shape))
    z, n = x[::-1], jnp.array([0, 1, 2, 3, 1, 0])
    bits = (y > 0.25).astype(float)
    paddings = jnp.zeros((6, 2)).at[2:, 1].set(1.0)
    paths = jax.random.normal(key, (6, 5, 4)), jnp.zeros((6, 5)).at[1, 4].set(1.0)
    calls = {
        "kl_divergence": (jax.nn.log_softmax(x), y),
        "kl_divergence_with_log_targets": (jax.nn.log_softmax(x), jnp.log(y)),
        "generalized_kl_divergence": (x, y),
        "cosine_similarity": (x, z),
        "cosine_distance": (x, z),
        "triplet_margin_loss": (x, z, y),
        "safe_softmax_cross_entropy": (x, y),
        "poly_loss_cross_entropy": (x, y),
        "sigmoid_focal_loss": (x, y),
        "sparsemax_loss": (x, bits),
        "multiclass_hinge_loss": (x, n),
        "multiclass_perceptron_loss": (x, n),
        "ctc_loss": (*paths, jnp.tile(jnp.array([[1, 2]]), (6, 1)), paddings),
    }
    ours, theirs = (
        jax.jit(lambda calls, lib=lib: {k: getattr(lib, k)(*v) for k, v in calls.items()})(calls)
        for lib in (losses, optax.losses)
    )
    for name in calls:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-14, err_msg=name)
    weighted = {"alpha": 0.3, "gamma": 1.5}
    np.testing.assert_allclose(
        losses.sigmoid_focal_loss(x, bits, **weighted),
        optax.losses.sigmoid_focal_loss(x, bits, **weighted),
        rtol=1e-9,
    )
