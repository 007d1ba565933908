"""docs/migration.md: each row of its tables, its recipe, and what it says of differences.

A row whose first two cells are code is evaluated: what stands on both sides does the same. The rows
of "Your loop" have a check each, by their first cell.
"""

import ast
import dataclasses
import inspect
import json
import os
import pathlib
import re
from typing import NamedTuple

import chex
import flax.linen as nn
import flax.serialization
import flax.training.early_stopping
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxopt_course as jc
from tests.optimizers.trajectories import (
    GRADIENTS,
    PARAMS,
    distance,
    flat,
    keras_updates,
    torch_updates,
    updates_of,
)


PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "migration.md").read_text()
COUNTS = np.arange(100)


class Row(NamedTuple):
    """Theirs, ours, and the rest of a row, as they stand on the page."""

    theirs: str
    ours: str
    convention: str


def table_rows(page):
    """The rows of all tables, without their heads."""
    lines = page.splitlines()
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in lines if line.startswith("|")]
    # a head is what a line of dashes follows
    dashes = [set("".join(row)) == {"-"} for row in cells]
    heads = [*dashes[1:], False]
    kept = zip(cells, dashes, heads, strict=True)
    return [Row(*row, *[""] * (3 - len(row))) for row, a, b in kept if not (a or b)]


def code(cell):
    """The Python of a cell that holds nothing else, or None."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    return match and match.group(1)


ALL = table_rows(PAGE)
LIBRARIES = ("optax", "torch", "keras")
ROWS = [row for row in ALL if (code(row.theirs) or "").split(".")[0] in LIBRARIES]


def value_of(source, **names):
    """The value of ``source``, whose names are resolved as by `from jaxopt_course import ...`."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    own = {name: getattr(jc, name) for name in used - names.keys() if hasattr(jc, name)}
    return eval(source, {"jnp": jnp, **own, **names})


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


def the_keras():
    os.environ["KERAS_BACKEND"] = "jax"
    return pytest.importorskip("keras")


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


def test_every_row_has_its_check():
    assert all(code(row.ours) for row in ROWS)
    assert [row.theirs for row in ALL if row not in ROWS] == list(LOOP)
    assert len(ALL) == PAGE.count("\n|") - 2 * PAGE.count("\n|---")


@pytest.mark.exhaustive
def test_torch_refuses_bad_numbers_and_keras_takes_them():
    """Were this to fail, the README's table is to be mended."""
    torch = pytest.importorskip("torch")
    keras = the_keras()
    with pytest.raises(ValueError, match="Invalid beta parameter"):
        torch.optim.Adam([torch.ones(1)], betas=(1.5, 0.9))
    keras.optimizers.Adam(-0.1, beta_1=1.5)


# --- Your loop -----------------------------------------------------------------------------------

X = np.random.default_rng(2).normal(size=(8, 3))
Y = X @ np.ones((3, 1)) + 0.1
SQUARES = jc.problems.problem("regression")
LINE = jc.function_task(
    lambda key: {"w": jnp.zeros((3, 1))}, lambda params, x: x @ params["w"], SQUARES
)


def fitted(optimizer, *, task=LINE, key=0, epochs=3, batch_size=8, **options):
    options = {"progress": False, "key": jax.random.key(key), **options}
    return jc.fit(task, optimizer, (X, Y), epochs=epochs, batch_size=batch_size, **options)


def weights(run):
    return run.state.params["w"]


def a_linen_model(tmp_path):
    model = nn.Dense(2, param_dtype=jnp.float64)
    task = jc.linen_task(model, X[:1], SQUARES)
    params, model_state = task.init(jax.random.key(0))
    out = task.predict(params, model_state, X)
    np.testing.assert_allclose(out, model.apply({"params": params}, X), rtol=1e-12)


def an_nnx_model(tmp_path):
    task = jc.nnx_task(lambda rngs: nnx.Linear(3, 1, rngs=rngs), SQUARES)
    params, model_state = task.init(jax.random.key(0))
    out = task.predict(params, model_state, X)
    np.testing.assert_allclose(out, X @ params["kernel"] + params["bias"], rtol=1e-6)


def a_loss(tmp_path):
    own = lambda outputs, targets: jnp.sum(jnp.abs(outputs - targets), axis=-1)
    absolute = dataclasses.replace(SQUARES, loss=own)
    task = jc.function_task(
        lambda key: {"w": jnp.zeros((3, 1))}, lambda params, x: x @ params["w"], absolute
    )
    first = fitted(jc.sgd(0.1), task=task, epochs=1)
    np.testing.assert_allclose(first.history["loss"], np.abs(Y).mean(), rtol=1e-12)
    np.testing.assert_allclose(weights(first), 0.1 * (X * np.sign(Y)).mean(0)[:, None])


def a_train_state(tmp_path):
    (row,) = [row for row in ALL if row.theirs == "flax's `TrainState`"]
    said = re.findall(r"`(\w+)`", row.ours)
    assert set(said) == set(jc.TrainState._fields)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(fitted(jc.sgd(0.1)).state))


def a_loop(tmp_path):
    tx, w = optax.adam(0.1), jnp.zeros((3, 1))
    state, loss = tx.init(w), lambda w: jnp.mean((X @ w - Y) ** 2)
    for _ in range(3):
        updates, state = tx.update(jax.grad(loss)(w), state)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(weights(fitted(jc.adam(0.1))), w, rtol=1e-10)


def shuffling(tmp_path):
    one, again, other = (weights(fitted(jc.sgd(0.1), key=k, batch_size=3)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)
    still = fitted(jc.sgd(0.0), batch_size=3)  # batches of 3, 3 and 2 rows
    np.testing.assert_allclose(still.history["loss"], np.mean(Y**2), rtol=1e-12)
    assert still.history["step"].tolist() == [3, 6, 9]


def evaluations(tmp_path):
    rows = jc.Rows(np.arange(6), validation=np.arange(6, 8))
    run = fitted(jc.sgd(0.1), batch_size=3, rows=rows)
    assert run.history["validation_loss"].shape == (3,)
    best = np.mean((X[6:] @ run.best_params["w"] - Y[6:]) ** 2)
    np.testing.assert_allclose(best, run.history["validation_loss"].min(), rtol=1e-10)


def a_mean_of_parameters(tmp_path):
    seen = []
    run = fitted(
        jc.ema_params(jc.sgd(0.1), 0.5),
        callbacks=[lambda record: seen.append(np.array(record.state.params["w"]))],
        segment=1,
    )
    mean = (seen[0] + 2 * seen[1] + 4 * seen[2]) / 7
    averaged = jc.evaluation_params(run.state.opt_state, run.state.params)
    np.testing.assert_allclose(averaged["w"], mean, rtol=1e-6)
    np.testing.assert_array_equal(run.best_params["w"], seen[-1])  # and not the mean


def accumulation(tmp_path):
    pieces = fitted(jc.MultiSteps(jc.adam(0.1), 4), batch_size=2)
    np.testing.assert_allclose(weights(pieces), weights(fitted(jc.adam(0.1))), rtol=1e-6)


def checkpoints(tmp_path):
    steps = []
    options = {
        "checkpoint": tmp_path / "checkpoints",
        "resume": "auto",
        "callbacks": [lambda record: steps.append(record.step)],
        "segment": 1,
    }
    first, again = (fitted(jc.sgd(0.1), **options) for _ in range(2))
    assert steps == [1, 2, 3]  # and none the second time
    np.testing.assert_array_equal(weights(first), weights(again))


def a_log(tmp_path):
    run = fitted(jc.sgd(0.1), log=tmp_path / "a")
    lines = (tmp_path / "a" / "history.jsonl").read_text().splitlines()
    logged = [json.loads(line)["loss"] for line in lines]
    np.testing.assert_allclose(logged, run.history["loss"], rtol=1e-6)
    assert len((tmp_path / "a" / "history.csv").read_text().splitlines()) == 1 + 3


def a_logged_rate(tmp_path):
    (row,) = [row for row in ALL if row.theirs == "the logged rate"]
    written = re.search(r"`callbacks=\[(.*?)\]`;", row.ours).group(1)
    printed = []
    schedule = jc.linear_schedule(0.1, 0.0, 4)
    callback = eval(written, {"print": lambda *values: printed.append(values)})
    fitted(jc.inject_hyperparams(jc.adam)(schedule), callbacks=[callback], segment=1)
    assert [step for step, _ in printed] == [1, 2, 3]
    rates = [float(rate) for _, rate in printed]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05], rtol=1e-6)


def early_stopping(tmp_path):
    theirs = flax.training.early_stopping.EarlyStopping(patience=9)
    ours = jc.EarlyStopping(patience=10)
    state, ends = ours.init(), []
    for loss in [2.0, 1.0, *[1.5] * 10]:
        theirs, state = theirs.update(loss), ours.update(state, jnp.array(loss))
        ends.append((theirs.should_stop, bool(state.should_stop)))
    assert ends == [(False, False)] * 11 + [(True, True)]


LOOP = {
    "a Linen model, `model.apply`": a_linen_model,
    "an NNX model": an_nnx_model,
    "the loss function": a_loss,
    "flax's `TrainState`": a_train_state,
    "the jitted step, and the loop over epochs": a_loop,
    "shuffling and batching": shuffling,
    "the evaluation of each epoch": evaluations,
    "a mean of the parameters": a_mean_of_parameters,
    "the accumulation of gradients": accumulation,
    "Orbax's checkpoints": checkpoints,
    "a log": a_log,
    "the logged rate": a_logged_rate,
    "flax's `EarlyStopping(patience=9)`": early_stopping,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("theirs", LOOP)
def test_what_replaces_a_part_of_the_loop_does_the_same(theirs, tmp_path, standard_promotion):
    LOOP[theirs](tmp_path)


# --- States and sentences ------------------------------------------------------------------------

SINGLE = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)


MOVED_AT = 100  # steps


def steps_of(tx, params, state, gradients):
    """The params after these gradients, all of them, and the state then."""

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    gradients = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients)
    (params, state), path = jax.jit(jax.lax.scan, static_argnums=0)(
        body, (params, state), gradients
    )
    return params, state, flat(path)


def continued(theirs, ours, move):
    """The points after that of optax, and of ``ours`` from the state that ``move`` makes."""
    early = jax.tree.map(lambda g: g[:MOVED_AT], GRADIENTS)
    late = jax.tree.map(lambda g: g[MOVED_AT:], GRADIENTS)
    params, old, _ = steps_of(theirs, SINGLE, theirs.init(SINGLE), early)
    state = move(old, ours.init(SINGLE))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, ours.init(SINGLE))
    return [steps_of(tx, params, s, late)[2] for tx, s in ((theirs, old), (ours, state))]


def recipe():
    """`moved`, as the page has it."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    names = {}
    exec(block, names)
    return names["moved"]


def with_trace(old, fresh):
    return jc.tree_utils.tree_set(
        fresh, trace=jc.tree_utils.tree_get(old, "trace"), step=jnp.array(MOVED_AT, jnp.int32)
    )


def with_nu(old, fresh):
    step = jnp.array(MOVED_AT, jnp.int32)
    nu = jc.tree_utils.tree_get(old, "nu")
    return jc.tree_utils.tree_set(fresh, nu=nu, count=step, step=step)


def with_injected_count(old, fresh):
    return fresh._replace(
        count=old.count,
        inner_state=recipe()(old, fresh.inner_state),
        hyperparams_states={"learning_rate": old.hyperparams_states["learning_rate"].count},
    )


MOVES = {
    "adam": (lambda m: m.adam(0.1), recipe()),
    "adam, scheduled": (lambda m: m.adam(m.cosine_decay_schedule(0.1, 200)), recipe()),
    "adamw": (lambda m: m.adamw(0.1, weight_decay=0.1), recipe()),
    "sgd": (lambda m: m.sgd(m.exponential_decay(0.1, 50, 0.5), 0.9), with_trace),
    "rmsprop": (lambda m: m.rmsprop(m.exponential_decay(0.1, 50, 0.5)), with_nu),
    "adam, injected": (
        lambda m: m.inject_hyperparams(m.adam)(m.linear_schedule(0.1, 0.01, 200)),
        with_injected_count,
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_state_of_optax_goes_on_here(name, standard_promotion):
    build, move = MOVES[name]
    theirs, ours = continued(build(optax), build(jc), move)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)
    if "adam" in name:  # and not without the moments
        untouched = continued(build(optax), build(jc), lambda old, fresh: fresh)[1]
        assert np.abs(untouched - theirs).max() > 1e-2 * scale


def test_a_state_of_optax_is_not_restored_here():
    saved = flax.serialization.to_bytes(optax.adam(0.1).init(SINGLE))
    with pytest.raises(ValueError, match="do not match"):
        flax.serialization.from_bytes(jc.adam(0.1).init(SINGLE), saved)


def test_what_is_said_of_fields():
    schedules = {m: m.linear_schedule(1.0, 0.0, 10) for m in (optax, jc)}
    get = jc.tree_utils.tree_get
    theirs, ours = (m.adam(schedules[m]).init(SINGLE) for m in (optax, jc))
    assert get(theirs, "ScaleByScheduleState") is not None
    assert get(ours, "ScaleByScheduleState") is None
    assert get(ours, "step") == 0
    assert "count" in jc.rmsprop(0.1).init(SINGLE)[0]._fields
    assert "count" not in optax.rmsprop(0.1).init(SINGLE)[0]._fields
    theirs, ours = (m.inject_hyperparams(m.adam)(schedules[m]).init(SINGLE) for m in (optax, jc))
    assert theirs.hyperparams_states["learning_rate"].count == 0
    assert ours.hyperparams_states["learning_rate"] == 0
    assert set(ours._fields) - set(theirs._fields) == {"scheduled"}


@pytest.mark.parametrize("library", [optax, jc], ids=["optax", "here"])
def test_setting_an_injected_rate_by_its_name(library, standard_promotion, as_users_run_it):
    one, rate = jnp.ones(()), jnp.array(0.25, jnp.float32)
    after = lambda tx, state: float(tx.update(one, state, one)[0])
    tx = library.inject_hyperparams(library.sgd)(0.1)
    assert after(tx, jc.tree_utils.tree_set(tx.init(one), learning_rate=rate)) == -0.25
    tx = library.inject_hyperparams(library.sgd)(library.linear_schedule(1.0, 0.0, 10))
    state = jc.tree_utils.tree_set(tx.init(one), learning_rate=rate)
    with pytest.raises((AttributeError, ValueError)):
        after(tx, state)
    state = tx.init(one)
    state.hyperparams["learning_rate"] = rate
    assert after(tx, state) == (-0.25 if library is jc else -1.0)


def test_modules_of_optax_are_attributes():
    said = re.search(r"the others\n\((.*?), \.\.\.\)", PAGE, re.S).group(1)
    for name in re.findall(r"`(\w+)`", said):
        assert getattr(jc, name) is getattr(optax, name)
        with pytest.raises(ModuleNotFoundError):
            __import__(f"jaxopt_course.{name}")
    for name in ("contrib", "losses", "schedules", "transforms"):
        __import__(f"jaxopt_course.{name}")


def test_small_differences():
    assert jc.cosine_decay_schedule(0.1, 0)(0) == 0
    with pytest.raises(ValueError, match="positive decay_steps"):
        optax.cosine_decay_schedule(0.1, 0)
    one = jc.constant_schedule(0.1)
    with pytest.raises(ValueError, match="one number less than"):
        jc.join_schedules([one], [10])
    optax.join_schedules([one], [10])  # accepted
    assert jc.multi_transform is optax.multi_transform
    with pytest.raises(ValueError, match=r"label 'b' at \['w'\]"):
        jc.partition({"a": jc.sgd(0.1)}, {"w": "b"}).init({"w": jnp.ones(())})
    assert jc.global_norm(tree=jnp.ones(4)) == 2
    assert "updates" in inspect.signature(optax.global_norm).parameters
    with pytest.raises(TypeError):
        jc.global_norm(updates=jnp.ones(4))
    assert jc.inject_hyperparams is jc.transforms.inject_hyperparams
    assert not hasattr(jc.schedules, "inject_hyperparams")


@pytest.mark.exhaustive
def test_where_keras_starts_its_mean_of_the_parameters():
    """At those after the first step, ours without debiasing at the initial ones."""
    keras = the_keras()
    keras.config.set_floatx("float64")
    variable = keras.Variable(np.ones(3))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    optimizer.build([variable])
    tx = jc.ema_params(jc.sgd(0.1), 0.9, debias=False)
    params, state, points = jnp.ones(3), tx.init(jnp.ones(3)), []
    for grads in GRADIENTS["dense"]["bias"][:5]:
        optimizer.apply([keras.ops.array(grads)], [variable])
        updates, state = tx.update(jnp.asarray(grads), state, params)
        params = params + updates
        points.append(params)
    optimizer.finalize_variable_values([variable])  # the mean takes their place
    apart = np.asarray(variable) - state.ema
    np.testing.assert_allclose(apart, 0.9**5 * (points[0] - 1), rtol=1e-9)


@pytest.mark.exhaustive
def test_a_cosine_of_torch_rises_again_after_its_end():
    torch = pytest.importorskip("torch")
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    for _ in range(20):
        opt.step()
        scheduler.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1)
    assert jc.cosine_decay_schedule(0.1, 10)(20) == 0
