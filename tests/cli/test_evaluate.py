"""Evaluation of a trained model: what it refuses, each in one sentence that names the file."""

import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from .runs import SMALL, call, write_pumps


@pytest.fixture
def trained(pumps_run):
    return pumps_run[1]


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def refused(capsys, *arguments, code=1):
    capsys.readouterr()
    assert call("evaluate", *arguments) == code
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def test_rows_without_the_target_are_predicted(trained, tmp_path, capsys):
    new = tmp_path / "new.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"heat": [3, -3], "flow": [-3.0, 3.0]}), new)
    assert call("evaluate", new, "--run", trained) == 0
    assert capsys.readouterr().out.count("\n") == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("flow,heat,state\n1,2,ugly\n", "classes bad, good, got 'ugly' in row 0"),
        ("flow,heat,state\n1,2,good\n1,2,\n", "row 1 has no value in column 'state'"),
        ("flow,heat,state\n1,2,0.5\n", "a target must hold labels"),
        ("flow,heat,state,state\n1,2,good,good\n", "must differ, got ['state'] more than once"),
        ("flow,heat,flow\n1,2,1\n", "must differ, got ['flow'] more than once"),
        ("flow,state\n1,good\n", "lacks 1 of the model's 2 features; the first is 'heat'"),
        ("flow,heat\n1,2\n1,\n", "row 1 has no value in column 'heat'"),
        ("flow,heat\n1,2\n1,-inf\n", "must be finite, got -inf in row 1, column 'heat'"),
        ("flow,heat\n1,warm\n", "column 'heat' must hold numbers"),
        ("flow,heat\n1,2\n1e300,2\n", "range of float32, got 1e+300 in row 1, column 'flow'"),
        ("flow,heat\n1,2\n1,2,3\n", "cannot read"),
        ("flow,heat\n", "has no rows"),
        ("", "cannot read"),
        ("flow,heat\n1,gr\xfcn\n", "must be UTF-8 text, got the bytes b'gr\\xfcn' in row 0"),
    ],
)
def test_rows_that_a_model_cannot_take_are_refused(content, sentence, trained, tmp_path, capsys):
    path = tmp_path / "new.csv"
    path.write_bytes(content.encode("latin-1"))
    said = refused(capsys, path, "--run", trained)
    assert sentence in said
    assert "new.csv" in said


def test_a_file_of_a_kind_that_no_training_reads_is_refused(trained, tmp_path, capsys):
    path = write_pumps(tmp_path / "pumps.txt")
    said = refused(capsys, path, "--run", trained)
    assert "`path ending` must be one of .csv, .parquet, got '.txt'" in said


def test_what_a_training_refuses_is_refused_in_the_same_words(trained, tmp_path, capsys):
    """Among others a number that float32 cannot hold, which was infinity to the model."""
    path = tmp_path / "new.csv"
    for cell in ("1e300", "inf", "warm"):
        path.write_text(f"flow,heat,state\n1,2,good\n{cell},3,bad\n2,2,good\n3,3,bad\n")
        said = refused(capsys, path, "--run", trained)
        out = ("--out", tmp_path / "again")
        assert call("train", path, "--target", "state", *SMALL, *out) == 1
        in_training = capsys.readouterr().err
        sentence = said.removeprefix("jaxopt-course evaluate: ")
        assert in_training == f"jaxopt-course train: read_table: {sentence}"


def without(record, *path):
    for name in path[:-1]:
        record = record[name]
    del record[path[-1]]


def having(value, *path):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


CHANGES = {
    **{
        f"no {'.'.join(path)}": lambda record, path=path: without(record, *path)
        for path in [
            *(("config",), ("dataset",), ("config", "file"), ("config", "target")),
            *(("config", "seed"), ("dataset", "sha256"), ("dataset", "feature_names")),
            ("outcome",),
        ]
    },
    **{
        f"{'.'.join(path)} is {value!r}": having(value, *path)
        for path, value in [
            (("config",), None),
            (("config",), [1]),
            (("dataset",), "pumps"),
            (("config", "file"), 3),
            (("config", "file"), "nowhere.csv"),
            (("config", "target"), "pressure"),
            (("config", "target"), ["state"]),
            (("config", "seed"), "0"),
            (("config", "seed"), -1),
            (("config", "seed"), 10**30),
            (("config", "seed"), True),
            (("config", "test"), 2.0),
            (("config", "validation"), None),
            (("config", "model"), "rnn"),
            (("config", "model"), "cnn"),
            (("config", "model"), {}),
            (("config", "scaling"), "none of these"),
            (("config", "dataset"), "digit"),
            (("dataset", "sha256"), "0"),
            (("dataset", "sha256"), None),
            (("dataset", "feature_names"), 3),
            (("dataset", "feature_names"), []),
            (("dataset", "feature_names"), ["flow", 3]),
        ]
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_was_changed_is_refused(name, run, capsys):
    record = json.loads((run / "run.json").read_text())
    CHANGES[name](record)
    (run / "run.json").write_text(json.dumps(record))
    said = refused(capsys, "--run", run)
    if name == "outcome":
        return
    needed = "feature_names" not in name
    assert "run.json" in said or not needed or "nowhere.csv" in said


CONTENTS = {
    "empty": b"",
    "cut": b'{"config": {"file": nu',
    "bytes": bytes(range(256)),
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a number of 5000 digits": b"1" * 5000,
    "another object": b'{"name": "package", "version": "1.0"}',
    "UTF-16": '{"config": {}}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("with_file", [False, True])
def test_a_damaged_or_foreign_record_is_refused(name, with_file, run, tmp_path, capsys):
    (run / "run.json").write_bytes(CONTENTS[name])
    new = tmp_path / "new.csv"
    new.write_text("flow,heat\n1,2\n")
    said = refused(capsys, *([new] if with_file else []), "--run", run)
    assert str(run / "run.json") in said
    assert "not" in said


@pytest.mark.exhaustive
def test_a_record_of_another_model_is_refused(run, digits_run, tmp_path, capsys):
    shutil.copy(digits_run / "model.bundle", run / "model.bundle")
    new = tmp_path / "new.csv"
    new.write_text("flow,heat\n1,2\n")
    for arguments in ((), (new,)):
        said = refused(capsys, *arguments, "--run", run)
        assert str(run / "run.json") in said
        assert "is not the record of the model beside it" in said


def test_a_run_without_a_model_says_how_it_ended(run, capsys):
    (run / "model.bundle").unlink()
    assert "holds no model model.bundle: its training ended as 'completed'" in refused(
        capsys, "--run", run
    )
    (run / "run.json").unlink()
    assert "holds no run: it has no run.json" in refused(capsys, "--run", run, code=2)


def test_a_data_set_that_has_changed_is_refused(run, tmp_path, capsys):
    record = json.loads((run / "run.json").read_text())
    record["config"]["file"] = str(write_pumps(tmp_path / "pumps.csv", 61))
    (run / "run.json").write_text(json.dumps(record))
    assert "has changed" in refused(capsys, "--run", run)


@pytest.mark.exhaustive
def test_a_regression_refuses_values_beyond_float32(regression_run, tmp_path, capsys):
    out, _ = regression_run
    new = tmp_path / "new.csv"
    new.write_text("flow,heat,state\n1,2,1e300\n")
    assert "range of float32, got 1e+300 in row 0, column 'state'" in refused(
        capsys, new, "--run", out
    )
    new.write_text(f"flow,heat\n{np.finfo(np.float32).max},2\n")
    assert "must be finite" in refused(capsys, new, "--run", out)
