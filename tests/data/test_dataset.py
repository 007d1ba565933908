import sys

import numpy as np
import pytest

from jaxopt_course.data import (
    DATASETS,
    Dataset,
    check_examples,
    check_features,
    digit_images,
    hash_dataset,
    load,
)


SHAPES = {
    "breast_cancer": (569, 30, 2),
    "diabetes": (442, 10, 0),
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
}


def test_the_list_of_data_sets_is_complete():
    assert set(DATASETS) == set(SHAPES)


@pytest.mark.parametrize("name", DATASETS)
def test_a_bundled_data_set_is_what_it_says(name):
    n, features, classes = SHAPES[name]
    data = load(name)
    assert data.name == name
    assert data.inputs.shape == (n, features)
    assert data.inputs.dtype == np.float32
    assert len(data.feature_names) == features
    check_examples(name, data.inputs, data.targets)
    check_features(name, data.inputs, data.feature_names)
    if classes:
        assert data.problem == ("binary" if classes == 2 else "multiclass")
        assert data.targets.shape == (n,)
        assert data.targets.dtype == np.int32
        assert set(data.targets) == set(range(classes))
        assert len(data.target_names) == classes
    else:
        assert data.problem == "regression"
        assert data.targets.shape == (n, 1)
        assert data.targets.dtype == np.float32
    assert all(type(word) is str for word in data.feature_names + data.target_names)


def test_digits_are_images_in_the_unit_interval():
    inputs = load("digits").inputs
    assert (inputs.min(), inputs.max()) == (0, 1)
    assert digit_images(inputs).shape == (1797, 8, 8, 1)
    assert digit_images(inputs[0])[1, 2, 0] == inputs[0, 10]


def test_diabetes_is_not_scaled_by_the_statistics_of_all_rows():
    inputs = load("diabetes").inputs
    assert 18 < inputs[:, 0].mean() < 80  # ages, in years


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"load: `name` must be one of .* Did you mean 'digits'\?"):
        load("digit")


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = r"iris needs scikit-learn: pip install 'jaxopt_course\[data\]'\."
    with pytest.raises(ImportError, match=message):
        load("iris")


def tiny(**changes) -> Dataset:
    data = Dataset(
        inputs=np.array([[1, 2], [3, 4]], np.float32),
        targets=np.array([0, 1], np.int32),
        feature_names=("a", "b"),
        target_names=("no", "yes"),
        name="tiny",
        problem="binary",
        description="Two rows.",
    )
    return data._replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": np.array([[1, 2], [3, 5]], np.float32)},
        {"inputs": np.array([[1, 2], [3, 4]], np.float64)},
        {"inputs": np.array([[1, 2, 3, 4]], np.float32)},
        {"targets": np.array([1, 0], np.int32)},
        {"targets": np.array([0, 1], np.int64)},
        {"feature_names": ("ab", "")},
        {"target_names": ("yes", "no")},
        {"problem": "multiclass"},
    ],
)
def test_the_hash_sees_every_change(changes, as_users_run_it):
    assert hash_dataset(tiny(**changes)) != hash_dataset(tiny())


def test_the_hash_sees_values_and_not_how_they_are_stored():
    inputs = tiny().inputs
    stored_otherwise = [
        np.asfortranarray(inputs),
        inputs.astype(">f4"),
        np.repeat(inputs, 2, axis=0)[::2],
    ]
    for other in stored_otherwise:
        assert hash_dataset(tiny(inputs=other)) == hash_dataset(tiny())
    assert hash_dataset(tiny(name="other", description="")) == hash_dataset(tiny())


def test_the_hash_is_the_same_on_every_machine():
    recorded = "b7a40ccc225e42e46a78bd19f87b7c0839995de7189d80ceb2de5b9e3783e573"
    assert hash_dataset(tiny()) == recorded


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_bad_feature_is_named_by_row_and_column(value, word):
    inputs = np.ones((4, 3))
    inputs[2, 1] = value
    message = f"pumps: every number must be finite, got {word} in row 2, column "
    with pytest.raises(ValueError, match=message + "'heat'"):
        check_features("pumps", inputs, ("flow", "heat", "age"))
    with pytest.raises(ValueError, match=message + "1"):
        check_features("pumps", inputs)
    with pytest.raises(ValueError, match="in row 0, column 2, 1"):
        check_features("pumps", inputs[None])


def test_the_first_bad_row_is_the_one_named():
    inputs = np.ones((4, 2))
    inputs[3, 0] = inputs[1, 1] = np.nan
    with pytest.raises(ValueError, match="row 1, column 1"):
        check_features("pumps", inputs)
    check_features("pumps", np.ones((4, 2), np.int32))


def test_examples_must_exist_and_match():
    check_examples("pumps", np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match=r"pumps: the inputs are empty: their shape is \(0, 2\)"):
        check_examples("pumps", np.ones((0, 2)), np.ones(0))
    with pytest.raises(ValueError, match="pumps: the inputs are empty"):
        check_examples("pumps", np.ones((3, 0)), np.ones(3))
    with pytest.raises(ValueError, match="one target: got 3 inputs and 2 targets"):
        check_examples("pumps", np.ones((3, 2)), np.ones(2))
