"""What the tests of the command line share: a call of it, small options, a table."""

import pathlib

import jax
import numpy as np

from jaxopt_course.cli import main


# A linear model compiles fast.
LINEAR = ["--hidden", "--normalization", "none", "--dropout", "0"]
SMALL = [*LINEAR, "--epochs", "2", "--batch-size", "16"]


def call(*arguments):
    """The exit code of a command line, run in this process as users run it, without x64."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        jax.devices()  # commands make devices only where JAX has none yet
        return main([str(argument) for argument in arguments])


def write_pumps(path: pathlib.Path, n: int = 60, *, labels: bool = True) -> pathlib.Path:
    """A table of two features, and a target that is a linear function of them, or its sign."""
    flow, heat = np.random.default_rng(0).normal(size=(2, n))
    values = 100 + 10 * (flow - heat)
    column = np.where(values > 100, "good", "bad") if labels else values
    rows = (f"{a},{b},{c}\n" for a, b, c in zip(flow, heat, column, strict=True))
    path.write_text("flow,heat,state\n" + "".join(rows))
    return path
