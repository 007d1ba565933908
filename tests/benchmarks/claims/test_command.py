"""The command ``python -m benchmarks claims``: its report, what it keeps, what it refuses."""

import base64
import json
import re

import numpy as np
import pytest

from benchmarks.claims import CLAIMS, Claim, Claimed, Evidence, Groups, exact_effect
from benchmarks.claims import __main__ as command
from tests.cli.pages import check_page


def call(*arguments):
    """The exit code of the command, run in this process."""
    try:
        return command.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


@pytest.fixture
def tried(monkeypatch):
    """Claims that cost nothing and differ in their verdict; the list of those that were tried."""
    names = []

    def claim(name, value):
        def measure(key, seeds, quick):
            names.append(name)
            effect = exact_effect(f"A number of {name}.", value, Claimed(0.0, 2.0, "size"))
            return Evidence((effect,), "Nowhere.", Groups({"it": np.full(seeds, value)}, "y"))

        return Claim(name, f"The claim {name}.", "T", measure)

    own = {name: claim(name, value) for name, value in (("good", 1.0), ("bad", 3.0), ("odd", 2.0))}
    monkeypatch.setattr(command, "CLAIMS", own)
    return names


def test_claims_leave_a_record_a_table_and_a_page(tried, tmp_path, capsys):
    out = tmp_path / "out"
    assert call("bad", "good", "--seed", 3, "--out", out) == 0
    printed, progress = capsys.readouterr()
    assert tried == ["bad", "good"]
    assert "2 claims with 20 seeds" in progress
    assert re.search(r"bad: does not hold, \d+\.\d s\n", progress)
    lines = [line.strip() for line in printed.splitlines() if ": The claim" in line]
    assert re.fullmatch(r"bad: The claim bad\. +3 \[3, 3\] +does not hold", lines[0])
    assert re.fullmatch(r"good: The claim good\. +1 \[1, 1\] +holds", lines[1])

    record = json.loads((out / "claims.json").read_text())
    assert [own["name"] for own in record["claims"]] == ["bad", "good"]
    assert [own["verdict"] for own in record["claims"]] == ["does not hold", "holds"]
    assert (record["seeds"], record["seed"], record["quick"]) == (20, 3, False)
    assert set(record["seconds"]) == {"bad", "good"}
    assert {"jax", "jaxopt_course"} < set(record["versions"])
    tables = (out / "report.md").read_text()
    assert (
        "| good | holds |  |  |  | The claim good. |  |\n"
        "|  | holds | 1 | [1, 1] | 0 to 2 | A number of good. | size |" in tables
    )
    assert "- good (T; 20 seeds): Nowhere." in tables
    page = check_page(out / "report.html")
    assert page.headings == ["In short", "The claim bad.", "The claim good."]
    pictures = {path.read_bytes() for path in out.glob("*.png")}
    assert {base64.b64decode(data) for data in page.pictures} == pictures
    assert {path.name for path in out.glob("*.png")} == {"bad.png", "good.png"}

    assert call("good", "--out", out) == 2
    assert "already holds results: give another --out" in capsys.readouterr().err


def test_finished_claims_are_kept_and_not_tried_again(tried, tmp_path, capsys):
    kept = tmp_path / "kept"
    again = ("--quick", "--resume", kept, "--json", "--overwrite", "--out", tmp_path / "out")
    assert call("good", *again) == 0
    first = json.loads(capsys.readouterr().out)
    assert call(*again) == 0
    second = json.loads(capsys.readouterr().out)
    assert tried == ["good", "bad", "odd"]
    assert [path.name for path in sorted(kept.iterdir())] == ["bad.json", "good.json", "odd.json"]
    assert second["claims"][0] == first["claims"][0]
    assert second["seconds"]["good"] == first["seconds"]["good"]
    assert [own["seeds"] for own in second["claims"]] == [5, 5, 5]

    # What was measured otherwise is not taken, nor what is damaged.
    assert call("good", *again, "--seed", 2) == 2
    assert "was measured with another seed: give another --resume" in capsys.readouterr().err
    (kept / "good.json").write_text('{"about": 1')
    assert "good.json is damaged" in call("good", *again)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("momentun", "`NAME` must be one of momentum, .* Did you mean 'momentum'"),
        ("momentum momentum", "each NAME may be given only once"),
        ("--seeds 1", r"`seeds` must lie in \[2, 10000\], got 1"),
        ("--seed -1", r"`seed` must lie in \[0, 4294967296\), got -1"),
        ("--seeds few", "few"),
        ("--resume a --out a", "--resume and --out must be two directories"),
        ("--trials 3", "unrecognized arguments: --trials"),
    ],
)
def test_wrong_usage_is_said_with_exit_code_2(
    arguments, sentence, as_users_run_it, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments.split()) == 2
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert re.search(f"\npython -m benchmarks claims: error: .*{sentence}", complaint), complaint
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_stopped_keeps_what_is_done(tried, tmp_path, monkeypatch, capsys):
    def stop(key, seeds, quick):
        raise KeyboardInterrupt

    monkeypatch.setitem(command.CLAIMS, "odd", Claim("odd", "Stops.", "T", stop))
    arguments = ("--resume", tmp_path / "kept", "--out", tmp_path / "out")
    assert call(*arguments) == 130
    assert "Stopped. Finished claims are kept in" in capsys.readouterr().err
    assert [path.name for path in sorted((tmp_path / "kept").iterdir())] == [
        *("bad.json", "good.json")
    ]


def test_help_names_all_claims(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert call("--help") == 0
    shown = capsys.readouterr().out
    for word in (*CLAIMS, "--quick", "--resume DIR"):
        assert word in shown
