"""Trained models that the tests of several commands share; tests copy what they change."""

import contextlib
import io

import pytest

from .runs import LINEAR, call, write_pumps


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The directory of a training on the digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    options = ("--hidden", 8, "--epochs", 2, "--batch-size", 16, "--seed", 3)
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as progress,
    ):
        assert call("train", *options, "--out", out) == 0
    (out.parent / "stdout").write_text(printed.getvalue())
    (out.parent / "stderr").write_text(progress.getvalue())
    return out


@pytest.fixture(scope="session")
def pumps_run(tmp_path_factory):
    """A run whose options come from a file and the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("pumps")
    table, config, out = write_pumps(folder / "pumps.csv"), folder / "run.toml", folder / "run"
    config.write_text(
        f'file = "{table}"\ntarget = "state"\nhidden = []\nepochs = 1\nbatch_size = 8\n'
        'normalization = "none"\noptimizer = "sgd"\nmomentum = 0.5\nnesterov = true\n'
        "learning_rate = 1e-2\n"
    )
    arguments = ("--config", config, "--momentum", "0.7", "--epochs", 2, "--out", out, "--json")
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as progress,
    ):
        assert call("train", *arguments) == 0
    return table, out, printed.getvalue(), progress.getvalue()


@pytest.fixture(scope="session")
def regression_run(tmp_path_factory):
    """The directory of a regression that has converged, and what it printed."""
    folder = tmp_path_factory.mktemp("regression")
    table, out = write_pumps(folder / "pumps.csv", 200, labels=False), folder / "run"
    options = (*LINEAR, "--epochs", 40, "--batch-size", 16, "--learning-rate", 0.03)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert call("train", table, "--target", "state", *options, "--out", out, "--json") == 0
    return out, printed.getvalue()
