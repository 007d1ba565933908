import sys

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxopt_course.data import read_table


@pytest.fixture
def written(tmp_path):
    """Writes columns to a file of either kind, and returns its path."""

    def write(ending, columns, name="pumps"):
        path = tmp_path / f"{name}.{ending}"
        table = pyarrow.table(columns)
        if ending == "parquet":
            pyarrow.parquet.write_table(table, path)
        else:
            pyarrow.csv.write_csv(table, path)
        return path

    return write


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "pumps.csv"
        path.write_text(text)
        return path

    return write


def numbers(**extra):
    return {"flow": [1.5, -2.25, 3e4, 0.1], "age": [1, 2, 3, 40], "new": [True, False] * 2, **extra}


@pytest.mark.parametrize("ending", ["csv", "parquet", "CSV"])
@pytest.mark.parametrize(
    ("target", "classes", "names", "problem"),
    [
        (["ok", "bad", "ok", "bad"], [1, 0, 1, 0], ("bad", "ok"), "binary"),
        ([7, -1, 7, -1], [1, 0, 1, 0], ("-1", "7"), "binary"),
        ([10, 9, 10, 9], [1, 0, 1, 0], ("9", "10"), "binary"),
        ([True, True, False, True], [1, 1, 0, 1], ("False", "True"), "binary"),
    ],
)
def test_labels_survive_a_round_trip(written, ending, target, classes, names, problem):
    data = read_table(written(ending, numbers(state=target)), target="state")
    np.testing.assert_array_equal(data.targets, np.array(classes, np.int32), strict=True)
    assert (data.target_names, data.problem) == (names, problem)
    expected = np.array([[1.5, 1, 1], [-2.25, 2, 0], [3e4, 3, 1], [0.1, 40, 0]], np.float32)
    np.testing.assert_array_equal(data.inputs, expected, strict=True)
    assert data.feature_names == ("flow", "age", "new")
    assert data.name == "pumps"


def test_three_labels_are_a_multiclass_problem(csv):
    data = read_table(csv("x,y\n1,a\n2,b\n3,c\n4,a\n5,b\n6,c\n"), target="y")
    assert data.problem == "multiclass"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_float_target_is_a_regression(written, ending):
    data = read_table(written(ending, numbers(heat=[0.5, 1.5, -2.0, 7.25])), target="heat")
    expected = np.array([[0.5], [1.5], [-2.0], [7.25]], np.float32)
    np.testing.assert_array_equal(data.targets, expected, strict=True)
    assert (data.target_names, data.problem) == (("heat",), "regression")


def test_the_target_may_be_any_column(csv):
    data = read_table(csv("y,x\n1,2.5\n0,3.5\n1,4.5\n0,5.5\n"), target="y")
    assert data.feature_names == ("x",)
    np.testing.assert_array_equal(data.inputs[:, 0], [2.5, 3.5, 4.5, 5.5])


def test_categories_of_pandas_are_labels(written):
    labels = pyarrow.array(["u", "v", "u", "v"]).dictionary_encode()
    data = read_table(written("parquet", numbers(state=labels)), target="state")
    assert data.target_names == ("u", "v")


def test_a_folder_name_adds_no_column(tmp_path, written):
    folder = tmp_path / "year=2020"
    folder.mkdir()
    path = written("parquet", numbers(state=[0, 1, 0, 1])).rename(folder / "pumps.parquet")
    assert read_table(path, target="state").feature_names == ("flow", "age", "new")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "read_table: cannot read .*pumps.csv'"),
        ("a,y\n", "read_table: .*pumps.csv' is empty: it has 0 rows and 1 columns besides"),
        ("y\n1\n0\n", "is empty: it has 2 rows and 0 columns besides the target"),
        ("a,y\n1,2,3\n", "read_table: cannot read .* Expected 2 columns, got 3"),
        ("a,a,y\n1,2,3\n", r"column names must differ, got \['a'\] more than once"),
        ("a,x\n1,2\n", "`target` must be one of a, x, got 'y'"),
        ("a,y\n1,0\n,1\n", "read_table: .*pumps.csv': row 1 has no value in column 'a'"),
        ("a,y\n1,0\nNaN,1\n", "read_table: .*pumps.csv': row 1 has no value in column 'a'"),
        ("a,y\n1,u\n2,\n", "read_table: .*pumps.csv': row 1 has no value in column 'y'"),
        ("a,y\n1,0.5\n2,\n", "read_table: .*pumps.csv': row 1 has no value in column 'y'"),
        ("a,y\n1,0\n-inf,1\n", "every number must be finite, got -inf in row 1, column 'a'"),
        ("a,y\n1,0.5\n2,inf\n", "every number must be finite, got inf in row 1, column 'y'"),
        ("a,y\nred,0\nblue,1\n", "column 'a' .* holds values of type string, such as 'red'"),
        ("a,y\n2020-01-02,0\n2020-01-03,1\n", "column 'a' .* holds values of type date32"),
        ("a,y\n1,2020-01-02\n2,2020-01-03\n", "labels, integers or floats, but column 'y'"),
        ("a,y\n1,u\n2,u\n", "column 'y' has one class only, 'u'"),
        ("a,y\n1,10\n2,20\n3,30\n", "'y' has 3 classes in 3 rows, .* write its values as floats"),
        ("a,y\n1e300,0\n2e300,1\n", "range of float32, got 1e\\+300 in row 0, column 'a'"),
        ("a,y\n1700000000,0\n1700000001,1\n", "float32 cannot resolve column 'a', .* offset"),
        ("a,y\n1e-60,0\n2e-60,1\n", "float32 cannot resolve column 'a'"),
    ],
)
def test_what_a_training_could_not_use_is_refused(csv, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(csv(text), target="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stra\xdfe,y\n1,0\n2,1\n", "pumps.csv' has column names that are not UTF-8 text"),
        ("a,y\n1,ja\n2,gr\xfcn\n", r"UTF-8 text, got the bytes b'gr\\xfcn' in row 1, column 'y'"),
    ],
)
def test_text_in_another_encoding_is_called_that(tmp_path, text, message):
    path = tmp_path / "pumps.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read_table(path, target="y")


def test_a_near_miss_of_a_column_gets_a_suggestion(csv):
    with pytest.raises(ValueError, match=r"got 'State'\. Did you mean 'state'\?"):
        read_table(csv("flow,state\n1,0\n"), target="State")


def test_nan_in_parquet_is_not_missing_but_refused(written):
    path = written("parquet", {"a": [1.0, float("nan")], "y": [0, 1]})
    with pytest.raises(ValueError, match="got nan in row 1, column 'a'"):
        read_table(path, target="y")


def test_a_broken_parquet_file_is_refused(tmp_path, written):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(written("parquet", numbers()).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"read_table: cannot read .*broken.parquet'"):
        read_table(broken, target="y")


def test_a_missing_file_and_a_strange_ending_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_table: there is no file .*none.csv'"):
        read_table(tmp_path / "none.csv", target="y")
    with pytest.raises(
        ValueError, match=r"`path ending` must be one of .csv, .parquet, got '.xls'"
    ):
        read_table(tmp_path / "none.xls", target="y")


def test_missing_pyarrow_names_the_extra(csv, monkeypatch):
    path = csv("a,y\n1,0\n2,1\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow: pip install 'jaxopt_course\[data\]'\."):
        read_table(path, target="y")
