"""Every row of docs/migration.md: what stands on both sides gives the same updates."""

import os
import pathlib
import re

import optax
import pytest

import jaxopt_course
from tests.optimizers.trajectories import (
    GRADIENTS,
    PARAMS,
    distance,
    keras_updates,
    torch_updates,
    updates_of,
)


PAGE = pathlib.Path(__file__).parents[1] / "docs" / "migration.md"
ROW = re.compile(r"^\| `(?P<theirs>[^`]+)` \| `(?P<ours>[^`]+)` \|", re.MULTILINE)
ROWS = [match.group("theirs", "ours") for match in ROW.finditer(PAGE.read_text())]


class Names(dict):
    """The vocabulary, resolved as `from jaxopt_course import ...` would."""

    def __missing__(self, name):
        return getattr(jaxopt_course, name)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("theirs", "ours"), ROWS, ids=[theirs for theirs, _ in ROWS])
def test_both_sides_give_the_same_updates(theirs, ours, standard_promotion, monkeypatch):
    library = theirs.split(".")[0]
    params, gradients = PARAMS, GRADIENTS
    if "matrices" in theirs:  # square ones: the libraries disagree on which axis is the output
        params, gradients = ({"w": t["dense"]["kernel"][..., :3, :]} for t in (PARAMS, GRADIENTS))
    mine = updates_of(eval(ours, {}, Names()), params=params, gradients=gradients)
    if library == "optax":
        its = updates_of(eval(theirs, {"optax": optax}))
    elif library == "torch":
        torch = pytest.importorskip("torch")
        # Its Muon iterates in bfloat16 whatever the parameters are: not for this comparison.
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
        build = lambda leaves: eval(theirs, {"torch": torch, "params": leaves, "matrices": leaves})
        its = torch_updates(build, params, gradients)
    else:
        os.environ["KERAS_BACKEND"] = "jax"
        keras = pytest.importorskip("keras")
        its = keras_updates(lambda: eval(theirs, {"keras": keras}), params, gradients)
    # 1e-10: differences of points lose the digits that points have more than updates.
    # optax rounds the decay of its Adafactor to float32.
    assert distance(mine, its) <= (1e-6 if theirs.startswith("optax.adafactor") else 1e-10)


def test_the_page_has_rows_for_each_library():
    assert {theirs.split(".")[0] for theirs, _ in ROWS} == {"optax", "torch", "keras"}
    assert len(ROWS) > 30


@pytest.mark.exhaustive
def test_torch_refuses_bad_numbers_and_keras_takes_them():
    """Were this to fail, the README's table is to be mended."""
    torch = pytest.importorskip("torch")
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras")
    with pytest.raises(ValueError, match="Invalid beta parameter"):
        torch.optim.Adam([torch.ones(1)], betas=(1.5, 0.9))
    keras.optimizers.Adam(-0.1, beta_1=1.5)
