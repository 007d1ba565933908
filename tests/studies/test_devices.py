"""Several devices and several processes need processes of their own."""

import pathlib
import socket
import subprocess
import sys

import pytest


ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.exhaustive
def test_studies_on_several_devices_are_those_on_one():
    assert "are those on 1" in said_by(start())


@pytest.mark.faults
def test_studies_of_two_processes_are_those_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pair = [start(str(rank), str(port), str(tmp_path)) for rank in (0, 1)]
    try:
        assert ["study as one" in said_by(process) for process in pair] == [True, True]
    finally:
        for process in pair:
            process.kill()


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sharded_search", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said_by(process):
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said[-3000:]
    return said
