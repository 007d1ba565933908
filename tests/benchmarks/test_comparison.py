"""The committed comparison: its report is drawn again from the compact summary."""

import shutil

import pytest

from benchmarks import comparison
from benchmarks._machine import RESULTS
from jaxopt_course.workloads import OPTIMIZERS, WORKLOADS


COMMITTED = RESULTS / "comparison"


@pytest.fixture
def directory(tmp_path):
    """A directory with nothing but the committed summary."""
    shutil.copy(COMMITTED / comparison.SUMMARY, tmp_path)
    return tmp_path


def test_the_tables_are_drawn_again_from_the_summary(directory, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "comparison_figures", lambda *_: {})  # as the next test draws
    comparison.main(["--redraw", "--directory", str(directory)])
    report = (directory / comparison.REPORT).read_text()
    assert report == (COMMITTED / comparison.REPORT).read_text()
    assert capsys.readouterr().out.startswith("optimizer")
    for name in (*OPTIMIZERS, *WORKLOADS):
        assert f" {name} |" in report


@pytest.mark.exhaustive
def test_the_pictures_are_drawn_again_but_for_the_learning_curves(directory):
    comparison.redraw(directory)
    drawn = {path.name for path in directory.glob("*.png")}
    assert drawn == {path.name for path in COMMITTED.glob("*.png")} - {"curves.png"}


def test_the_committed_results_are_small():
    files = [path for path in COMMITTED.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert (COMMITTED / comparison.SUMMARY).stat().st_size < 1e6
