"""The command that runs all benchmarks, and how they measure."""

import itertools
import sys
import time

import pytest

from benchmarks import __main__ as command
from benchmarks import _machine
from benchmarks._measure import interleaved, medians, options_of, table


def test_help_names_every_benchmark_with_its_line(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name, line in command.benchmarks().items():
        assert line.endswith(".")
        assert f"{name} " in shown
        assert line in shown


def test_what_takes_an_hour_is_run_by_name_only(monkeypatch):
    asked = {}
    monkeypatch.setattr(command, "run_all", lambda commands: asked.update(commands) or 0)
    assert command.main(["all", "--quick"]) == 0
    assert {"comparison", "targets"} <= set(command.BY_NAME_ONLY)
    assert set(asked) == set(command.benchmarks()) - set(command.BY_NAME_ONLY)
    assert asked["fit"] == [sys.executable, "-m", "benchmarks.fit", "--quick"]


def test_a_failure_does_not_end_the_others_and_is_said_at_the_end(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "FOLDER", tmp_path / "benchmarks")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    write = "open('results/b.json', 'w').write('{}')"
    commands = {"a": "raise SystemExit(4)", "b": write, "c": "pass"}
    code = command.run_all({name: [sys.executable, "-c", c] for name, c in commands.items()})
    said = capfd.readouterr().out.splitlines()
    assert code == 1
    assert [line.split(":")[0] for line in said if line.startswith("[") and ":" in line] == [
        *("[1/3] a", "[2/3] b", "[3/3] c")
    ]
    assert any(line.startswith("a ") and "failed with exit code 4" in line for line in said)
    assert any(line.startswith("b ") and line.endswith("results/b.json") for line in said)
    assert said[-1] == "Failed: a."


def test_a_benchmark_with_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["fti"])
    assert end.value.code == 2
    assert "'fti'" in capsys.readouterr().err


def test_ways_take_turns_and_warm_ups_do_not_count(monkeypatch):
    order, clock = [], itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    runs = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    times = interleaved(runs, 3, warm_up=1)
    assert order == ["a", "b"] * 4
    assert times == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert medians({"a": [9.0, 1.0, 2.0]}) == {"a": 2.0}


def test_figures_of_quick_runs_lie_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(_machine, "RESULTS", tmp_path)
    quick = {**vars(options_of("A line.", "less").parse_args(["--quick"]))}
    assert _machine.save("x", quick) == tmp_path / "quick" / "x.json"
    assert _machine.save("x", {"quick": False}) == tmp_path / "x.json"


def test_a_table_has_a_row_a_name_and_a_gap_where_nothing_was_measured():
    rows = {"a": {"ms": 0.123456, "files": "x"}, "longer": {"ms": 4321.9}}
    assert table(rows).splitlines() == ["           ms  files", "a       0.123  x", "longer   4322"]
