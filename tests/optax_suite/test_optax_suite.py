"""optax's own tests, run against this library in a process of their own.

``python -m pytest -s -m exhaustive tests/optax_suite`` prints the counts.
"""

import json
import os
import pathlib
import subprocess
import sys

import optax
import pytest

from tests.optax_suite.differences import DIFFERENCES


ROOT = pathlib.Path(__file__).parents[2]
OPTAX = pathlib.Path(optax.__file__).parent
MODULES = [
    *(f"_src/{name}_test.py" for name in ("alias", "base", "combine", "factorized", "float64")),
    *(f"_src/{name}_test.py" for name in ("lookahead", "sharding", "transform", "update")),
    *(f"contrib/_{name}_test.py" for name in ("common", "complex_valued", "muon")),
    *(f"contrib/_{name}_test.py" for name in ("reduce_on_plateau", "sam", "schedule_free")),
    *(f"losses/_{name}_test.py" for name in ("classification", "regression", "smoothing")),
    *(f"schedules/_{name}_test.py" for name in ("inject", "join", "schedule")),
    *(str(path.relative_to(OPTAX)) for path in sorted((OPTAX / "transforms").glob("*_test.py"))),
]


def cases_of(tmp_path):
    path = tmp_path / "report.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"),
            *("-p", "tests.optax_suite.laid_over", "-c", os.devnull),
            *(f"--rootdir={OPTAX.parent}", *(str(OPTAX / module) for module in MODULES)),
        ],
        cwd=ROOT,
        env=os.environ | {"OPTAX_SUITE_REPORT": str(path)},
        capture_output=True,
        check=False,  # some cases fail: they are listed
    )
    return json.loads(path.read_text())["cases"]


@pytest.mark.exhaustive
def test_optax_passes_its_tests_with_our_names(tmp_path):
    cases = cases_of(tmp_path)
    ran = {name: case for name, case in cases.items() if case["outcome"] != "skipped"}
    ours = {name: case["outcome"] for name, case in ran.items() if case.get("reached")}
    failed = {name for name, outcome in ours.items() if outcome == "failed"}
    passed = len(ours) - len(failed)
    print(  # noqa: T201
        f"{len(cases)} cases, {len(cases) - len(ran)} skipped, {len(ours)} reached this library: "
        f"{passed} passed, {len(failed)} failed, {100 * passed / len(ours):.2f} %"
    )
    assert len(ours) > 100, "hardly anything was laid over"
    assert not failed - DIFFERENCES.keys(), "failed, and no reason is listed"
    assert not DIFFERENCES.keys() - failed, "listed, and does not fail"
    assert passed >= 0.98 * len(ours)
