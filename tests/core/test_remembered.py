"""Programs are cached for functions that stay alive, and for nothing else."""

import gc

from jaxopt_course.core import compiled_for, remembered


def test_an_argument_that_cannot_be_hashed_leaves_nothing_behind():
    """A callback of the garbage collector that raises would be printed, and pytest reports it."""
    made = remembered(lambda function, options: function(options["factor"]))
    double = lambda x: 2 * x
    assert made(double, {"factor": 3}) == 6
    del double
    gc.collect()


def test_a_function_that_only_the_call_holds_lives_until_it_returns():
    applied = compiled_for("function")(lambda x, *, function: function(x))
    assert applied(3, function=lambda x: 2 * x) == 6
