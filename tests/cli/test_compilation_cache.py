"""Compiled programs are kept for the next time, and what hinders that does no harm."""

import os
import subprocess
import sys

import pytest

from jaxopt_course.cli import keep_compiled_programs

from .runs import SMALL, write_pumps


NAMES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)
PROGRAM = """\
from jaxopt_course.cli import keep_compiled_programs
keep_compiled_programs()
import jax
events = []
jax.monitoring.register_event_listener(lambda event, **more: events.append(event))
value = jax.jit(lambda x: 2 * x + 1)(3.0)
print(value, sum(event.endswith("compilation_cache/cache_hits") for event in events))
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """What the function may set is as it was afterwards, and the cache lies in ``tmp_path``."""
    for name in NAMES:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return os.environ


@pytest.mark.exhaustive
def test_a_second_process_finds_what_the_first_has_compiled(environment):
    shortest = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    first, second = (run(["-c", PROGRAM], {**environment, **shortest}) for _ in range(2))
    assert (first.stdout, first.stderr) == ("7.0 0\n", "")
    value, hits = second.stdout.split()
    assert value == "7.0"
    assert int(hits) >= 1
    assert second.stderr == ""


def test_a_directory_that_cannot_be_written_is_one_sentence_and_no_harm(environment, tmp_path):
    (tmp_path / "cache").write_text("a file where the directory should be")
    done = run(["-c", PROGRAM], environment)
    assert done.stdout == "7.0 0\n"
    assert done.stderr.startswith("jaxopt-course: compiled programs are not cached: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), [(NAMES[0], "elsewhere"), (NAMES[1], "False")])
def test_what_the_environment_says_wins(name, value, environment, tmp_path, monkeypatch):
    monkeypatch.setenv(name, value)
    before = dict(environment)
    keep_compiled_programs()
    assert dict(environment) == before
    assert not (tmp_path / "cache").exists()


def test_commands_keep_programs_for_their_user_alone_and_help_keeps_none(environment, tmp_path):
    run(["-m", "jaxopt_course", "--version"], environment)
    assert not (tmp_path / "cache").exists()
    run(["-m", "jaxopt_course", "trian"], environment, code=2)
    assert (tmp_path / "cache" / "jaxopt-course" / "programs").stat().st_mode & 0o077 == 0


@pytest.mark.exhaustive
def test_a_training_with_kept_programs_has_the_same_bits(environment, tmp_path):
    table = write_pumps(tmp_path / "pumps.csv")
    arguments = ["train", str(table), "--target", "state", *SMALL, "--out"]
    every = {**environment, NAMES[2]: "0"}  # those that compile quickly too: no clock decides
    kept, histories = [], []
    for name in ("first", "second"):
        run(["-m", "jaxopt_course", *arguments, str(tmp_path / name)], every)
        kept.append({path.name for path in (tmp_path / "cache").rglob("*-cache")})
        histories.append((tmp_path / name / "history.csv").read_bytes())
    assert kept[0]
    assert kept[0] == kept[1]
    assert histories[0] == histories[1]


def run(arguments, environment, code=0):
    done = subprocess.run(
        [sys.executable, *arguments], env=dict(environment), capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done
