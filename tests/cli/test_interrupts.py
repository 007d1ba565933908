"""Ctrl-C and SIGTERM at every moment of a command, and streams that cannot be written."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxopt_course.checkpoints import (
    CheckpointStore,
)

from .runs import SMALL, write_pumps


LONG = ["train", "--hidden", "8", "--epochs", "100000", "--checkpoint-every", "1"]


def start(*command, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process, code, seconds=60):
    """What it said, with this exit code and no traceback."""
    try:
        out, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:  # it would outlive the test, and warn in another one
        process.kill()
        process.communicate()
        raise
    assert process.returncode == code, (process.returncode, out, said)
    for word in ("Traceback", "KeyboardInterrupt", "Exception ignored"):
        assert word not in said, said
    return said


# a private name, to run any body as a command
CALL = "_main._command = lambda name: command; sys.argv = ['x', 'train']; _main.run_program()"


def program(body):
    """One that runs ``body`` as the command ``train``."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return (
        "import gc, sys, time\nfrom jaxopt_course.cli import _main\n"
        f"def command(arguments):\n    print('ready', flush=True)\n{lines}    return 0\n"
        f"{CALL}\n"
    )


def run(body, *numbers, pause=0.3):
    process = start("-c", program(body))
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        time.sleep(pause)
        process.send_signal(number)
    return process


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_command_in_one_line(number, code, said):
    process = run("time.sleep(60)", number)
    assert ended(process, code) == f"jaxopt-course train: {said}.\n"


LOSES = {
    # Python ignores exceptions there, and most of the time is spent there.
    "a callback of the garbage collector": """
gc.callbacks.append(lambda *_: time.sleep(0.05))
end = time.monotonic() + 60
while time.monotonic() < end:
    gc.collect()
    time.sleep(0.023)
""",
    "a finalizer": """
class Slow:
    def __del__(self):
        time.sleep(0.05)
end = time.monotonic() + 60
while time.monotonic() < end:
    Slow()
    time.sleep(0.023)
""",
    "code that catches everything": """
end = time.monotonic() + 60
for _ in range(3):
    try:
        time.sleep(0.4)
    except BaseException:
        pass
time.sleep(60)
""",
    "another error in its stead": """
try:
    time.sleep(60)
except BaseException:
    raise RuntimeError("INTERNAL: something else")
""",
}


@pytest.mark.parametrize("name", LOSES)
def test_a_signal_is_not_lost_in(name):
    process = run(LOSES[name], signal.SIGINT)
    assert ended(process, 130, seconds=20) == "jaxopt-course train: interrupted.\n"


def test_tidying_up_is_not_interrupted_by_the_same_signal():
    body = """
try:
    time.sleep(60)
finally:
    time.sleep(0.5)
    sys.stderr.write("tidy\\n")
"""
    assert ended(run(body, signal.SIGINT), 130) == "tidy\njaxopt-course train: interrupted.\n"


def test_a_second_signal_ends_a_command_at_once():
    body = "try:\n    time.sleep(60)\nfinally:\n    time.sleep(60)"
    assert ended(run(body, signal.SIGINT, signal.SIGINT), 130, seconds=10) == ""


def test_a_second_signal_ends_even_a_compiled_program():
    """In compiled code Python runs no handlers."""
    body = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    assert ended(run(body, signal.SIGINT, signal.SIGTERM), 143, seconds=10) == ""


def test_two_signals_at_the_same_time_are_one_request():
    """As ``timeout`` sends them, to a process and to its group."""
    body = "try:\n    time.sleep(60)\nfinally:\n    time.sleep(0.2)"
    process = run(body, signal.SIGTERM, signal.SIGTERM, pause=0)
    assert ended(process, 143) == "jaxopt-course train: terminated.\n"


def test_a_signal_that_another_thread_receives_ends_the_command():
    """The main thread waits, and nothing interrupts its system call."""
    body = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {15})\ntime.sleep(60)"
    process = run(body, signal.SIGTERM)
    assert ended(process, 143, seconds=20) == "jaxopt-course train: terminated.\n"


def test_imports_are_not_broken_off(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1)\nprint('whole', flush=True)\n")
    body = f"sys.path.insert(0, {str(tmp_path)!r})\nimport slow\ntime.sleep(60)"
    process = run(body, signal.SIGINT)
    assert process.stdout.readline() == "whole\n"
    ended(process, 130)


def test_after_the_end_a_signal_changes_nothing_but_ends_at_once():
    body = "import atexit; atexit.register(time.sleep, 60)"
    assert ended(run(body, signal.SIGINT), 130, seconds=10) == "jaxopt-course: interrupted.\n"


@pytest.mark.exhaustive
def test_a_training_says_what_is_saved(tmp_path):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "run"
    options = (*SMALL, "--epochs", 10**6, "--checkpoint-every", 0.2)
    process = start(
        *("-m", "jaxopt_course", "train", table, "--target", "state", *options, "--out", out)
    )
    while not list((out / "checkpoints").glob("[0-9]*/manifest")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = ended(process, 130)
    with CheckpointStore(out / "checkpoints") as store:
        step = store.latest()
    assert f"Stopped; step {step} is saved, and `--out {out} --resume` resumes from it." in said
    assert json.loads((out / "run.json").read_text())["outcome"] == "interrupted"


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_twenty_moments_from_the_start_to_the_training(number, tmp_path, record_property):
    """Import, data, compilation and steps; the first moment is when the first line has run."""
    cache = {"JAX_COMPILATION_CACHE_DIR": ""}  # so that there is something to compile
    out = tmp_path / "run"
    process = start("-m", "jaxopt_course", *LONG, "--out", out, env=os.environ | cache)
    begin = time.monotonic()
    while not (out / "history.jsonl").exists() or not (out / "history.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    whole = time.monotonic() - begin
    process.send_signal(number)
    ended(process, 128 + number)
    seconds = []
    for moment in range(20):
        process = start("-m", "jaxopt_course", *LONG, "--out", tmp_path / f"run-{moment}")
        wait_for_handler(process)
        time.sleep(whole * moment / 19)
        sent = time.monotonic()
        process.send_signal(number)
        ended(process, 128 + number)
        seconds.append(time.monotonic() - sent)
    said = (
        f"signal {number} at 20 moments of {whole:.1f} s: gone after {max(seconds):.2f} s at most"
    )
    record_property("fault", said)


def wait_for_handler(process):
    """Until the process catches SIGTERM, which Python does not by itself."""
    bit = 1 << (signal.SIGTERM - 1)
    while True:
        with open(f"/proc/{process.pid}/status") as file:
            caught = next(line for line in file if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) & bit:
            return
        time.sleep(0.005)
