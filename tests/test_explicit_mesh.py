"""Meshes with explicit axes, in a process with several devices.

It is a file of its own because files are dealt out to workers, and this one takes minutes.
"""

import pytest

from tests.test_own_process import run


@pytest.mark.exhaustive
def test_an_explicit_mesh_gives_what_one_device_gives():
    assert "gives what one device gives" in run("-m", "tests.sharded_explicit")
