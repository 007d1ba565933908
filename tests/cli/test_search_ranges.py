"""The ranges of a search: their defaults, how they are named, and what lies at an end of one."""

import itertools
import shlex

import jax
import numpy as np
import pytest

from jaxopt_course.cli import RECIPES, main
from jaxopt_course.studies import Choice, Float, configuration_at, search


def test_pictures_name_ranges_as_the_command_line_does_each_with_its_own_points():
    # a private name, because what the command draws is in PNG files only
    from jaxopt_course.cli._search import _spelled
    from jaxopt_course.plots import parallel_coordinates

    space = {"1 - b1": Float(0.1, 0.5), "a1": Float(1.0, 2.0), "a_b": Float(10.0, 20.0)}
    options = {"key": jax.random.key(0), "trials": 3, "metric": lambda score: score}
    told = search(lambda key, values, rows: sum(values.values()), space, **options, progress=False)
    drawn = _spelled(told)
    labels = parallel_coordinates(drawn).axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["1 - b1", "a-b", "a1", "score"]
    np.testing.assert_array_equal(drawn.points, told.points[:, [0, 2, 1]])


@pytest.mark.parametrize("name", RECIPES)
def test_the_default_ranges_hold_the_defaults_and_can_be_written_and_trained(name):
    # private names, because a command would draw pictures for each of the optimizers
    from jaxopt_course.cli._options import command_of, default_options
    from jaxopt_course.cli._space import default_space, read_space, spell, values_at, with_values
    from jaxopt_course.cli._trials import SearchOptions

    options = default_options(SearchOptions, name)
    ranges = default_space(options)
    assert "learning_rate" in ranges
    assert [*ranges] == sorted(ranges)
    for place, kind in ranges.items():
        value = with_values(options, {place: kind.low})
        assert value != options
        key = place.removeprefix("1 - ")
        default = {**vars(options), **options.hyperparameters}[key]
        if default:
            assert kind.low <= (default if key == place else 1 - default) <= kind.high
    again, same = read_space(options, spell(ranges))
    assert same == options
    for place, kind in ranges.items():
        ends = [again[place].low, again[place].high]
        np.testing.assert_allclose(ends, [kind.low, kind.high], rtol=1e-5)
    values = values_at(configuration_at(ranges, [0.3] * len(ranges)))
    arguments = shlex.split(command_of(with_values(options, values)))[2:]
    said = dict(itertools.pairwise(arguments))
    for key, value in values.items():
        assert np.float32(said["--" + key.replace("_", "-")]) == np.float32(value)


def test_what_lies_at_an_end_of_its_range_is_said_unless_the_end_is_0():
    from jaxopt_course.cli._search import at_edges  # where the best of a search lies is luck

    ranges = {
        "learning_rate": Float(1e-3, 1.0, log=True),
        "1 - b1": Float(0.01, 0.5, log=True),
        "dropout": Float(0.0, 0.6),
        "batch_size": Choice([1, 2]),
    }
    names = sorted(ranges)
    at = lambda **u: np.array([{"1 - b1": u.get("b1", 0.5), **u}.get(name, 0.5) for name in names])
    assert at_edges(ranges, at(batch_size=0.01, dropout=0.01)) == []
    (rate,) = at_edges(ranges, at(learning_rate=0.96))
    assert "learning-rate 0.7586 lies within 5 % of the upper end of learning-rate=0.001:1" in rate
    (decay,) = at_edges(ranges, at(b1=0.01))
    assert "b1 0.9896 lies within 5 % of the upper end of b1=0.5:0.99:decay" in decay
    (dropout,) = at_edges(ranges, at(dropout=0.99))
    assert "upper end of dropout=0:0.6" in dropout


def test_help_shows_the_default_ranges_of_the_optimizer(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main(["search", "--optimizer", "lion", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "by default with lion" in shown
    assert "learning-rate=1e-05:0.009:log" in shown
    for option in ("--trials", "--method", "--space", "--resume DIR", "--learning-rate", "--b1"):
        assert option in shown
    assert "--checkpoint-every" not in shown
