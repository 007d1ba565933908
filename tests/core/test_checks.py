"""The sentences that bad arguments meet: who, which argument, the rule, the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.core import checks


@pytest.mark.parametrize(
    ("value", "interval"),
    [(0, "[0, 1)"), (0.5, "[0, 1)"), (1, "(0, 1]"), (np.float32(0.3), "[0, 1]"),
     (jnp.array(2), "(1, inf)"), (-1e300, "(-inf, inf)")],
)  # fmt: skip
def test_numbers_inside_pass(value, interval):
    checks.number("f", "x", value, interval)


@pytest.mark.parametrize(
    ("value", "interval"),
    [(1, "[0, 1)"), (0, "(0, 1]"), (float("inf"), "[0, inf)"), (float("nan"), "[0, 1]"),
     (jnp.array(-1.0), "[0, inf)")],
)  # fmt: skip
def test_numbers_outside_are_refused(value, interval):
    with pytest.raises(ValueError, match=r"^f: `x` must lie in [\[(].*[\])], got .*\.$"):
        checks.number("f", "x", value, interval)


@pytest.mark.parametrize(
    "value", [None, True, np.True_, "1", np.str_("1"), 1j, [1.0], np.ones(1), object()]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"^f: `x` must be a number in \[0, 1\], got "):
        checks.number("f", "x", value, "[0, 1]")


def test_traced_scalars_pass_and_traced_vectors_do_not():
    jax.jit(lambda x: checks.number("f", "x", x, "[0, 1]"))(7.0)
    with pytest.raises(TypeError, match=r"array of shape \(2,\)"):
        jax.jit(lambda x: checks.number("f", "x", x, "[0, 1]"))(jnp.ones(2))


def test_static_integers_are_refused_when_traced():
    checks.integer("f", "n", np.int64(3), "[1, inf)")
    with pytest.raises(TypeError, match=r"f: `n` is static.* got a traced value"):
        jax.jit(lambda n: checks.integer("f", "n", n, "[1, inf)"))(3)
    with pytest.raises(TypeError, match="must be an int"):
        checks.integer("f", "n", 1.0, "[1, inf)")
    with pytest.raises(ValueError, match=r"must lie in \[1, inf\), got 0"):
        checks.integer("f", "n", 0, "[1, inf)")


def test_a_rate_may_be_a_schedule():
    checks.learning_rate("f", lambda step: 0.1)
    with pytest.raises(TypeError, match=r"a number in .* or a schedule, got None"):
        checks.learning_rate("f", None)


def test_a_misspelt_choice_is_suggested():
    checks.choice("f", "name", "adam", ["adam", "sgd"])
    with pytest.raises(ValueError, match=r"one of adam, sgd, got 'adm'. Did you mean 'adam'"):
        checks.choice("f", "name", "adm", ["adam", "sgd"])


def test_trees_that_differ_are_told_by_path():
    good = {"a": {"b": jnp.ones(3)}}
    checks.like("f", "gradient", good, good)
    with pytest.raises(ValueError, match=r"gradient at \['a'\]\['b'\] has shape \(\), parameter"):
        checks.like("f", "gradient", {"a": {"b": jnp.ones(())}}, good)
    with pytest.raises(
        ValueError,
        match=(
            r"; only the gradient tree has \['a'\]\['c'\]; only the parameter tree has "
            r"\['a'\]\['b'\]; got "
        ),
    ):
        checks.like("f", "gradient", {"a": {"c": jnp.ones(3)}}, good)
    with pytest.raises(ValueError, match=r"tree; only the parameter tree has \['b'\]; got "):
        checks.like("f", "gradient", {"a": 1.0}, {"a": 1.0, "b": 1.0})


def test_missing_params_are_asked_for():
    with pytest.raises(ValueError, match="f reads the parameters"):
        checks.params("f", None)
