"""What needs a process of its own: single precision throughout, and eight devices."""

import os
import pathlib
import subprocess
import sys

import pytest


ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.exhaustive
@pytest.mark.skipif(os.environ.get("JAXOPT_COURSE_X64") == "0", reason="this is that process")
def test_the_contracts_hold_in_single_precision():
    promises = "test_promises or test_names or test_mixes"
    run("-m", "pytest", "-q", "tests/contracts", "-k", promises, JAXOPT_COURSE_X64="0")


@pytest.mark.exhaustive
def test_the_state_is_sharded_as_the_params_are():
    assert "keep the sharding" in run("-m", "tests.sharded_states")


@pytest.mark.exhaustive
def test_a_population_on_eight_devices_is_that_of_one():
    assert "is that of one" in run("-m", "tests.sharded_population")


@pytest.mark.exhaustive
def test_a_sharded_training_is_that_of_one_device_and_as_large_as_planned():
    assert "and as planned" in run("-m", "tests.sharded_training")
