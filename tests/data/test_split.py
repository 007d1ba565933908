import warnings

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_course.data import k_fold, load, split


def counts(classes, part):
    return np.bincount(np.asarray(classes)[part], minlength=max(classes) + 1)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [
        (0.2, 0.2, (90, 30, 30)),
        (15, 0.1, (120, 15, 15)),
        (0, 0.5, (75, 0, 75)),
        (0.0, 0, (150, 0, 0)),
        (7, 11, (132, 7, 11)),
    ],
)
def test_every_row_is_in_exactly_one_part(key, stratified, validation, test, sizes):
    """Course 5, split into training, validation and test."""
    classes = load("iris").targets if stratified else None
    parts = split(key, 150, validation=validation, test=test, stratify=classes)
    assert tuple(map(len, parts)) == sizes
    assert all(part.dtype == np.int32 for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(150))


def test_exact_counts_of_a_stratified_split(key):
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    parts = split(key, 100, validation=0.2, test=0.1, stratify=classes)
    assert [counts(classes, part).tolist() for part in parts] == [
        [42, 21, 7],
        [12, 6, 2],
        [6, 3, 1],
    ]


def shares_and_rows(classes, parts):
    """The proportional share of each class in each part, and what it holds."""
    n, members = len(classes), np.bincount(classes)
    shares = np.stack([members * len(part) / n for part in parts])
    return shares, np.stack([counts(classes, part) for part in parts])


def is_proportional(classes, parts) -> bool:
    """Whether each part holds its share of each class, rounded up or down."""
    shares, held = shares_and_rows(classes, parts)
    return bool((abs(held - shares) < 1 - 1e-9).all())


ROWS = 60  # always as many, so that the permutation is compiled once
LEAST = 3  # of a class: one for each part


@st.composite
def class_sizes(draw):
    """The sizes of up to 12 classes, small ones among them, of ``ROWS`` rows in all."""
    small = draw(st.lists(st.integers(LEAST, 12), max_size=11))
    while ROWS - sum(small) < LEAST:
        small.pop()
    return [*small, ROWS - sum(small)]


@st.composite
def stratified_splits(draw):
    """Class sizes, and sizes of validation and test that leave a row for training."""
    validation = draw(st.integers(1, ROWS - 2))
    return draw(class_sizes()), validation, draw(st.integers(1, ROWS - 1 - validation))


@settings(max_examples=300, deadline=None)
@given(stratified_splits())
def test_every_class_has_a_row_in_every_part_that_can_hold_all_of_them(sizes):
    members, validation, test = sizes
    classes = np.repeat(np.arange(len(members)), members)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts = split(
            jax.random.key(0), len(classes), validation=validation, test=test, stratify=classes
        )
    assert sorted(np.concatenate(parts)) == list(range(len(classes)))
    assert (len(parts.validation), len(parts.test)) == (validation, test)
    shares, held = shares_and_rows(classes, parts)
    large = np.array([len(part) >= len(members) for part in parts])
    assert (held[large] > 0).all()
    assert bool(caught) == (not (held > 0).all())
    assert not (large.all() and caught)
    if shares.min() >= 1:  # no share can be rounded to 0, so nothing had to be exchanged
        assert is_proportional(classes, parts)


@settings(max_examples=100, deadline=None)
@given(class_sizes(), st.integers(2, LEAST))
def test_every_class_is_validated_and_trained_on_in_every_fold(members, k):
    classes = np.repeat(np.arange(len(members)), members)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if len(classes) // k >= len(members) else "ignore")
        folds = k_fold(jax.random.key(0), np.arange(len(classes)), k, stratify=classes)
    if len(classes) // k >= len(members):
        for rows in (*folds.validation, *folds.train):
            assert (counts(classes, rows) > 0).all()


def test_two_rows_of_a_class_are_shared_by_two_parts(key):
    """The shares of the small class are 1.8 and 0.2, which rounding makes 2 and 0."""
    classes = np.repeat([0, 1], [98, 2])
    parts = split(key, 100, validation=10, test=0, stratify=classes)
    assert counts(classes, parts.train).tolist() == [89, 1]
    assert counts(classes, parts.validation).tolist() == [9, 1]


def test_a_part_too_small_for_all_classes_is_warned_of(key):
    classes = np.repeat(np.arange(5), 10)
    with pytest.warns(UserWarning, match=r"^split: .* each of the 5 classes, got parts of \[3\]"):
        parts = split(key, 50, validation=3, test=5, stratify=classes)
    assert counts(classes, parts.test).tolist() == [1] * 5
    assert sorted(counts(classes, parts.validation)) == [0, 0, 1, 1, 1]


@pytest.mark.filterwarnings("ignore:split. a stratified part")
def test_awkward_class_sizes_keep_their_proportions_and_the_sizes_of_parts():
    generator, n = np.random.default_rng(0), 41
    for trial in range(100):
        k = generator.integers(2, 10)
        members = 3 + generator.multinomial(n - 3 * k, np.full(k, 1 / k))
        classes = generator.permutation(np.repeat(np.arange(k), members))
        validation, test = (int(x) for x in generator.integers(1, n // 3 + 1, size=2))
        parts = split(jax.random.key(trial), n, validation=validation, test=test, stratify=classes)
        assert (len(parts.validation), len(parts.test)) == (validation, test)
        assert sorted(np.concatenate(parts)) == list(range(n))
        shares, held = shares_and_rows(classes, parts)
        if (shares >= 1).all():
            assert is_proportional(classes, parts)
        assert (held[[len(part) >= k for part in parts]] > 0).all()


def test_an_unstratified_split_would_be_noticed(key):
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    assert not is_proportional(classes, split(key, 100, validation=0.2, test=0.1))


def test_no_part_is_sorted(key):
    classes = np.repeat([0, 1], 100)
    parts = split(key, 200, validation=0.2, test=0.2, stratify=classes)
    for part in parts:
        labels = classes[part]
        changes = (labels[1:] != labels[:-1]).mean()
        assert 0.2 < changes < 0.8  # 1/2 on average, with a deviation below 0.08
        assert (np.diff(part) < 0).any()


@pytest.mark.parametrize("stratify", [None, np.tile([0, 1], 25)])
def test_the_key_decides(key, stratify):
    def rows(k):
        return np.concatenate(split(k, 50, validation=0.2, test=0.2, stratify=stratify))

    np.testing.assert_array_equal(rows(key), rows(jax.random.key(0)))
    assert (rows(key) != rows(jax.random.key(1))).any()


def test_the_split_does_not_depend_on_the_precision(key):
    with_x64 = split(key, 37, validation=0.3, test=5)
    with jax.enable_x64(False):
        without = split(key, 37, validation=0.3, test=5)
    for a, b in zip(with_x64, without, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_every_row_gets_into_the_test_part_equally_often():
    hits = np.zeros(20)
    for seed in range(200):
        hits[split(jax.random.key(seed), 20, validation=5, test=5).test] += 1
    # Binomial with mean 50 and deviation 6.1: five deviations on either side.
    assert hits.min() > 20
    assert hits.max() < 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"validation": 0.5, "test": 0.5},
            "no row is left for training: of 10, validation takes 5",
        ),
        ({"validation": 0.7, "test": 0.6}, "no row is left for training"),
        ({"validation": 1.0, "test": 0}, r"split: `validation` must lie in \[0, 1\), got 1.0"),
        ({"validation": 0, "test": -0.1}, r"split: `test` must lie in \[0, 1\), got -0.1"),
        ({"validation": 0, "test": float("nan")}, r"split: `test` must lie in \[0, 1\), got nan"),
        ({"validation": 10, "test": 0}, r"split: `validation` must lie in \[0, 10\), got 10"),
        ({"validation": 0.01, "test": 0}, "`validation` of 0.01 is no row at all out of 10"),
        ({"validation": 1, "test": 1, "n": 0}, r"split: `n` must lie in \[1, inf\), got 0"),
        (
            {"validation": 2, "test": 2, "stratify": np.array([0] * 8 + [5] * 2)},
            "split: class 5 has 2 rows, fewer than the 3 parts",
        ),
        (
            {"validation": 2, "test": 2, "stratify": np.zeros(9, int)},
            r"`stratify` must have shape \(10,\), got \(9,\)",
        ),
    ],
)
def test_impossible_splits_are_refused(key, arguments, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        split(key, **{"n": 10, **arguments})


@pytest.mark.parametrize("share", [True, "0.2", None])
def test_a_share_of_the_wrong_kind_is_refused(key, share, as_users_run_it):
    with pytest.raises(TypeError, match="split: `test` must be an int"):
        split(key, 10, validation=0, test=share)


def test_two_rows_suffice_for_two_parts(key):
    assert split(key, 2, validation=1, test=0, stratify=np.zeros(2, int)).train.size == 1
