import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_class_weight

from jaxopt_course.data import (
    bootstrap_weights,
    class_weights,
    epoch_batches,
    k_fold,
    load,
    split,
)


def counts(numbers, weights, n):
    """How often each row counts."""
    return np.bincount(numbers.ravel(), weights.ravel(), minlength=n)


def is_cross_validation(folds, rows, n) -> bool:
    """Whether each of ``rows`` validates once, trains in all other folds, and is on one side."""
    expected = np.bincount(rows, minlength=n)
    once = (counts(folds.validation, folds.validation_weights, n) == expected).all()
    for train, weights, validation, validation_weights in zip(*folds, strict=True):
        sides = counts(train, weights, n) + counts(validation, validation_weights, n)
        once &= (sides == expected).all() and not np.isin(train, validation).any()
    return bool(once)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("n", "k"), [(12, 2), (12, 3), (13, 4), (17, 5), (19, 5), (20, 7)])
def test_course_5_k_fold_validates_every_row_once(key, n, k, stratified):
    """Course 5, k-fold cross-validation, the test set held apart."""
    held_apart = np.arange(3)
    rows = np.setdiff1d(np.arange(n + 3), held_apart)[::-1]
    classes = np.arange(n) % 2 if stratified else None
    folds = k_fold(key, rows, k, stratify=classes)
    assert folds.train.shape == folds.weights.shape == (k, n - n // k)
    assert folds.validation.shape == folds.validation_weights.shape == (k, -(-n // k))
    assert folds.train.dtype == folds.validation.dtype == np.int32
    assert is_cross_validation(folds, rows, n + 3)
    assert not np.isin(held_apart, np.concatenate([folds.train, folds.validation], 1)).any()
    if n % k == 0:
        assert folds.weights.all()
        assert folds.validation_weights.all()


def test_counting_the_padding_or_losing_it_would_be_noticed(key):
    rows = np.arange(13)
    folds = k_fold(key, rows, 4)
    ones = np.ones_like(folds.validation_weights)
    assert not is_cross_validation(folds._replace(validation_weights=ones), rows, 13)
    assert not is_cross_validation(folds._replace(weights=np.ones_like(folds.weights)), rows, 13)
    shorter = folds._replace(
        validation=folds.validation[:, :3], validation_weights=folds.validation_weights[:, :3]
    )
    assert not is_cross_validation(shorter, rows, 13)


def test_stratified_folds_have_the_class_proportions_of_scikit_learns(key):
    data = load("wine")
    n, k = len(data.targets), 5
    folds = k_fold(key, np.arange(n), k, stratify=data.targets)
    peer = StratifiedKFold(k, shuffle=True, random_state=0).split(data.inputs, data.targets)
    ours = [
        np.bincount(data.targets[rows], weights, minlength=3)
        for rows, weights in zip(folds.validation, folds.validation_weights, strict=True)
    ]
    theirs = [np.bincount(data.targets[rows], minlength=3) for _, rows in peer]
    # Both hold of each class its share of a fold, rounded up or down.
    share = np.bincount(data.targets) / k
    for table in (ours, theirs):
        assert (abs(np.array(table) - share) < 1).all()
    # Ours keep the sizes of the folds too.
    assert [int(row.sum()) for row in ours] == [36, 36, 36, 35, 35]


def test_the_test_rows_of_a_split_stay_apart(key):
    parts = split(key, 40, validation=0.25, test=0.25)
    folds = k_fold(key, np.concatenate([parts.train, parts.validation]), 3)
    assert not np.isin(parts.test, folds.train).any()
    assert not np.isin(parts.test, folds.validation).any()


def test_folds_are_fixed_by_the_key(key):
    one, same, other = (k_fold(k, np.arange(9), 3) for k in (key, key, jax.random.key(1)))
    chex.assert_trees_all_equal(one, same)
    assert (one.validation != other.validation).any()


def test_folds_are_one_program_of_batches(key):
    folds = k_fold(key, np.arange(7), 3)
    batches = jax.vmap(lambda rows, weights: epoch_batches(key, 0, rows, weights, 2))
    tables = batches(jnp.asarray(folds.train), jnp.asarray(folds.weights))
    for i in range(3):
        seen = counts(np.asarray(tables.indices[i]), np.asarray(tables.weights[i]), 7)
        np.testing.assert_array_equal(seen, counts(folds.train[i], folds.weights[i], 7))


def test_leaving_one_out_is_the_largest_number_of_folds(key):
    folds = k_fold(key, np.arange(6), 6)
    np.testing.assert_array_equal(np.sort(folds.validation[:, 0]), np.arange(6))


def test_bags_are_draws_with_replacement(key):
    n, bags = 200, 300
    weights = np.asarray(
        jax.jit(jax.vmap(lambda k: bootstrap_weights(k, n)))(jax.random.split(key, bags))
    )
    assert (weights.sum(1) == n).all()
    assert (weights == np.rint(weights)).all()
    # A count is binomial (n, 1/n), of variance 1 - 1/n: five deviations of the sums over bags.
    np.testing.assert_allclose(weights.mean(0), 1, atol=5 / np.sqrt(bags))
    out_of_bag = (weights == 0).mean()
    assert abs(out_of_bag - (1 - 1 / n) ** n) < 5 * 0.5 / np.sqrt(n * bags)


def test_class_weights_are_scikit_learns():
    labels = load("wine").targets
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    got = jax.jit(class_weights, static_argnums=1)(jnp.asarray(labels), 3)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    sums = np.bincount(labels, np.asarray(got)[labels])
    np.testing.assert_allclose(sums, len(labels) / 3, rtol=1e-12)  # all classes count alike
    assert class_weights(jnp.array([0, 0, 2]), 3).tolist() == [0.5, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(4), 1), r"k_fold: `k` must lie in \[2, 4\], got 1"),
        ((np.arange(4), 5), r"k_fold: `k` must lie in \[2, 4\], got 5"),
        ((10, 2), "k_fold: `rows` must be a vector of integers, such as np.arange.n., got int64"),
        ((np.arange(4) + 0.5, 2), "`rows` must be a vector of integers"),
        ((np.array([True, False]), 2), "`rows` must be a vector of integers"),
        ((np.array([0, 1, 1]), 2), "k_fold: `rows` must hold each row once"),
        ((np.arange(4), 3, np.array([0, 0, 1, 1])), "class 0 has 2 rows, fewer than the 3 parts"),
        ((np.arange(4), 2, np.zeros(3, int)), r"`stratify` must have shape \(4,\), got \(3,\)"),
    ],
)
def test_impossible_folds_are_refused(key, arguments, message, as_users_run_it):
    rows, k, *classes = arguments
    with pytest.raises(ValueError, match=message):
        k_fold(key, rows, k, stratify=classes[0] if classes else None)
