"""The encoding of tables is scikit-learn's, depends on the training rows alone, and is JSON."""

import datetime
import json

import numpy as np
import pyarrow
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from jaxopt_course.data import TableEncoder, TableError, open_table, table_targets


N = 60
TRAIN = np.arange(0, N, 2)


def columns():
    random = np.random.default_rng(0)
    heat = random.normal(20, 3, N).round(2)
    heat[random.random(N) < 0.2] = np.nan
    pump = random.choice(["ash", "birch", "cedar"], N).astype(object)
    pump[random.random(N) < 0.2] = None
    pump[2], pump[5] = "only here", "only in a row that does not train"
    new = random.random(N) < 0.5
    return {"heat": heat, "pump": pump, "new": new, "age": random.integers(0, 90, N)}


def table_of(values):
    listed = {
        name: [None if x is None or x != x else x for x in column.tolist()]
        for name, column in values.items()
    }
    return pyarrow.table(listed)


def test_numbers_and_categories_are_encoded_as_by_scikit_learn():
    values = columns()
    encoder = TableEncoder.fit(table_of(values), rows=TRAIN)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=2, sparse_output=False
    )
    peer = ColumnTransformer(
        [
            ("heat", SimpleImputer(strategy="median", add_indicator=True), [0]),
            ("pump", one_hot, [1]),
            ("others", "passthrough", [2, 3]),
        ]
    )
    stacked = np.array([*zip(*values.values(), strict=True)], object)
    peer.fit(stacked[TRAIN])
    expected = peer.transform(stacked).astype(np.float32)
    np.testing.assert_allclose(encoder.transform(table_of(values)), expected, rtol=1e-7)
    assert encoder.feature_names == (
        *("heat", "heat is missing"),
        *("pump = ash", "pump = birch", "pump = cedar", "pump is missing", "pump is another"),
        *("new", "age"),
    )
    assert encoder.indicators.tolist() == [False, *[True] * 6, False, False]


def test_only_the_training_rows_count():
    values = columns()
    encoder = TableEncoder.fit(table_of(values), rows=TRAIN)
    others = np.setdiff1d(np.arange(N), TRAIN)
    spoiled = {name: column.copy() for name, column in values.items()}
    spoiled["heat"][others] = 1e6
    spoiled["pump"][others] = "new"
    assert TableEncoder.fit(table_of(spoiled), rows=TRAIN).columns[1:] == encoder.columns[1:]
    spoiled["heat"][others[0]] = np.nan
    assert TableEncoder.fit(table_of(spoiled), rows=TRAIN) == encoder
    changed = {**values, "heat": values["heat"] + 1}
    assert TableEncoder.fit(table_of(changed), rows=TRAIN) != encoder


def test_the_column_of_other_categories_is_one_where_a_category_is_new_or_rare():
    encoder = TableEncoder.fit(table_of(columns()), ["pump"], TRAIN)
    new = pyarrow.table({"pump": ["ash", "only here", "oak", None]})
    assert encoder.transform(new)[:, -2:].tolist() == [[0, 0], [0, 1], [0, 1], [1, 0]]


def test_a_date_is_days_and_its_place_in_year_and_week():
    first = datetime.date(2021, 1, 4)  # a Monday
    dates = [first + datetime.timedelta(days) for days in (0, 7, 3, 364)]
    encoder = TableEncoder.fit(pyarrow.table({"day": [*dates, None]}), rows=np.array([1, 2, 3]))
    values = encoder.transform(pyarrow.table({"day": dates}))
    np.testing.assert_array_equal(values[:, 0], [-3, 4, 0, 361])  # after the earliest of the rows
    epoch = (first - datetime.date(1970, 1, 1)).days
    days = epoch + np.array([0, 7, 3, 364])
    for column, period in ((1, 365.2425), (3, 7.0)):
        np.testing.assert_allclose(values[:, column], np.sin(2 * np.pi * days / period), atol=1e-5)
        np.testing.assert_allclose(
            values[:, column + 1], np.cos(2 * np.pi * days / period), atol=1e-5
        )
    np.testing.assert_allclose(values[0, 3:5], values[1, 3:5], atol=1e-5)  # the same weekday
    filled = encoder.transform(pyarrow.table({"day": pyarrow.array([None], pyarrow.date32())}))
    assert (filled[0, 0], filled[0, -1]) == (4, 1)  # the median


def test_a_time_has_a_place_in_the_day_too():
    noon = datetime.datetime(2021, 1, 4, 12)
    encoder = TableEncoder.fit(pyarrow.table({"at": [noon, noon + datetime.timedelta(hours=6)]}))
    assert encoder.feature_names[-2:] == ("at, sine of day", "at, cosine of day")
    values = encoder.transform(pyarrow.table({"at": [noon]}))
    np.testing.assert_allclose(values[0, -2:], [0, -1], atol=1e-5)


def test_the_encoder_is_json_and_text_in_a_file_stays_text(tmp_path):
    path = tmp_path / "pumps.csv"
    path.write_text("code,flow\n01,1\n01,\nx,2\nx,3\n")
    encoder = TableEncoder.fit(open_table("test", path))
    again = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    path.write_text("code,flow\n01,1\n01,\n")  # which alone are the number 1
    table = open_table("test", path, text=["code"])
    np.testing.assert_array_equal(again.transform(table), [[1, 0, 0, 1, 0], [1, 0, 0, 2, 1]])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entries: entries.clear(),
        lambda entries: entries.append(3),
        lambda entries: entries.append(entries[0]),
        lambda entries: entries[0].update(kind="formula"),
        lambda entries: entries[0].update(fill="0"),
        lambda entries: entries[0].update(fill=float("nan")),
        lambda entries: entries[0].update(extra=1),
        lambda entries: entries[0].pop("name"),
        lambda entries: entries[1].update(categories=["a", "a"]),
        lambda entries: entries[1].update(categories=[1]),
        lambda entries: entries[1].update(categories="ab"),
    ],
)
def test_damaged_json_is_refused(spoil):
    entries = TableEncoder.fit(table_of(columns()), ["heat", "pump"]).to_json()
    spoil(entries)
    with pytest.raises(ValueError, match="TableEncoder: "):
        TableEncoder.from_json(entries)


def test_all_obstacles_of_a_table_are_named():
    table = pyarrow.table(
        {
            "empty": pyarrow.array([None] * 4, pyarrow.float64()),
            "code": ["p1", "p2", "p3", "p4"],
            "heat": ["1.5", "2.5", "warm", "3"],
            "list": [[1]] * 4,
            "big": [1e300, 1, 1, 1],
            "flow": [1.0, float("inf"), 1, 1],
            "good": [1, 2, 3, 4],
        }
    )
    with pytest.raises(TableError) as caught:
        TableEncoder.fit(table)
    assert str(caught.value).startswith("TableEncoder has 6 obstacles: (1) column 'empty' holds no")
    for text, sentence in zip(
        caught.value.obstacles,
        [
            "column 'empty' holds no value: drop it",
            "column 'code' holds text that differs in most rows, such as 'p1'",
            "column 'heat' must hold numbers, .* such as 'warm': encode or drop it",
            "column 'list' holds values of type list",
            "range of float32, got 1e.300 in row 0, column 'big'",
            "must be finite, got inf in row 1, column 'flow'",
        ],
        strict=True,
    ):
        with pytest.raises(ValueError, match=sentence):
            raise ValueError(text)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"age": [1, None]}, "row 1 has no value in column 'age'"),
        ({"age": ["old", "new"]}, "column 'age' must hold numbers"),
        ({"pump": [0.5, 1.5]}, "column 'pump' must hold text"),
        ({"day": [1, 2]}, "column 'day' must hold dates"),
        ({"age": None}, "lacks 1 of the model's 3 features; the first is 'age'"),
    ],
)
def test_rows_of_another_kind_are_refused(changed, sentence):
    day = [datetime.date(2021, 1, 4)] * 2
    whole = {"age": [1, 2], "pump": ["a", "a"], "day": day}
    encoder = TableEncoder.fit(pyarrow.table(whole))
    rows = {name: x for name, x in (whole | changed).items() if x is not None}
    with pytest.raises(TableError, match=sentence):
        encoder.transform(pyarrow.table(rows))


@pytest.mark.parametrize(
    ("names", "problem", "values"),
    [
        (["wet", "warm"], "multilabel", [[1, 0], [0, 1]]),
        (["wet", "age"], "regression", [[1, 3], [0, 4]]),
        (["heat", "wet"], "regression", [[0, 1], [1, 0]]),
        (["heat"], "regression", [[0], [1]]),
    ],
)
def test_several_targets_are_labels_or_numbers(names, problem, values):
    table = pyarrow.table({"wet": [True, False], "warm": [0, 1], "age": [3, 4], "heat": [0.0, 1.0]})
    targets = table_targets(table, names)
    assert (targets.problem, targets.names) == (problem, tuple(names))
    assert targets.values.dtype == (np.int32 if problem == "multilabel" else np.float32)
    assert targets.values.tolist() == values


def test_targets_of_several_columns_name_what_is_wrong_with_each():
    table = pyarrow.table({"a": [1.0, None], "b": ["x", "y"], "c": [1, 2]})
    with pytest.raises(TableError, match=r"has 2 obstacles: \(1\) row 1 .* \(2\) column 'b' must"):
        table_targets(table, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("table", "names", "sentence"),
    [
        (pyarrow.table({"a": [1.0]}), ["a", "a"], r"names of `names` must differ, got \['a'\]"),
        (pyarrow.table([[1.0], [2.0]], ["a", "a"]), None, r"names of columns must differ"),
        (
            pyarrow.table({"a": [1.0, None], "a is missing": [0, 1]}),
            None,
            r"names of features must differ, got \['a is missing'\]",
        ),
    ],
)
def test_names_that_occur_twice_are_refused(table, names, sentence):
    with pytest.raises(TableError, match=sentence):
        TableEncoder.fit(table, names)


def test_a_single_row_without_a_category_is_encoded():
    encoder = TableEncoder.fit(pyarrow.table({"a": [None, "x", "x"]}), rows=np.array([0]))
    assert encoder.feature_names == ("a is another",)
