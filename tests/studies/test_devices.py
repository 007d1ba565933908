"""Several devices need a process of their own."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.exhaustive
def test_a_search_on_several_devices_is_that_on_one():
    done = subprocess.run(
        [sys.executable, "-m", "tests.sharded_search"],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "a search on 2 and 4 devices is that on 1" in done.stdout
