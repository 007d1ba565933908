"""Options with spaces of their own, starting points, other metrics, and numbers without effect."""

import functools
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.studies import (
    Choice,
    Float,
    Int,
    Option,
    configuration_at,
    grid_design,
    search,
    to_optuna,
    to_table,
)

from .problems import SPACE, descend


quietly = functools.partial(search, progress=False)
OPTIMIZERS = {
    "adamw": {"rate": Float(0.0, 1.0), "decay": Float(1e-3, 1.0, log=True)},
    "muon": {"rate": Float(2.0, 3.0), "nesterov": Choice([True, False])},
    "lion": {},
}
CONDITIONAL = {"width": Int(1, 4), "optimizer": Choice(OPTIMIZERS), "fixed": 5}
IDENTITY = lambda x: x


def score(key, hyperparameters, rows):
    """A different formula for each optimizer, of its own numbers only."""
    name, own = hyperparameters["optimizer"]
    width = jnp.asarray(hyperparameters["width"], float)
    if name == "adamw":
        return width + own["rate"] + 10 * own["decay"]
    if name == "muon":
        return width + own["rate"] + (101.0 if own["nesterov"] else 100.0)
    return width + 200.0


def test_a_configuration_names_its_option_and_holds_only_its_numbers():
    # optimizer, adamw's decay and rate, muon's nesterov and rate, width
    at = lambda *point: configuration_at(CONDITIONAL, point)["optimizer"]
    assert at(0.1, 0.0, 0.5, 0.9, 0.9, 0.5) == ("adamw", {"rate": 0.5, "decay": 1e-3})
    assert at(0.5, 0.0, 0.5, 0.9, 0.5, 0.5) == Option("muon", {"rate": 2.5, "nesterov": False})
    assert at(0.9, 0.0, 0.5, 0.9, 0.9, 0.5) == ("lion", {})
    assert len(grid_design(CONDITIONAL, 6)[0]) == 6


@pytest.mark.parametrize("method", ["sobol", "tpe"])
def test_every_option_is_trained_with_its_own_numbers_by_one_program(method, key):
    seen = []

    def train(key, hyperparameters, rows):
        seen.append(hyperparameters["optimizer"].name)
        return score(key, hyperparameters, rows)

    result = quietly(train, CONDITIONAL, key=key, trials=32, method=method, metric=IDENTITY)
    expected = [float(score(key, c, None)) for c in result.configurations]
    np.testing.assert_allclose(result.values, expected, rtol=1e-6)
    assert sorted(set(seen)) == ["adamw", "lion", "muon"]
    assert len(seen) <= 4  # muon has two programs, with and without nesterov
    names = [c["optimizer"].name for c in result.configurations]
    own = np.array(names)[:, None] == ["adamw", "adamw", "muon", "muon"]
    np.testing.assert_array_equal(result.active[:, 1:5], own)
    assert result.active[:, [0, 5]].all()


def test_the_table_has_the_best_of_each_option(key):
    result = quietly(score, CONDITIONAL, key=key, trials=16, metric=IDENTITY)
    _, text = str(result).split("best of each option")
    lines = [line.split() for line in text.splitlines()[1:]]
    names = np.array([c["optimizer"].name for c in result.configurations])
    for words, name in zip(lines[:3], ("adamw", "muon", "lion"), strict=True):
        having = np.flatnonzero(names == name)
        best = having[np.argmin(result.values[having])]
        rank = np.flatnonzero(result.ranking == best)[0] + 1
        shown = ["optimizer", name, len(having), best, rank, f"{result.values[best]:.4g}"]
        assert words == list(map(str, shown))
    assert [words[0] for words in lines[3:]] == ["optimizer/muon/nesterov"] * 2


def test_tables_and_studies_of_optuna_leave_out_what_a_configuration_does_not_have(key):
    result = quietly(score, CONDITIONAL, key=key, trials=16, metric=IDENTITY)
    table = to_table(result, "configuration").to_pydict()
    for number, trial in enumerate(to_optuna(result).trials):
        name, own = result.configurations[number]["optimizer"]
        assert table["optimizer"][number] == name
        columns = {key: table[f"optimizer/adamw/{key}"][number] for key in ("rate", "decay")}
        assert columns == (own if name == "adamw" else {"rate": None, "decay": None})
        expected = {"optimizer", "width", *(f"optimizer/{name}/{key}" for key in own)}
        assert set(trial.params) == expected


@pytest.mark.parametrize("method", ["sobol", "tpe", "grid"])
def test_starting_points_are_trained_first_and_count_among_the_trials(method, key):
    points = [
        {"width": 3, "optimizer": ("muon", {"rate": 2.25, "nesterov": False}), "fixed": 5},
        {"width": 1, "optimizer": Option("adamw", {"rate": 0.25, "decay": 0.1}), "fixed": 5},
    ]
    options = {"key": key, "trials": 20, "metric": IDENTITY, "method": method}
    result = quietly(score, CONDITIONAL, points=points, **options)
    assert len(result.configurations) <= 20
    first, second = result.configurations[:2]
    assert first == {**points[0], "optimizer": Option(*points[0]["optimizer"])}
    assert second["optimizer"].values == pytest.approx(points[1]["optimizer"].values)
    np.testing.assert_allclose(result.values[:2], [3 + 100 + 2.25, 1 + 0.25 + 1], rtol=1e-6)
    if method == "sobol":
        others = quietly(score, CONDITIONAL, **options | {"trials": 18})
        np.testing.assert_array_equal(result.points[2:], others.points)


@pytest.mark.parametrize(
    ("point", "sentence"),
    [
        ({"rate": 4.0}, r"number 0 does not: Float: `value` must lie in \[0.01, 3.0\], got 4.0"),
        ({"rates": 1.0}, "number 0 does not: it must have the structure of `space`"),
        ({"rate": "fast"}, "number 0 does not: Float: `value` must be a"),
    ],
)
def test_a_starting_point_outside_the_space_is_refused(point, sentence, key):
    with pytest.raises(ValueError, match=f"search: `points` must lie in `space`, but {sentence}"):
        quietly(descend, SPACE, key=key, trials=4, points=[point])
    with pytest.raises(ValueError, match=r"`trials` must lie in \[2, inf\), got 1"):
        quietly(descend, SPACE, key=key, trials=1, points=[{"rate": 1.0}])


def test_several_metrics_are_kept_and_have_a_front(key):
    """The loss falls with the width, so each configuration of the front has a cost of its own."""

    def train(key, hyperparameters, rows):
        run = descend(key, hyperparameters, rows)
        return run._replace(best_params={"w": hyperparameters["rate"]})

    metrics = {"size": lambda run: run.best_params["w"]}
    result = quietly(train, SPACE, key=key, trials=32, seeds=2, metrics=metrics)
    rates = np.array([c["rate"] for c in result.configurations])
    for sizes in result.history["size"][:, 0, :, 0].T:
        np.testing.assert_allclose(sizes, rates, rtol=1e-6)
    front = result.pareto("loss", "size")
    losses = result.values
    known = np.flatnonzero(np.isfinite(losses))
    expected = {
        i
        for i in known
        if not any(losses[j] <= losses[i] and rates[j] < rates[i] for j in known if j != i)
    }
    assert set(front.numbers) == expected
    assert len(expected) > 1
    np.testing.assert_allclose(front.values[known, 0], losses[known])
    assert np.isnan(front.values[~np.isfinite(losses), 1]).all()
    assert (np.diff(front.values[front.numbers, 0]) > 0).all()
    assert str(front).splitlines()[1].split()[0] == str(result.best)
    assert result.pareto("accuracy", "size").modes == ("max", "min")
    by_size = quietly(train, SPACE, key=key, trials=8, metrics=metrics, metric="size")
    assert by_size.values[by_size.best] == np.nanmin(by_size.values)
    with pytest.raises(ValueError, match=r"`metrics` must have new names, got \['loss'\]"):
        quietly(train, SPACE, key=key, trials=1, metrics={"loss": metrics["size"]})


@pytest.mark.parametrize("strategy", ["map", "chunk"])
def test_a_number_without_effect_is_named_once(strategy, key):
    space = {**SPACE, "momentum": Float(0.0, 1.0), "beta": Int(1, 3)}
    with pytest.warns(UserWarning, match="depends on 'beta', 'momentum': `train`") as caught:
        quietly(descend, space, key=key, trials=12, strategy=strategy)
    assert len(caught) == 1


def test_a_number_that_one_option_reads_has_an_effect(key):
    space = {"width": Int(1, 4), "kind": Choice(["read", "ignored"])}
    read = lambda key, hp, rows: jnp.float32(hp["width"] if hp["kind"] == "read" else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quietly(read, space, key=key, trials=8, metric=IDENTITY)
        quietly(score, CONDITIONAL, key=key, trials=16, metric=IDENTITY)
        # The only option that reads it may not have been tried.
        point = np.array([[0.9, 0.5]])
        quietly(read, space, key=key, method=point, metric=IDENTITY)


def test_a_number_that_one_combination_reads_is_not_named_before_it_is_tried(key):
    space = {"a": Choice([0, 1]), "b": Choice([0, 1]), "x": Float(0.0, 1.0)}
    read = lambda key, hp, rows: hp["x"] if hp["a"] and hp["b"] else jnp.float32(hp["a"])
    points = [{"a": a, "b": 1 - a, "x": 0.5} for a in (0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quietly(read, space, key=key, trials=3, points=points, metric=IDENTITY)
    never = lambda key, hp, rows: jnp.float32(hp["a"])
    options = {"method": "grid", "metric": IDENTITY}
    with pytest.warns(UserWarning, match="depends on 'x'"):
        quietly(never, space, key=key, trials=4, **options)
    nested = {"o": Choice({"on": {"kind": Choice([1, 2]), "x": Float(0.0, 1.0)}, "off": {}})}
    with pytest.warns(UserWarning, match="depends on 'o/on/x'"):
        quietly(lambda *_: jnp.float32(0), nested, key=key, trials=4, **options)


def test_options_that_were_never_tried_are_in_tables_and_studies_of_optuna(key):
    space = {"o": Choice({"on": {"kind": Choice(["a", "b"])}, "off": {"x": Float(0.0, 1.0)}})}
    train = lambda key, hp, rows: jnp.asarray(hp["o"].values["x"])
    method = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.3]])
    result = quietly(train, space, key=key, method=method, metric=IDENTITY)
    assert [set(trial.params) for trial in to_optuna(result).trials] == [{"o", "o/off/x"}] * 2
    assert to_table(result)["o/on/kind"].to_pylist() == [None, None]


def test_options_with_and_without_values_may_be_starting_points(key):
    space = Choice(["none", Option("sgd", {"rate": Float(0.0, 1.0)})])
    train = lambda key, hp, rows: jnp.float32(1) if hp == "none" else hp.values["rate"]
    points = ["none", ("sgd", {"rate": 0.25})]
    result = quietly(train, space, key=key, trials=4, points=points, metric=IDENTITY)
    assert result.configurations[:2] == ("none", Option("sgd", {"rate": 0.25}))
    with pytest.raises(ValueError, match=r"must be a pair \(name, values\), got 'sgd'"):
        quietly(train, space, key=key, trials=4, points=["sgd"], metric=IDENTITY)


@pytest.mark.parametrize(
    ("method", "trials", "sentence"),
    [
        ("sobol", True, "`trials` must be an int"),
        ("sobol", 1, r"`trials` must lie in \[2, inf\), got 1"),
        (np.zeros((3, 1)), 3, "`trials` must be the 3 of `method` and the 1 of `points`, got 3"),
    ],
)
def test_a_number_of_trials_that_cannot_be_is_refused(method, trials, sentence, key):
    options = {"method": method, "trials": trials, "points": [{"rate": 1.0}]}
    with pytest.raises((TypeError, ValueError), match=sentence):
        quietly(descend, SPACE, key=key, **options)


def test_a_front_takes_the_mode_of_the_search_for_its_score(key):
    """Of (score, width) = (0, 2), (1, 1), (1, 1), (NaN, 0), (1, 3) the ties are the front."""
    table = jnp.array([[0.0, 2.0], [1.0, 1.0], [1.0, 1.0], [jnp.nan, 0.0], [1.0, 3.0]])
    train = lambda key, hp, rows: table[hp["row"]]
    options = {"method": np.linspace(0, 1, 5)[:, None], "metrics": {"width": lambda row: row[1]}}
    options |= {"metric": lambda row: row[0], "mode": "max"}
    result = quietly(train, {"row": Int(0, 4)}, key=key, **options)
    assert result.pareto("score", "width").modes == ("max", "min")
    assert result.pareto("score", "width").numbers.tolist() == [1, 2]
    assert result.pareto("width", "score").numbers.tolist() == [1, 2]
    assert result.pareto("score", "width", ("min", "min")).numbers.tolist() == [0, 1, 2]
    assert result.pareto("score", "width", ("max", "max")).numbers.tolist() == [4]
    result = quietly(train, {"row": Int(0, 4)}, key=key, **options | {"metric": "width"})
    assert result.pareto("width", "score").modes == ("max", "max")


def test_a_study_resumes_with_its_starting_points(tmp_path, key):
    options = {"key": key, "trials": 6, "metric": IDENTITY, "resume": tmp_path}
    point = {"width": 2, "optimizer": ("lion", {}), "fixed": 5}
    first = quietly(score, CONDITIONAL, points=[point], **options)
    again = quietly(score, CONDITIONAL, points=[point], **options)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert sum(again.chunks.values()) == 0
    with pytest.raises(ValueError, match="another `points`"):
        quietly(score, CONDITIONAL, points=[{**point, "width": 3}], **options)
