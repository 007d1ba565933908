"""Help, versions, and what wrong usage meets: one line, the right exit code, no traceback."""

import inspect
import re
import signal
import subprocess
import sys

import pytest

from jaxopt_course import optimizers
from jaxopt_course.cli import RECIPES, TrainOptions, main

from .runs import SMALL, call, write_pumps


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_jax(option):
    program = (
        "import sys; from jaxopt_course.cli import main; code = main([sys.argv[1]]); "
        "print(code, *(m for m in ('jax', 'numpy', 'tyro', 'rich', 'flax') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, option], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert "jaxopt-course" in done.stdout


def test_the_module_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "jaxopt_course", "trian"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        "jaxopt-course trian: unknown command 'trian'. Choose from train, evaluate, diagnose, "
        "search, compare.\n"
    )


def test_every_recipe_of_the_catalogue_is_offered():
    recipes = {
        name
        for name, function in vars(optimizers).items()
        if inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), None) == "learning_rate"
        and not name.startswith("scale_by_")
    }
    assert recipes == set(RECIPES)
    common = set(TrainOptions.__dataclass_fields__)
    for recipe in RECIPES.values():
        assert not common & set(recipe.options)
        assert all(option.help for option in recipe.options.values())
    assert list(RECIPES["adamw"].options) == [
        *("b1", "b2", "eps", "eps_root", "weight_decay", "nesterov")
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_optimizer_takes_its_defaults_and_shows_them(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main(["train", "--optimizer", name, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for option in RECIPES[name].options:
        assert f"--{option.replace('_', '-')}" in shown
    assert all(dataset in shown for dataset in ("digits", "iris", "diabetes"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--dataset digit", "`dataset` must be one of .*, got 'digit'. Did you mean 'digits'"),
        ("--optimizer adaam", "`optimizer` must be one of .*, got 'adaam'. Did you mean 'adam'"),
        (
            "--learnig-rate 0.1",
            "Unrecognized options: --learnig-rate, 0.1. Did you mean '--learning-rate'",
        ),
        (
            "--optimizer adam --momentum 0.9",
            "unknown option '--momentum' for adam, whose options are b1, b2",
        ),
        ("--learning-rate -1", r"`learning_rate` must lie in \[0, inf\), got -1.0"),
        ("--learning-rate abc", "--learning-rate must be a number, got 'abc'"),
        ("--learning-rate nan", r"`learning_rate` must lie in \[0, inf\), got nan"),
        ("--optimizer adam --b1 1", r"`b1` must lie in \[0, 1\), got 1.0"),
        ("--optimizer sgd --nesterov", "nesterov"),
        ("--batch-size 0", r"`batch_size` must lie in \[1, 1168\], got 0"),
        ("--batch-size 2000", r"`batch_size` must lie in \[1, 1168\], got 2000"),
        ("--epochs 0", r"`epochs` must lie in \[1, 113025455\]"),
        ("--epochs 1.5", "--epochs must be an integer, got '1.5'"),
        ("--hidden 8 wide", "--hidden"),
        ("--hidden -3", r"`hidden` must lie in \[1, inf\)"),
        ("--dropout 1", r"`dropout` must lie in \[0, 1\)"),
        ("--activation rleu", "Did you mean 'relu'"),
        ("--patience 0", "patience"),
        ("--seed -1", r"`seed` must lie in \[0, 4294967296\)"),
        ("--test 0.9", "no row is left for training"),
        ("--model cnn --dataset iris", "--model cnn needs images"),
        ("--model rnn", "invalid choice 'rnn'"),
        ("--out runs/.hidden", "the name of a run"),
        ("--out a/b:c", "the name of a run"),
        ("missing.csv --target y", "FILE does not exist: 'missing.csv'"),
        ("missing.csv", "--target COLUMN is missing"),
        ("--config missing.toml", "FILE does not exist: 'missing.toml'"),
        ("digits iris", "iris"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments, sentence, as_users_run_it, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert call("train", *arguments.split()) == 2
    expect_one_line(capsys, sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rate = = 1", "run.toml is not TOML: .*line 1"),
        (
            "learnig_rate = 1",
            "run.toml: Unrecognized options: --learnig-rate.* Did you mean '--learning-rate'",
        ),
        ("kappa = 1", "'kappa' for adamw.*belongs to delta_bar_delta"),
        ("epochs = 1.5", "run.toml: .*--epochs"),
        ("epochs = true", "run.toml"),
        ('optimizer = "adaam"', "Did you mean 'adam'"),
        ("optimizer = 3", "`optimizer` must be one of .*, got '3'"),
        ("[optimizer]\nb1 = 1", "`optimizer` must be one of"),
        ("[model]\nhidden = 1", "run.toml"),
    ],
)
def test_wrong_config_files_are_one_line_and_exit_code_2(
    text, sentence, as_users_run_it, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(text)
    assert call("train", "--config", "run.toml") == 2
    expect_one_line(capsys, sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("flow,state\n1,a\n2,\n2,b\n3,b\n", "row 1 has no value in column 'state'"),
        ("flow,state\ninf,a\n1,a\n2,b\n3,b\n", "must be finite, got inf in row 0, column 'flow'"),
        ("flow,state\n1,a\n1,2,3\n", "cannot read"),
    ],
)
def test_data_that_cannot_be_trained_on_are_one_line_and_exit_code_1(
    content, sentence, as_users_run_it, capsys, tmp_path
):
    path = tmp_path / "pumps.csv"
    path.write_text(content)
    assert call("train", path, "--target", "state", "--out", tmp_path / "run") == 1
    expect_one_line(capsys, sentence)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--run DIR is missing"),
        (("--run", "nowhere"), "'nowhere' holds no run"),
        (("--rum", "x"), "Unrecognized options: --rum, x. Did you mean '--run'"),
    ],
)
def test_wrong_usage_of_evaluate_is_one_line_and_exit_code_2(arguments, sentence, capsys):
    assert call("evaluate", *arguments) == 2
    expect_one_line(capsys, sentence)


def test_an_unknown_column_is_wrong_usage_and_suggests_one(as_users_run_it, capsys, tmp_path):
    path = write_pumps(tmp_path / "pumps.csv")
    assert call("train", path, "--target", "stat", "--out", tmp_path / "run") == 2
    expect_one_line(capsys, "`target` must be one of .*, got 'stat'. Did you mean 'state'")


@pytest.mark.exhaustive
def test_an_interrupted_training_says_so_in_exit_code_and_record(tmp_path):
    table = write_pumps(tmp_path / "pumps.csv")
    arguments = ["train", str(table), "--target", "state", *SMALL, "--epochs", "100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "jaxopt_course", *arguments, "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr)
        next(line for line in lines if line.startswith("epoch "))
        process.send_signal(signal.SIGINT)
        *_, last = lines
        assert process.wait(timeout=60) == 130
    assert last == "jaxopt-course train: interrupted.\n"
    assert '"interrupted"' in (tmp_path / "run" / "run.json").read_text()


def expect_one_line(capsys, sentence):
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert complaint.count("\n") == 1
    assert complaint.endswith("\n")
    assert re.search(sentence, complaint), complaint
