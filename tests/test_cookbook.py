"""The cookbook: its scripts run as printed, are short, and each has its page and its rival."""

import os
import pathlib
import subprocess
import sys

import pytest


FOLDER = pathlib.Path(__file__).parent.parent / "docs/cookbook"
SCRIPTS = sorted(FOLDER.glob("*.py"))
BY_HAND = [FOLDER / "by_hand" / path.name for path in SCRIPTS]
MOST_LINES = 60


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_shown_on_its_page(path):
    assert path.read_text().count("\n") <= MOST_LINES
    assert f"{{literalinclude}} {path.name}" in path.with_suffix(".md").read_text()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "path", SCRIPTS + BY_HAND, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_script_runs(path, tmp_path):
    of_tests = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
    env = {name: value for name, value in os.environ.items() if name not in of_tests}
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
