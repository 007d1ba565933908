"""Scripts written for optax run unchanged under ``import jaxopt_course as optax``."""

import pathlib
import runpy

import chex
import jax
import numpy as np
import pytest

from tests.tiers import everyday


SCRIPTS = pathlib.Path(__file__).parent / "scripts"
EVERYDAY = ["classification", "injected_rate"]


def result_of(path):
    return jax.tree.map(np.asarray, runpy.run_path(str(path))["RESULT"])


@pytest.mark.parametrize("name", everyday(sorted(x.stem for x in SCRIPTS.glob("*.py")), EVERYDAY))
def test_a_script_gives_what_it_gave(name, tmp_path, standard_promotion):
    path = SCRIPTS / f"{name}.py"
    text = path.read_text()
    assert text.count("import optax\n") == 1
    moved = tmp_path / path.name
    moved.write_text(text.replace("import optax\n", "import jaxopt_course as optax\n"))
    # optax evaluates its schedules in float32, and one of the models is kept in it
    chex.assert_trees_all_close(result_of(moved), result_of(path), rtol=1e-5, atol=1e-6)
