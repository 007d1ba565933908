"""The cookbook: its scripts run, are short, and have a page and a version by hand each."""

import os
import pathlib
import re
import subprocess
import sys

import pytest


FOLDER = pathlib.Path(__file__).parent.parent / "docs/cookbook"
SCRIPTS = sorted(FOLDER.glob("*.py"))
BY_HAND, INDEX = FOLDER / "by_hand", FOLDER / "index.md"
MOST_LINES = 60


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_shown_on_its_page(path):
    assert path.read_text().count("\n") <= MOST_LINES
    assert f"{{literalinclude}} {path.name}" in path.with_suffix(".md").read_text()


def test_the_index_counts_the_lines_of_both_versions():
    row = r"^\| \[.*\]\((\w+)\.md\) \| (\d+) \| (\d+) \|$"
    rows = re.findall(row, INDEX.read_text(), re.M)
    lines = lambda path: str(path.read_text().count("\n"))
    expected = {path.stem: (lines(path), lines(BY_HAND / path.name)) for path in SCRIPTS}
    assert {name: (here, by_hand) for name, here, by_hand in rows} == expected


def run(path, folder):
    of_tests = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
    env = {name: value for name, value in os.environ.items() if name not in of_tests}
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_version_by_hand_runs(path, tmp_path):
    run(BY_HAND / path.name, tmp_path)
