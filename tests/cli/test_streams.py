"""Streams that cannot be written: one sentence where one can be read, and no result is lost."""

import json
import shlex
import subprocess
import sys

import pytest

from .runs import SMALL, write_pumps


def shell(line, **options):
    """What bash makes of a line in which ``program`` is the command line of this library."""
    program = f"{shlex.quote(sys.executable)} -m jaxopt_course"
    script = f'program() {{ {program} "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=600, **options
    )


STREAMS = {
    "program --version >&-": (1, "stdout cannot be written: Bad file descriptor."),
    "program --version >/dev/full": (1, "stdout cannot be written: No space left on device."),
    "program --help >/dev/full": (1, "stdout cannot be written: No space left on device."),
    "program --version | true; exit ${PIPESTATUS[0]}": (
        1,
        "stdout cannot be written: Broken pipe.",
    ),
    "program --version 2>&1 | true; exit ${PIPESTATUS[0]}": (1, ""),
    "program --version <&- >&- 2>&-": (1, ""),
    "program --version 2>&-": (0, ""),
    "program --version 2>/dev/full": (0, ""),
    "program trian >&-": (2, "unknown command 'trian'"),
    "program trian 2>&-": (2, ""),
    "program trian 2>/dev/full": (2, ""),
}


@pytest.mark.parametrize("line", STREAMS)
def test_what_cannot_be_written_has_an_exit_code_and_no_traceback(line):
    code, sentence = STREAMS[line]
    done = shell(line)
    assert done.returncode == code, done
    assert done.stderr.count("\n") == bool(sentence)
    assert sentence in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("how", "code"),
    [(">&-", 1), ("2>&-", 0), (">&- 2>&-", 1), ("2>/dev/full", 0), (">/dev/full", 1)],
)
def test_a_training_whose_output_is_lost_is_kept(how, code, tmp_path):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "run"
    options = f"{table} --target state --out {out} {' '.join(SMALL)}"
    done = shell(f"program train {options} {how}")
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert json.loads((out / "run.json").read_text())["outcome"] == "completed"
    assert (out / "model.bundle").exists()


@pytest.mark.exhaustive
def test_a_platform_that_is_not_there_is_one_sentence(tmp_path):
    done = shell(f"JAX_PLATFORMS=cuda program train --out {tmp_path / 'run'}")
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "cuda" in done.stderr.splitlines()[-1]
