"""What the system can do to a save: a full disk, a directory that cannot be written, a kill."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from jaxopt_course.checkpoints import CheckpointLockedError, CheckpointStore
from tests.test_own_process import run


pytestmark = pytest.mark.faults

START = """
import os, pathlib, resource, signal, sys, time
import numpy as np
from jaxopt_course.checkpoints import (CheckpointError, CheckpointStore, CheckpointLockedError,)
directory = pathlib.Path(sys.argv[1])
small = {"at": np.arange(3.0)}
large = {"at": np.random.default_rng(0).normal(size=50_000)}
listing = lambda: sorted(os.listdir(directory))
"""

DISK_FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with CheckpointStore(directory) as store:
    store.save(1, small, loss=1.0)
    before = large["at"].tobytes()
    _, unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (200_000, 2_000, 100, 0):
        for step in (1, 2):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited))
            try:
                store.save(step, large)
            except CheckpointError as error:
                assert f"could not save step {step} in {directory}: " in str(error), error
                assert "File too large" in str(error), error
                assert "\\n" not in str(error)
                assert error.__cause__ is not None
            else:
                raise AssertionError(f"saved {limit}")
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            assert listing() == [".lock", "1"], listing()
            assert large["at"].tobytes() == before
            assert store.restore(small).tree["at"].tolist() == [0, 1, 2]
    store.save(2, large)
    assert store.restore(large).tree["at"].tobytes() == before
    print("as it was")
"""

NOT_WRITABLE = """
with CheckpointStore(directory) as store:
    store.save(1, small)
    if os.getuid() == 0:  # whom no mode keeps out
        for path in (directory, *directory.rglob("*")):
            os.chown(path, 65534, 65534)
        os.setgid(65534)
        os.setuid(65534)
    os.chmod(directory, 0o555)
    for step in (1, 2):
        try:
            store.save(step, small)
        except CheckpointError as error:
            assert f"could not save step {step} in {directory}: PermissionError" in str(error)
        else:
            raise AssertionError("saved")
        assert listing() == [".lock", "1"]
        assert store.restore(small).step == 1
    os.chmod(directory, 0o755)
    store.save(2, small)
    assert listing() == [".lock", "1", "2"]
directory.joinpath(".lock").unlink()
os.chmod(directory, 0o555)
for place, sentence in ((directory, "cannot write in"), (directory / "x", "cannot make")):
    try:
        CheckpointStore(place)
    except CheckpointError as error:
        assert f"CheckpointStore: {sentence} {place}: PermissionError: " in str(error), error
    else:
        raise AssertionError("opened")
print("as it was")
"""

HOLDER = """
with CheckpointStore(directory) as store:
    for step in range(10_000):
        store.save(step, {"at": np.full(20_000, float(step))})
        print(step, flush=True)
"""


@pytest.mark.parametrize("script", [DISK_FULL, NOT_WRITABLE], ids=["full", "not writable"])
def test_a_save_that_cannot_be_made_changes_nothing_and_the_next_one_works(script):
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)  # so that the user whom the script becomes gets there
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", START + script, os.path.join(parent, "run")],
            cwd=pathlib.Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "as it was\n"), done.stderr[-3000:]
    assert "Traceback" not in done.stderr  # what is raised is not printed besides


def test_a_killed_process_leaves_a_sound_checkpoint_and_no_lock(tmp_path):
    directory = tmp_path / "run"
    for delay in (0.0, 0.02, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", START + HOLDER, str(directory)],
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            for line in holder.stdout:
                if int(line) == 3:
                    break
            named = rf'run is in use by another store: {{"pid": {holder.pid}, "host": '
            with pytest.raises(CheckpointLockedError, match=named):
                CheckpointStore(directory)
            time.sleep(delay)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            seen = [3, *map(int, holder.stdout)][-1]
        with CheckpointStore(directory) as store:
            step, tree, *_ = store.restore({"at": np.zeros(20_000)})  # a warning would be an error
            assert step in (seen, seen + 1)
            assert (tree["at"] == step).all()
            assert all(name == ".lock" or name.isdigit() for name in os.listdir(directory))
            assert json.loads((directory / ".lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_arrays_spread_over_devices_come_back_on_others(processes, tmp_path, record_property):
    """Of one process with eight devices; of two processes with two each."""
    said = run("-m", "tests.sharded_checkpoints", str(tmp_path / "run"), str(processes))
    record_property("fault", f"{processes} process(es): {said.splitlines()[-1]}")
