"""Tables with categories, gaps, dates and several targets, and what commands say of them."""

import csv
import datetime
import json

import numpy as np
import pytest
from pyarrow import csv as csv_format
from pyarrow import parquet
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from jaxopt_course.cli import TrainOptions, load_data, main, prepare
from jaxopt_course.training import load_bundle

from .runs import SMALL, call


COLUMNS = ("pump", "flow", "color", "built", "new", "state", "heat", "wet")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eighty pumps; the first flow and the second color are missing."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("table") / "pumps.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in range(80):
            flow, color = random.normal(), random.choice(["red", "blue"])
            built = datetime.date(2020, 1, 1) + datetime.timedelta(int(random.integers(900)))
            good = flow + 2 * (color == "red") > 1
            cells = (
                flow if row else "",
                color if row != 1 else "",
                built,
                "true" if row % 2 else "false",
            )
            state = ("good" if good else "bad", flow + 0.5, int(good))
            writer.writerow((f"{row:03}", *cells, *state))
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "run"
    arguments = ("train", table, "--target", "state", "--drop", "pump,heat,wet", "--json")
    assert call(*arguments, *SMALL, "--out", out) == 0
    return out


def test_a_training_encodes_by_its_training_rows_and_scales_what_is_a_number(table):
    options = TrainOptions(file=table, target="state", features="flow,color")
    dataset = load_data(options)
    examples = prepare(options, dataset)
    assert dataset.feature_names == (
        *("flow", "flow is missing", "color = blue", "color = red", "color is another"),
    )
    with table.open() as file:
        flows = np.array([float(row["flow"] or "nan") for row in csv.DictReader(file)])[:, None]
    train = examples.parts.train
    filled = SimpleImputer(strategy="median").fit(flows[train]).transform(flows)
    scaled = StandardScaler().fit(filled[train]).transform(filled)
    np.testing.assert_allclose(examples.inputs[:, :1], scaled, rtol=1e-4, atol=1e-5)
    assert set(np.unique(examples.inputs[:, 1:])) == {0.0, 1.0}


def test_the_saved_encoder_is_applied_to_new_rows(run, table, tmp_path, capsys):
    bundle = load_bundle(run / "model.bundle")
    assert [column.name for column in bundle.encoder.columns] == ["flow", "color", "built", "new"]
    capsys.readouterr()
    assert call("evaluate", table, "--run", run, "--id", "pump") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["row"] for row in rows[:3]] == ["000", "001", "002"]
    assert {row["prediction"] for row in rows} <= {"good", "bad"}
    new = tmp_path / "new.csv"
    new.write_text("built,new,color,flow\n2020-02-02,true,violet,\n2020-02-02,true,,1\n")
    assert call("evaluate", new, "--run", run, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["row"] == [0, 1]
    assert np.add(answer["probability_good"], answer["probability_bad"]) == pytest.approx(1)
    assert call("evaluate", "--run", run, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]["test"]
    assert figures == json.loads((run / "run.json").read_text())["figures"]["test"]
    new.write_text("built,new,color,flow\n,true,red,1\n2020-02-02,maybe,red,1\n")
    assert call("evaluate", new, "--run", run) == 1
    said = capsys.readouterr().err
    assert "new.csv' has 2 obstacles: (1) row 0 has no value in column 'built'. (2) column" in said


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("target", "columns"),
    [
        ("heat,wet", ["row", "prediction_heat", "prediction_wet"]),
        (
            "wet,new",
            ["row", *(f"{x}_{y}" for x in ("prediction", "probability") for y in ("wet", "new"))],
        ),
    ],
)
def test_several_targets_are_trained_and_evaluated_together(
    target, columns, table, tmp_path, capsys
):
    out = tmp_path / "run"
    options = ("--features", "flow,color", *SMALL, "--out", out)
    assert call("train", table, "--target", target, *options) == 0
    capsys.readouterr()
    assert call("evaluate", table, "--run", out, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]["pumps.csv"]
    assert figures["rows"] == 80
    assert ("r2" if "heat" in target else "exact_match") in figures
    assert call("evaluate", table, "--run", out, "--id", "pump", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == columns
    assert len(answer[columns[1]]) == 80


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--target", "state,wet"],
            "--target must name 1 column for this model, got 2: state, wet",
        ),
        (["--id", "pump,flow"], "has no column 'pump,flow'"),
    ],
)
def test_columns_that_do_not_fit_the_model_are_wrong_usage(arguments, sentence, run, table, capsys):
    assert call("evaluate", table, "--run", run, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_feature_may_identify_the_predictions(run, table, tmp_path, capsys):
    assert call("evaluate", table, "--run", run, "--id", "built") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("20")
    path = tmp_path / "new.parquet"
    parquet.write_table(csv_format.read_csv(table), path)
    assert call("evaluate", path, "--run", run, "--id", "built", "--json") == 0
    assert json.loads(capsys.readouterr().out)["row"][0].startswith("20")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--drop", "color,flw"], "`drop` must be one of .*, got 'flw'. Did you mean 'flow'?"),
        (["--features", "flow,flow"], "`features` must not be repeated, got 'flow'"),
        (["--features", "flow,state"], "--features and --target must differ, got 'state'"),
        (["--features", "flow", "--drop", "color"], "--features and --drop exclude each other"),
    ],
)
def test_columns_that_a_table_does_not_have_are_wrong_usage(arguments, sentence, table, capsys):
    assert main(["train", str(table), "--target", "state", *arguments]) == 2
    with pytest.raises(ValueError, match=sentence):
        raise ValueError(capsys.readouterr().err)
    assert main(["train", "--features", "flow"]) == 2


def test_all_obstacles_of_a_file_are_one_line(tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text("a,b,c,y\n,,1,u\n,inf,x,v\n,1,3,v\n,1,2,\n")
    assert call("train", path, "--target", "y", "--out", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for sentence in (
        "bad.csv' has 4 obstacles: (1) row 3 has no value in column 'y'.",
        "(2) column 'a' holds no value: drop it.",
        "(3) every number must be finite, got inf in row 1, column 'b'.",
        "(4) column 'c' must hold numbers",
    ):
        assert sentence in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "nowhere.csv", "--target", "y"], 2),
        (["evaluate", "--run", "nowhere"], 2),
        (["search", "--trials", "0"], 2),
        (["train", "{folder}/empty.csv", "--target", "y"], 1),
    ],
)
def test_json_is_all_of_stdout_after_an_error_too(arguments, code, tmp_path, capsys):
    (tmp_path / "empty.csv").write_text("")
    arguments = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]
    assert call(*arguments, "--json") == code
    printed, said = capsys.readouterr()
    answer = json.loads(printed)
    assert answer["exit_code"] == code
    assert said == f"jaxopt-course {arguments[0]}: {answer['error']}\n"
