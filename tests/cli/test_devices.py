"""The devices of a command: each test has a process of its own, in which JAX is not initialized."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.tiers import everyday_first

from .runs import LINEAR, write_pumps


ROOT = pathlib.Path(__file__).parents[2]
# private names, because a command would have to train on six devices
TAKE = "from jaxopt_course.cli._process import pop_mesh, take_devices"
UNSET = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
SIX_CORES = "import os; os.cpu_count = lambda: 6; os.sched_getaffinity = lambda _: set(range(6))"


def printed_by(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=kept | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("call", "environment", "count"),
    everyday_first(
        2,
        [
            ("take_devices(None)", {}, 6),
            ("take_devices(None, most=2)", {}, 2),
            ("take_devices(None)", {"JAX_NUM_CPU_DEVICES": "3"}, 3),
            ("take_devices(None)", {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
            ("take_devices(4, most=2)", {"JAX_NUM_CPU_DEVICES": "3"}, 4),
            # JAX has one device, and that is all.
            ("[jax.devices()[0], *take_devices(None)]", {}, 2),
            ("pop_mesh(None).devices", {}, 6),
        ],
    ),
)
def test_on_a_cpu_the_default_is_a_device_for_each_core(call, environment, count):
    program = f"{SIX_CORES}; import jax; {TAKE}; print(len({call}))"
    assert int(printed_by("-c", program, **environment)) == count


def test_one_device_needs_no_mesh():
    program = f"{SIX_CORES}; {TAKE}; print(pop_mesh(1), pop_mesh(None, most=1))"
    assert printed_by("-c", program) == "None None\n"


# a private name: the search is stopped between two calls of its program
STOPPED = """
import sys
import jaxopt_course.studies._table as table
from jaxopt_course.cli import main

own, trained = table.Table.record, []

def record(self, numbers, kept):
    own(self, numbers, kept)
    trained.extend(numbers)
    if sys.argv[1] == "stop" and len(trained) >= 3:
        raise KeyboardInterrupt

table.Table.record = record
code = main(["search", *sys.argv[2:]])
print(code, len(trained))
"""


@pytest.mark.exhaustive
def test_a_search_that_is_resumed_on_other_devices_is_that_of_one(tmp_path):
    pumps, tables = write_pumps(tmp_path / "pumps.csv"), []
    options = (*LINEAR, "--epochs", 1, "--batch-size", 16, "--trials", 9, "--reevaluate", 0)
    search = (pumps, "--target", "state", *options, "--strategy", "map")
    for name, first, second in (("one", 1, 1), ("more", 1, 2), ("fewer", 2, 1)):
        kept, out, trained = tmp_path / f"{name}-study", tmp_path / name, 0
        for what, count in (("stop", first), ("end", second)):
            where = ("--resume", kept, "--out", out, "--devices", count)
            said = printed_by("-c", STOPPED, what, *search, *where).splitlines()[-1].split()
            assert int(said[0]) == (130 if what == "stop" else 0)
            trained += int(said[1])
        assert trained == 9  # each once
        tables.append((out / "trials.csv").read_text())
    assert tables[1:] == tables[:1] * 2
    assert len(tables[0].splitlines()) == 10
