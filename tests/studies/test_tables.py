"""Results as tables and files."""

import functools

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxopt_course.studies import Choice, search, to_table, write_table
from tests.tiers import everyday_first

from .problems import FOLDS, SPACE, descend


@pytest.fixture
def result(key):
    space = {"optimizer": SPACE, "width": Choice([8, 16])}
    train = lambda key, hyperparameters, rows: descend(key, hyperparameters["optimizer"], rows)
    return search(train, space, key=key, trials=4, seeds=[5, 3], folds=FOLDS, progress=False)


def test_a_table_by_training_has_every_score_in_its_place(result):
    table = to_table(result).to_pydict()
    assert len(table["score"]) == 16
    row = table["configuration"].index(2) + 3
    place = (2, table["fold"][row], [5, 3].index(table["seed"][row]))
    assert place == (2, 1, 1)
    assert table["score"][row] == pytest.approx(result.scores[place], nan_ok=True)
    assert table["optimizer/rate"][row] == result.configurations[2]["optimizer"]["rate"]
    assert table["width"][row] == result.configurations[2]["width"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("by", everyday_first(1, ["configuration", "training"]))
def test_files_hold_the_table(result, suffix, by, tmp_path):
    path = tmp_path / f"search.{suffix}"
    write_table(result, path, by=by)
    read = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[suffix](path)
    expected = to_table(result, by=by)
    assert read.column_names == expected.column_names
    for name in expected.column_names:
        np.testing.assert_array_equal(read[name].to_numpy(), expected[name].to_numpy())


def test_a_table_by_configuration_ranks_them(result):
    table = to_table(result, by="configuration").to_pydict()
    order = np.argsort(table["rank"])
    assert order.tolist() == result.ranking.tolist()
    np.testing.assert_array_equal(table["score"], result.values)
    assert table["failed"] == np.isnan(result.scores).sum((1, 2)).tolist()


def test_another_kind_of_file_is_refused(result, tmp_path):
    write = functools.partial(write_table, result)
    with pytest.raises(ValueError, match=r"`path` must be one of \.csv, \.parquet"):
        write(tmp_path / "search.xlsx")
