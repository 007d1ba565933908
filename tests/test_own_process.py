"""What needs a process of its own: single precision throughout, and eight devices."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests import sharded_fit


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
    run(
        "-m",
        "pytest",
        "-q",
        "tests/contracts",
        "-k",
        promises,
        JAXOPT_COURSE_X64="0",
        JAXOPT_COURSE_OPTIMIZED="0",
    )


@pytest.mark.exhaustive
def test_the_state_is_sharded_as_the_params_are():
    assert "keep the sharding" in run("-m", "tests.sharded_states")


@pytest.mark.exhaustive
def test_packed_leaves_cost_no_exchange_between_devices():
    assert "cost no exchange" in run("-m", "tests.sharded_packed")


@pytest.mark.exhaustive
def test_a_population_on_eight_devices_is_that_of_one():
    assert "is that of one" in run("-m", "tests.sharded_population")


@pytest.mark.exhaustive
def test_a_sharded_training_is_that_of_one_device_and_as_large_as_planned():
    assert "and as planned" in run("-m", "tests.sharded_training")


@pytest.mark.exhaustive
def test_a_training_on_eight_devices_is_that_of_one():
    assert "is that of one" in run("-m", "tests.sharded_fit")


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:The averaged parameters are evaluated with the model state")
def test_two_processes_train_as_one_and_one_goes_on_with_what_they_saved(tmp_path):
    whole = sharded_fit.train()
    np.save(tmp_path / "whole.npy", whole.history["loss"])
    streamed = sharded_fit.train_on_streams().history
    np.save(tmp_path / "streamed.npy", [streamed["validation_loss"], streamed["validation_f1"]])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pair = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.sharded_fit", str(rank), str(port), str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in pair:
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 0, said[-3000:]
        assert "two processes train as one" in said
    lines = (tmp_path / "log" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8, 12]
    rest = sharded_fit.train(checkpoint=tmp_path / "checkpoints", resume="auto")
    sharded_fit.assert_close(rest, whole)
