"""Both sides of each row of the tables do the same."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.migration.page import COUNTS, LIBRARIES, ROWS, Row, code, the_keras, value_of
from tests.optimizers.trajectories import (
    GRADIENTS,
    PARAMS,
    distance,
    keras_updates,
    torch_updates,
    updates_of,
)


def rates_of_torch(theirs, ours):
    """The rates of both over ``COUNTS``; of a link, those that it makes of the rate 0.1."""
    torch = pytest.importorskip("torch")
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, tx = eval(theirs, {"torch": torch, "opt": opt}), value_of(ours)
    is_link = isinstance(tx, optax.GradientTransformation)
    losses = 2 + np.random.default_rng(0).normal(size=len(COUNTS)) / (1 + COUNTS)
    its, mine, state = [], [], is_link and tx.init(jnp.zeros(()))
    for count in COUNTS:
        if is_link:
            scheduler.step(losses[count])
            update, state = tx.update(jnp.array(0.1), state, value=losses[count])
            mine.append(update)
            its.append(opt.param_groups[0]["lr"])
        else:
            mine.append(tx(count))
            its.append(opt.param_groups[0]["lr"])
            opt.step()
            if count < COUNTS[-1]:  # where some are over
                scheduler.step()
    assert not is_link or min(its) < 0.05, "it was not tried"
    return mine, its


def clipped_by_torch(theirs, ours):
    torch = pytest.importorskip("torch")
    leaves, treedef = jax.tree.flatten(PARAMS)  # which serve as gradients
    params = [torch.nn.Parameter(torch.tensor(np.array(x))) for x in leaves]
    for param in params:
        param.grad = param.detach().clone()
    eval(theirs, {"torch": torch, "params": params})
    tx = value_of(ours)
    mine, _ = tx.update(jax.tree.map(jnp.asarray, PARAMS), tx.init(PARAMS))
    its = jax.tree.unflatten(treedef, [param.grad.numpy() for param in params])
    assert any(np.any(x != y) for x, y in zip(leaves, jax.tree.leaves(its), strict=True))
    return mine, its


def of_keras(theirs, ours):
    """A schedule over ``COUNTS``, or a penalty of some weights."""
    keras = the_keras()
    keras.config.set_floatx("float64")
    function, mine = eval(theirs, {"keras": keras}), value_of(ours)
    if theirs.startswith("keras.regularizers"):
        weights = jnp.asarray(PARAMS["dense"]["kernel"])
        return mine(weights), function(weights)
    return mine(COUNTS), [function(count) for count in COUNTS]


OTHERS = {  # what is no optimizer, by its beginning -> the function that gives both values
    "torch.optim.lr_scheduler.": rates_of_torch,
    "torch.nn.utils.": clipped_by_torch,
    "keras.optimizers.schedules.": of_keras,
    "keras.regularizers.": of_keras,
}


def gap(row, monkeypatch):
    """The largest relative distance of the two sides of ``row``."""
    theirs, ours = code(row.theirs), code(row.ours)
    library = theirs.split(".")[0]
    for beginning, both in OTHERS.items():
        if theirs.startswith(beginning):
            as_row = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
            mine, its = (as_row(tree)[None] for tree in both(theirs, ours))
            return distance(mine, its)
    params, gradients = PARAMS, GRADIENTS
    if "matrices" in theirs:  # square ones: the libraries disagree on which axis is the output
        params, gradients = ({"w": t["dense"]["kernel"][..., :3, :]} for t in (PARAMS, GRADIENTS))
    mine = updates_of(value_of(ours), params=params, gradients=gradients)
    if library == "optax":
        its = updates_of(eval(theirs, {"optax": optax}))
    elif library == "torch":
        torch = pytest.importorskip("torch")
        # Its Muon iterates in bfloat16 whatever the parameters are: not for this comparison.
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
        monkeypatch.setattr(torch, "bfloat16", torch.float64)  # by which newer torches ask for it
        build = lambda leaves: eval(theirs, {"torch": torch, "params": leaves, "matrices": leaves})
        its = torch_updates(build, params, gradients)
    else:
        keras = the_keras()
        its = keras_updates(lambda: eval(theirs, {"keras": keras}), params, gradients)
    return distance(mine, its)


@pytest.mark.exhaustive
@pytest.mark.parametrize("row", ROWS, ids=[code(row.theirs) for row in ROWS])
def test_both_sides_give_the_same(row, standard_promotion, monkeypatch):
    # 1e-10: differences of points lose the digits that points have more than updates.
    said = re.search(r"\bto (1e-\d+)\b", row.convention)
    assert gap(row, monkeypatch) <= (float(said.group(1)) if said else 1e-10)


def test_a_row_that_is_wrong_is_noticed(standard_promotion, monkeypatch):
    assert gap(Row("`optax.sgd(0.1)`", "`sgd(0.11)`", ""), monkeypatch) > 0.05


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
