"""The optimizers follow the trajectories that other packages' implementations recorded."""

import numpy as np
import optax
import pytest

from tests.oracles.page import PAGE, ROWS, written
from tests.oracles.rows import KEPT, STEPS, Row, distance, our_points, recorded, start_of


@pytest.mark.parametrize("name", ROWS)
def test_the_trajectory_is_that_of_the_other_package(name):
    row, points = ROWS[name], recorded(name)["points"]
    theirs = [{leaf: np.array(x[i]) for leaf, x in points.items()} for i in range(len(KEPT))]
    steps = our_points(row)
    ours = [steps[t - 1] for t in KEPT]
    assert distance(row, ours, theirs) <= row.bound


def test_the_page_has_the_rows():
    assert PAGE.read_text() == written(PAGE.read_text())


def test_another_rate_is_found():
    row = Row("none", lambda: optax.sgd(0.1), lambda start, gradients: [], 1e-10)
    other = row._replace(ours=lambda: optax.sgd(0.1 * (1 + 1e-6)))
    found = distance(row, our_points(other), our_points(row))
    assert np.isclose(found, 1e-6, rtol=1e-3)
    assert len(our_points(row)) == STEPS
    assert set(start_of(row)) == set(row.shapes)
