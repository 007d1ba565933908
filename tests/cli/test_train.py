"""Training from the command line: what it writes, prints and returns."""

import json

import jax
import numpy as np
import pytest

from jaxopt_course.cli import TrainOptions, describe_model, load_data, make_task, prepare
from jaxopt_course.data import hash_dataset
from jaxopt_course.training import load_bundle

from .runs import LINEAR, SMALL, call, write_pumps


def test_a_run_leaves_its_model_its_curves_and_its_record(digits_run):
    assert {path.name for path in digits_run.glob("[!.]*")} == {
        *("checkpoints", "curves.png", "history.csv", "history.jsonl", "model.bundle", "run.json")
    }
    record = json.loads((digits_run / "run.json").read_text())
    assert record["outcome"] == "completed"
    assert record["dataset"]["sha256"] == hash_dataset(load_data(TrainOptions()))
    assert record["config"]["seed"] == 3
    assert record["config"]["hyperparameters"]["weight_decay"] == 0.01
    assert record["rows"] == {"train": 1168, "validation": 270, "test": 359}
    assert set(record["figures"]) == {"train", "validation", "test"}
    assert {"jax", "flax", "optax", "numpy", "python", "jaxopt_course"} == set(record["versions"])
    rows = [json.loads(line) for line in (digits_run / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["step"] == record["steps"] == 2 * 73
    best = rows[record["best_epoch"] - 1]
    # the same mean in batches of another size
    assert record["figures"]["validation"]["loss"] == pytest.approx(best["validation_loss"], 1e-5)
    assert load_bundle(digits_run / "model.bundle").label_names == tuple("0123456789")


def test_a_run_says_of_which_parameters_its_figures_are_and_what_it_has_saved(digits_run):
    best = json.loads((digits_run / "run.json").read_text())["best_epoch"]
    caption = (digits_run.parent / "stdout").read_text().splitlines()[0]
    assert caption == f"Best parameters, of epoch {best}, evaluated without dropout:"
    *_, last_step, saved = (digits_run.parent / "stderr").read_text().splitlines()
    assert last_step.startswith("Evaluated at the last step, 146: ")
    assert saved == (
        "Saved the model (model.bundle), the curves (curves.png) and the metrics (run.json, "
        f"history.csv) in {digits_run}."
    )


def test_evaluation_reproduces_the_test_figures_exactly(digits_run, capsys):
    assert call("evaluate", "--run", digits_run, "--json") == 0
    again = json.loads(capsys.readouterr().out)["figures"]["test"]
    assert again == json.loads((digits_run / "run.json").read_text())["figures"]["test"]


def test_json_is_all_of_stdout_and_repeats_the_record(pumps_run):
    _, out, printed, progress = pumps_run
    assert json.loads(printed) == json.loads((out / "run.json").read_text())
    assert "Completed 10 steps" in progress
    assert "\x1b" not in progress


def test_the_command_line_overrides_the_config_file(pumps_run):
    config = json.loads(pumps_run[2])["config"]
    options = {"momentum": 0.7, "nesterov": True, "weight_decay": None}
    assert config["hyperparameters"] == options
    assert (config["hidden"], config["learning_rate"], config["epochs"]) == ([], 0.01, 2)


def test_a_table_with_labels_is_evaluated_and_predicted(pumps_run, tmp_path, capsys):
    table, out, *_ = pumps_run
    assert call("evaluate", table, "--run", out, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]["pumps.csv"]
    assert figures["rows"] == 60
    new = tmp_path / "new.csv"
    new.write_text("heat,flow\n3,-3\n-3,3\n")  # in another order, without the target
    assert call("evaluate", new, "--run", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row,prediction,probability,probability_bad,probability_good"
    for number, line in enumerate(lines[1:]):
        row, prediction, *probabilities = line.split(",")
        largest, *each = map(float, probabilities)
        assert int(row) == number
        assert prediction == ("bad", "good")[int(np.argmax(each))]
        assert largest == max(each) >= 0.5
        assert sum(each) == pytest.approx(1)
    call("evaluate", "--run", out)
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_a_regression_learns_and_answers_in_the_unit_of_its_target(
    regression_run, tmp_path, capsys
):
    out, printed = regression_run
    figures = json.loads(printed)["figures"]
    assert figures["test"]["r2"] > 0.99  # a linear model of a linear function
    assert call("evaluate", "--run", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["figures"]["test"] == figures["test"]
    new = tmp_path / "new.csv"
    new.write_text("flow,heat\n1,0\n")
    assert call("evaluate", new, "--run", out, "--json") == 0
    (prediction,) = json.loads(capsys.readouterr().out)["prediction"]
    np.testing.assert_allclose(prediction, 110, atol=2)


def test_a_convolutional_network_takes_digits_as_images():
    options = TrainOptions(model="cnn", hidden=(8,))
    dataset = load_data(options)
    examples = prepare(options, dataset)
    assert examples.inputs.shape == (1797, 8, 8, 1)
    model = describe_model(options, dataset)
    params, _ = jax.eval_shape(make_task(model, (8, 8, 1), "multiclass").init, examples.key)
    assert params["Conv_0"]["kernel"].shape == (3, 3, 1, 16)


@pytest.mark.exhaustive
def test_divergence_has_an_exit_code_of_its_own_and_leaves_no_model(tmp_path, capsys):
    table, out = write_pumps(tmp_path / "pumps.csv", labels=False), tmp_path / "run"
    options = ("--optimizer", "sgd", "--learning-rate", "1e30", "--schedule", "constant")
    options += (*SMALL, "--out", out)
    assert call("train", table, "--target", "state", *options) == 3
    assert "Diverged" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["outcome"] == "diverged"
    assert not (out / "model.bundle").exists()
    assert call("evaluate", "--run", out) == 1


@pytest.mark.exhaustive
def test_an_earlier_run_is_kept_unless_told_otherwise(tmp_path, capsys):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text("earlier")
    (out / ".jaxopt_course.json").write_text('{"files": ["run.json"]}')
    (out / "note.txt").write_text("mine")
    options = (*LINEAR, "--epochs", 5, "--patience", 1, "--learning-rate", 0, "--batch-size", 16)
    arguments = ("train", table, "--target", "state", *options, "--out", out)
    assert call(*arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "run.json").read_text() == "earlier"
    assert call(*arguments, "--overwrite") == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["outcome"], record["best_epoch"]) == ("stopped_early", 1)
    assert len((out / "history.jsonl").read_text().splitlines()) == 2
    assert (out / "note.txt").read_text() == "mine"


@pytest.mark.exhaustive
def test_a_run_that_was_cut_short_goes_on_to_the_same_figures(digits_run, tmp_path):
    options = ("--hidden", 8, "--epochs", 2, "--batch-size", 16, "--seed", 3)
    out = tmp_path / "cut"
    assert call("train", *options, "--out", out, "--max-time", 1e-3) == 0
    cut = json.loads((out / "run.json").read_text())
    assert cut["outcome"] == "out_of_time"
    assert cut["steps"] < 2 * 73
    assert call("train", *options, "--out", out, "--resume") == 0
    whole, again = (json.loads((path / "run.json").read_text()) for path in (digits_run, out))
    assert again["figures"] == whole["figures"]
    assert (out / "history.jsonl").read_text() == (digits_run / "history.jsonl").read_text()


@pytest.mark.exhaustive
def test_a_run_that_diverges_says_where_if_it_is_to(tmp_path, capsys):
    out = tmp_path / "run"
    options = ("--optimizer", "sgd", "--learning-rate", 1e6, "--schedule", "constant")
    table = write_pumps(tmp_path / "pumps.csv", labels=False)
    command = ("train", table, "--target", "state", *SMALL, *options, "--out", out)
    assert call(*command, "--epochs", 50, "--on-divergence", "raise") == 3
    err = capsys.readouterr().err
    assert "the loss of step " in err
    assert " is not finite, because of rows [" in err
    assert json.loads((out / "run.json").read_text())["outcome"] == "diverged"


@pytest.mark.exhaustive
def test_a_smoke_run_leaves_no_checkpoint(tmp_path, capsys):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "run"
    assert call("train", table, "--target", "state", *SMALL, "--out", out, "--smoke") == 0
    assert "Everything works" in capsys.readouterr().err
    assert not (out / "checkpoints").exists()


@pytest.mark.exhaustive
def test_half_precision_trains(tmp_path):
    out = tmp_path / "run"
    assert call("train", *SMALL, "--precision", "float16", "--out", out, "--epochs", 8) == 0
    assert json.loads((out / "run.json").read_text())["figures"]["test"]["accuracy"] > 0.5
