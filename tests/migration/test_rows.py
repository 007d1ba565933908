"""Both sides of each row of the tables do the same.

Ours are compared with the recorded values of torch and Keras, and these with what torch and Keras
give where they are installed. A row of optax is the same call on both sides.
"""

import json
import re

import pytest

from tests.catalogue import PAIRS
from tests.migration.page import LIBRARIES, ROWS, Row, code
from tests.migration.sides import (
    OTHERS,
    RECORDED,
    STEPS,
    kept,
    ours,
    recorded,
    the_keras,
    theirs,
)
from tests.optimizers.trajectories import distance
from tests.tiers import everyday_first


FOREIGN = [row for row in ROWS if not code(row.theirs).startswith("optax")]


def tolerance(row):
    """Of a row, as it says: 1e-10, for differences of points lose digits that updates have."""
    said = re.search(r"\bto (1e-\d+)\b", row.convention)
    return float(said.group(1)) if said else 1e-10


def test_a_row_of_optax_is_the_same_call_of_what_is_compared_elsewhere():
    """In test_against_optax and test_adafactor."""
    for row in ROWS:
        if row not in FOREIGN:
            assert code(row.theirs) == f"optax.{code(row.ours)}"
            assert code(row.ours).split("(")[0] in {*PAIRS, "adafactor"}


@pytest.mark.parametrize(
    "row", everyday_first(14, FOREIGN), ids=[code(row.theirs) for row in FOREIGN]
)
def test_ours_gives_what_was_recorded_of_theirs(row, standard_promotion):
    assert distance(kept(ours(row)), recorded(row)) <= tolerance(row)


@pytest.mark.exhaustive
@pytest.mark.parametrize("row", FOREIGN, ids=[code(row.theirs) for row in FOREIGN])
def test_theirs_gives_what_was_recorded(row, standard_promotion):
    assert distance(kept(theirs(row)), recorded(row)) <= tolerance(row)


def test_every_row_of_torch_and_keras_is_recorded():
    """If not: `python -m tests.migration.record`, where torch and Keras are installed."""
    stored = json.loads(RECORDED.read_text())
    assert set(stored["rows"]) == {code(row.theirs) for row in FOREIGN}
    assert stored["steps"] == STEPS
    assert set(stored["versions"]) == {"torch", "keras", "jax"}


def test_a_row_that_is_wrong_is_noticed(standard_promotion):
    wrong = Row("`optax.sgd(0.1)`", "`sgd(0.11)`", "")
    assert distance(ours(wrong), theirs(wrong)) > 0.05
    (adam,) = [row for row in FOREIGN if row.theirs == "`torch.optim.Adam(params, lr=0.1)`"]
    assert distance(kept(ours(wrong)), recorded(adam)) > 0.05


def test_the_plain_normal_is_not_the_glorot_normal_of_keras(standard_promotion):
    (row,) = [row for row in FOREIGN if "GlorotNormal" in row.theirs]
    plain = re.search(r"(`initializers.variance_scaling.*?`) is the plain normal", row.convention)
    assert distance(ours(row._replace(ours=plain.group(1))), recorded(row)) > 10 * tolerance(row)


def test_the_page_has_rows_for_each_library():
    assert {code(row.theirs).split(".")[0] for row in ROWS} == set(LIBRARIES)
    assert len(ROWS) > 60
    assert {b for b in OTHERS if any(code(row.theirs).startswith(b) for row in ROWS)} == set(OTHERS)


@pytest.mark.exhaustive
def test_torch_refuses_bad_numbers_and_keras_takes_them():
    """Were this to fail, the README's table is to be mended."""
    torch = pytest.importorskip("torch")
    keras = the_keras()
    with pytest.raises(ValueError, match="Invalid beta parameter"):
        torch.optim.Adam([torch.ones(1)], betas=(1.5, 0.9))
    keras.optimizers.Adam(-0.1, beta_1=1.5)
