"""The command that looks for what is wrong: its report, numbers, pictures and exit codes."""

import base64
import html
import json
import re

import pytest

from jaxopt_course.cli import main

from .runs import LINEAR, SMALL, call, write_pumps


REPORT = {
    *("gradient_flow.png", "learning_curves.png", "learning_rate.png"),
    *("report.html", "report.txt"),
}
HEADINGS = ["Training", "Gradient check", "Gradient flow", "Learning rate", "Fit"]


@pytest.mark.exhaustive
def test_a_report_is_printed_and_written_with_its_pictures(tmp_path, capsys):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "a & b"
    arguments = ("diagnose", table, "--target", "state", *SMALL, "--epochs", 4, "--out", out)
    assert call(*arguments) == 0
    printed, progress = capsys.readouterr()
    assert "checking gradients" in progress
    assert "learning rates" in progress
    assert "\x1b" not in printed + progress

    assert re.findall(r"^(.+)\n-+$", printed, re.MULTILINE) == HEADINGS
    assert "binary, 39 training and 9 validation rows" in printed
    assert "All 2 leaves have a correct gradient." in printed
    assert re.search(r"Learning rate \S+ has the lowest loss", printed)
    assert "Completed 12 steps." in printed

    assert {path.name for path in out.glob("[!.]*")} == REPORT
    assert (out / "report.txt").read_text() == printed
    page = (out / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == HEADINGS
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = [
        out / name for name in ("gradient_flow.png", "learning_rate.png", "learning_curves.png")
    ]
    assert [base64.b64decode(data) for data in pictures] == [file.read_bytes() for file in files]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)

    # An earlier report is kept unless told otherwise, before anything is computed.
    assert call(*arguments) == 2
    assert "already holds a report: give another --out, or --overwrite" in capsys.readouterr().err


def test_all_text_of_a_page_is_escaped_and_it_fetches_nothing(tmp_path):
    from jaxopt_course.cli._report import Section, write_html  # no command takes such a text

    path, evil = tmp_path / "page.html", """<script>alert("&'")</script> é"""
    write_html(path, evil, [Section(evil, evil, {evil: b"\x89PNG"}), Section("no pictures")])
    page = path.read_bytes().decode("utf-8")
    assert "<script" not in page
    assert page.count(html.escape(evil)) == 2 + 2 + 1  # title, heading; heading, text; alt
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--epochs 1 --batch-size 1168", "at least 8 steps, got 1: raise --epochs"),
        ("--batch-size 0", r"`batch_size` must lie in \[1, 1168\], got 0"),
        ("--points 3", "Unrecognized options: --points"),
        ("--optimizer adaam", "Did you mean 'adam'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, sentence, as_users_run_it, capsys):
    assert call("diagnose", *arguments.split()) == 2
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert re.fullmatch(f"jaxopt-course diagnose: .*{sentence}.*\n", complaint), complaint
    assert "train: " not in complaint


def test_help_shows_the_options_of_a_training_and_what_they_mean_here(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "--optimizer", "sgd", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "jaxopt-course diagnose" in shown
    for option in ("--dataset", "--hidden", "--learning-rate", "--epochs", "--momentum"):
        assert option in shown
    assert "Directory of report.html, report.txt and the figures." in shown


@pytest.mark.exhaustive
def test_json_holds_every_number_and_a_config_of_train_is_taken(tmp_path, capsys):
    table, config = write_pumps(tmp_path / "pumps.csv", labels=False), tmp_path / "run.toml"
    config.write_text(
        f'file = "{table}"\ntarget = "state"\nhidden = []\nepochs = 30\nbatch_size = 8\n'
        'normalization = "none"\noptimizer = "sgd"\nlearning_rate = 0.05\npatience = 1\n'
    )
    assert call("diagnose", "--config", config, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gradient_check"]["wrong"] == []
    assert set(found["gradient_flow"]["leaves"]) == set(found["gradient_check"]["errors"])
    rates, fit = found["learning_rate_range"], found["fit"]
    assert len(rates["rates"]) == len(rates["losses"]) == 22
    assert 1e-3 < rates["suggested"] < 1  # of least squares on features of variance 1
    assert len(fit["history"]["loss"]) == 30  # patience is not used
    assert [finding["name"] for finding in fit["findings"]] == ["good"]  # a linear function


@pytest.mark.exhaustive
def test_a_training_that_diverges_is_reported_and_has_an_exit_code_of_its_own(tmp_path, capsys):
    table = write_pumps(tmp_path / "pumps.csv", labels=False)
    options = (*LINEAR, "--epochs", 20, "--batch-size", 16, "--schedule", "constant")
    wrong = ("--optimizer", "sgd", "--learning-rate", 1e30)
    assert call("diagnose", table, "--target", "state", *options, *wrong) == 3
    printed = capsys.readouterr().out
    assert "Diverged: after" in printed
    assert "The learning rate of the training, 1.0e+30, is above them." in printed


@pytest.mark.exhaustive
def test_a_model_that_is_too_small_is_said_to_underfit(capsys):
    options = (*LINEAR, "--epochs", 8, "--learning-rate", 1e-5, "--batch-size", 256)
    assert call("diagnose", *options) == 0
    assert "Underfitting" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_convolutions_pass_the_check_though_blank_corners_start_at_a_kink(capsys):
    options = ("--model", "cnn", "--hidden", 8, "--normalization", "none")
    assert call("diagnose", *options, "--epochs", 1, "--batch-size", 128, "--json") == 0
    assert json.loads(capsys.readouterr().out)["gradient_check"]["wrong"] == []
