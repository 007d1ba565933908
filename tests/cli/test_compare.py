"""The command that compares optimizers: its report of given trials, what it asks for, refuses."""

import base64
import json
import re

import jax
import numpy as np
import pytest

from jaxopt_course import workloads
from jaxopt_course.cli import main
from jaxopt_course.workloads import OPTIMIZERS, WORKLOADS, Comparison, Trials

from .pages import check_page
from .runs import call


TRIALS = 6


def stored(optimizers, problems, *, trials, seeds, **_):
    """A comparison whose trials come from a generator: the later an optimizer, the slower."""
    random, costs = np.random.default_rng(0), np.arange(1.0, 9.0)
    names, on_all = [own.name for own in optimizers], [on.name for on in problems]

    def cell(name):
        rates = random.uniform(0.2, 1.0, (1 + trials, seeds, 1)) / (1 + names.index(name))
        return Trials(np.exp(-rates * costs), costs, 1e-3)

    variants = [(on, variant) for on in on_all for variant in ("base", "held_out")]
    points = {own.name: random.random((1 + trials, len(own.space))) for own in optimizers}
    return Comparison(
        optimizers=tuple(names),
        workloads=tuple(on_all),
        steps=dict.fromkeys(on_all, 8),
        targets=dict.fromkeys(variants, 0.3),
        numbers={
            own.name: {name: points[own.name][:, i] for i, name in enumerate(sorted(own.space))}
            for own in optimizers
        },
        points=points,
        trials={(name, *variant): cell(name) for name in names for variant in variants},
    )


def test_a_comparison_leaves_its_record_its_tables_and_a_page(tmp_path, monkeypatch, capsys):
    given = {}

    def compare(optimizers, problems, **options):
        given.update(options, optimizers=optimizers, workloads=problems)
        return stored(optimizers, problems, **options)

    monkeypatch.setattr(workloads, "compare", compare)
    names = ("--optimizers", "adam", "sgd", "--workloads", "logistic", "spirals")
    out = tmp_path / "out"
    options = ("--trials", TRIALS, "--seed", 3, "--resume", tmp_path / "kept", "--out", out)
    assert call("compare", *names, *options) == 0
    printed, progress = capsys.readouterr()
    assert [own.name for own in given["optimizers"]] == ["adam", "sgd"]
    assert [on.name for on in given["workloads"]] == ["logistic", "spirals"]
    assert (given["trials"], given["seeds"]) == (TRIALS, 2)
    assert given["devices"] == jax.devices()  # of a process in which JAX runs already
    assert given["resume"] == tmp_path / "kept"
    assert jax.random.key_data(given["key"]).tolist() == [0, 3]
    assert "8 cells of 6 trials" in progress

    record = json.loads((out / "comparison.json").read_text())
    assert record["optimizers"] == ["adam", "sgd"]
    assert (record["trials"], record["seed"]) == (TRIALS, 3)
    assert {"jax", "jaxopt_course"} < set(record["versions"])
    assert printed.startswith("optimizer")
    assert printed.index("\nadam") < printed.index("\nsgd")
    page = check_page(out / "report.html")
    assert printed.strip() in page.text
    assert (out / "report.md").read_text() in page.text
    pictures = {path.read_bytes() for path in out.glob("*.png")}
    assert {base64.b64decode(data) for data in page.pictures} == pictures
    assert {path.stem for path in out.glob("*.png")} >= {"curves", "tuning_steps_held_out"}

    # An earlier report is kept unless told otherwise, before anything is computed.
    assert call("compare", "--quick", "--out", out) == 2
    assert "already holds a comparison: give another --out" in capsys.readouterr().err


def test_quick_is_few_trials_of_what_is_named_or_of_little(tmp_path, monkeypatch):
    asked = []

    def stop(optimizers, problems, *, trials, **_):
        asked.append(([own.name for own in optimizers], [on.name for on in problems], trials))
        raise KeyboardInterrupt

    monkeypatch.setattr(workloads, "compare", stop)
    for options in (("--quick", "--optimizers", "lion"), ()):
        assert call("compare", *options, "--out", tmp_path / "out") == 130
    (optimizers, quick, trials), full = asked
    assert (optimizers, len(quick), trials) == (["lion"], 3, 8)
    assert full == (list(OPTIMIZERS), list(WORKLOADS), 100)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "--optimizers sgd adan",
            "`optimizers` must be one of sgd, .*, got 'adan'. Did you mean 'adam'",
        ),
        (
            "--workloads spiral",
            "`workloads` must be one of .*, got 'spiral'. Did you mean 'spirals'",
        ),
        ("--optimizers sgd sgd", "`optimizers` must not be repeated, got 'sgd' more than once"),
        ("--trials 0", r"`trials` must lie in \[1, 100000\], got 0"),
        ("--seeds 1", r"`seeds` must lie in \[2, 1000\], got 1"),
        ("--seed -1", r"`seed` must lie in \[0, 4294967296\), got -1"),
        ("--devices 0", r"--devices must lie in \[1, "),
        ("--resume a --out a", "--resume and --out must be two directories"),
        ("--learning-rate 1", "Unrecognized options: --learning-rate"),
        ("adam", "adam"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments, sentence, as_users_run_it, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert call("compare", *arguments.split()) == 2
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert re.fullmatch(f"jaxopt-course compare: .*{sentence}.*\n", complaint), complaint
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_is_stopped_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(workloads, "compare", stop)
    arguments = ("compare", "--quick", "--out", tmp_path / "out")
    assert call(*arguments, "--resume", tmp_path / "kept") == 130
    assert "the same command starts again" in capsys.readouterr().err
    assert call(*arguments) == 130
    assert "With `--resume DIR`" in capsys.readouterr().err


def test_help_names_optimizers_and_workloads(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main(["compare", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for word in (*OPTIMIZERS, *WORKLOADS, "--quick", "--resume DIR"):
        assert word in shown


@pytest.mark.exhaustive
def test_a_real_comparison_goes_on_from_what_is_kept(tmp_path, capsys):
    names = ("--optimizers", "adam", "momentum", "--workloads", "quadratic", "--trials", 5)
    arguments = ("compare", *names, "--resume", tmp_path / "kept", "--json")
    found = []
    for out in ("a", "b"):
        assert call(*arguments, "--out", tmp_path / out) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0] == json.loads((tmp_path / "b" / "comparison.json").read_text())
