"""The command that runs all benchmarks, and how they measure."""

import itertools
import json
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks import __main__ as command
from benchmarks import _accelerator_parts, _machine, accelerator
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


@pytest.mark.exhaustive
def test_an_accelerator_is_measured_with_toy_sizes(tmp_path):
    options = ["--tiny", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "accelerator", *options],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = json.loads((tmp_path / "quick" / "accelerator.json").read_text())
    assert figures["quick"]
    assert figures["machine"]["device"] in done.stdout
    assert set(figures["peaks"]) == {"bytes", "bfloat16", "float32"}
    parts = figures["parts"]
    assert list(parts) == list(accelerator.parts_of(accelerator.TINY))
    for title, part in parts.items():
        assert f"] {title}: done after" in done.stdout
        for row in part["rows"].values():
            figure = row.get("step_ms", row.get("run_s", 1))
            shares = [row[column] for column in row if column.endswith("_share")]
            assert all(number > 0 for number in [figure, *shares])
    assert set(parts["8-bit AdamW"]["rows"]) == {"ours", "optax", "ours, 8 bits"}
    assert parts["8-bit AdamW"]["rows"]["ours"]["bytes_a_parameter"] == pytest.approx(28, rel=1e-3)
    assert parts["population"]["rows"]["vmap"]["trainings"] == 8


def planted(monkeypatch):
    """Three parts, the second of which fails."""
    fine = lambda sizes, peaks: {"ours": {"step_ms": 1.0}}

    def broken(sizes, peaks):
        raise RuntimeError("Out of memory.\nAnd more.")

    parts = {"first": fine, "second": broken, "third": fine}
    monkeypatch.setattr(accelerator, "parts_of", lambda sizes: parts)


@pytest.mark.exhaustive
def test_a_part_that_fails_is_recorded_and_the_others_run(monkeypatch, tmp_path, capsys):
    planted(monkeypatch)
    assert accelerator.main(["--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "[2/3] second: failed with RuntimeError: Out of memory. after 0.0 s" in said
    assert "Failed: second." in said
    parts = json.loads((tmp_path / "accelerator.json").read_text())["parts"]
    assert parts["second"]["error"] == "RuntimeError: Out of memory."
    assert "in broken" in parts["second"]["traceback"]
    assert parts["first"]["rows"] == parts["third"]["rows"] == {"ours": {"step_ms": 1.0}}


def test_parts_that_have_not_begun_in_time_are_skipped(monkeypatch, tmp_path, capsys):
    planted(monkeypatch)
    assert accelerator.main(["--minutes", "0", "--out", str(tmp_path)]) == 0
    assert "Skipped: first, second, third." in capsys.readouterr().out
    parts = json.loads((tmp_path / "accelerator.json").read_text())["parts"]
    assert [*map(list, parts.values())] == [["skipped"]] * 3


def test_a_share_of_a_peak_that_was_not_measured_is_none():
    assert _accelerator_parts.share(1.0, {}, "bytes") is None
    assert _accelerator_parts.share(1.0, {"bytes": 4.0}, "bytes") == 0.25


def test_torch_takes_no_part_without_a_cuda_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert _accelerator_parts.torch_ways("AdamW", 1, (2, 2)) == {}
