"""Processes that are killed, terminated, interrupted: what they saved is all that is needed."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax
import pytest

from jaxopt_course.checkpoints import CheckpointStore
from jaxopt_course.optimizers import adam
from jaxopt_course.training import (
    Checkpointing,
    fit,
)
from tests.tiers import everyday_first

from .problems import line, line_task


STEPS, KILLS = 150, 20

# Compiled once for all processes: they are killed while they train, not while they compile.
CACHE = {
    "JAX_COMPILATION_CACHE_DIR": os.path.join(tempfile.gettempdir(), "jaxopt_course-faults"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | CACHE,
    )


def finish(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out


@pytest.mark.faults
def test_twenty_kills_at_random_moments_change_nothing(tmp_path, record_property):
    """Each run saves after every step, so most of the kills come while it is writing."""
    whole = finish(start("tests.training.overnight", tmp_path / "whole", STEPS))
    moments, reached = random.Random(0), []
    for _ in range(KILLS):
        process = start("tests.training.overnight", tmp_path / "killed", STEPS)
        first = process.stdout.readline()  # it is training
        time.sleep(moments.uniform(0, 0.7))
        process.kill()
        rest = process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed: more steps"
        reached.append([int(line.split()[1]) for line in (first + rest).splitlines()])
    for before, after in itertools.pairwise(reached):
        assert after[0] <= before[-1] + 2  # no step is left out
        assert after[0] >= before[-1]  # and at most the last one done again
    again = finish(start("tests.training.overnight", tmp_path / "killed", STEPS))
    assert again.splitlines()[-1] == whole.splitlines()[-1]
    at = [steps[-1] for steps in reached]
    record_property("fault", f"{KILLS} kills, after steps {at}: the same bits")


@pytest.mark.faults
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_saves_and_resuming_it_ends_alike(
    number, code, tmp_path, record_property
):
    options = ["--hidden", 16, "--epochs", 60, "--json"]
    command = ["jaxopt_course", "train", *options]
    whole = json.loads(finish(start(*command, "--out", tmp_path / "whole")))
    process = start(*command, "--out", tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "history.jsonl").exists(), process)
    sent = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    seconds = time.monotonic() - sent
    assert process.returncode == code, said
    assert "--resume" in said
    with CheckpointStore(tmp_path / "run" / "checkpoints") as store:
        saved = store.latest()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["outcome"] == "interrupted"
    again = json.loads(finish(start(*command, "--out", tmp_path / "run", "--resume")))
    assert again["figures"] == whole["figures"]
    for name in ("history.jsonl", "history.csv"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "whole" / name).read_text()
    said = f"signal {number}: gone after {seconds:.2f} s, step {saved} saved, the same figures"
    record_property("fault", said)


@pytest.mark.faults
def test_a_second_signal_ends_the_process_at_once(tmp_path):
    """The first one is waiting for a callback that never returns."""
    script = (
        "import time, jax; from tests.training.problems import *; "
        "from jaxopt_course.optimizers import adam; from jaxopt_course.training import fit; "
        "fit(line_task(), adam(0.1), line(), key=jax.random.key(0), steps=9, batch_size=3, "
        f"segment=1, checkpoint={str(tmp_path / 'c')!r}, "
        "callbacks=[lambda r: (print('on', flush=True), time.sleep(600))])"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143


FULL_DISK = """
import pathlib, resource, signal, sys, warnings
import chex, jax
from jaxopt_course.optimizers import adam
from jaxopt_course.checkpoints import (CheckpointError, CheckpointStore,)
from jaxopt_course.training import (Checkpointing, fit,)
from tests.training.problems import line, line_task

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
data, task, optimizer = line(), line_task(), adam(0.1)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def train(policy, resume="never", **options):
    path = pathlib.Path(sys.argv[1], policy)
    kept = Checkpointing(path, every_steps=1, on_error=policy, resume=resume)
    return path, lambda: fit(
        task, optimizer, data, key=jax.random.key(0), steps=12, batch_size=4, segment=1,
        checkpoint=kept, progress=False, **options,
    )

def fill(record):
    if record.step in (4, 8):
        limit(1000 if record.step == 4 else resource.RLIM_INFINITY)

whole = fit(task, optimizer, data, key=jax.random.key(0), steps=12, batch_size=4, progress=False)
path, run = train("warn", callbacks=[fill])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    chex.assert_trees_all_equal(run(), whole)
missed = sum("continues without a checkpoint" in str(w.message) for w in caught)
with CheckpointStore(path) as store:
    assert store.latest() == 12
path, run = train("raise", callbacks=[fill])
try:
    run()
except CheckpointError as error:
    assert "could not save step 5" in str(error), error
else:
    raise AssertionError("went on")
limit(resource.RLIM_INFINITY)
chex.assert_trees_all_equal(train("raise", resume="auto")[1](), whole)
print(f"full disk: {missed} saves missed and gone on; or stopped, and resumed to the same bits")
"""


@pytest.mark.faults
def test_a_full_disk_ends_a_run_or_does_not(tmp_path, record_property):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 saves missed" in done.stdout
    record_property("fault", done.stdout.strip())


@pytest.mark.faults
def test_a_process_that_leaves_without_closing_has_saved(tmp_path):
    script = (
        "import os, jax; from tests.training.problems import *; "
        "from jaxopt_course.optimizers import adam; "
        "from jaxopt_course.training import Checkpointing, fit; "
        "fit(line_task(), adam(0.1), line(), key=jax.random.key(0), steps=9, batch_size=3, "
        f"segment=1, checkpoint=Checkpointing({str(tmp_path / 'c')!r}, every_steps=1), "
        "callbacks=[lambda r: r.step == 5 and os._exit(0)])"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    with CheckpointStore(tmp_path / "c") as store:
        assert store.latest() == 5


@pytest.mark.parametrize(
    ("number", "error"),
    everyday_first(1, [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]),
)
def test_a_signal_is_granted_when_the_segment_has_been_saved(number, error, tmp_path):
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]

    def send(record):
        if record.step == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(error) as caught:
        fit(
            *(line_task(), adam(0.1), line()),
            key=jax.random.key(0),
            steps=9,
            batch_size=3,
            segment=2,
            checkpoint=Checkpointing(tmp_path / "c", every_seconds=3600),
            callbacks=[send],
        )
    if error is SystemExit:
        assert caught.value.code == 143
    else:
        assert "interrupted after 6 steps. `checkpoint=Checkpoint" in str(caught.value)
    with CheckpointStore(tmp_path / "c") as store:
        assert store.latest() == 6  # that in which it came is finished first
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
