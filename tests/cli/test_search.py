"""The command that searches: what it finds, prints and writes, and what it refuses."""

import base64
import contextlib
import csv
import io
import json
import re
import shlex
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import studies
from jaxopt_course.cli import TrainOptions, load_data, prepare
from jaxopt_course.studies import Float, configuration_at, search

from .pages import check_page
from .runs import LINEAR, SMALL, call, write_pumps


PICTURES = ["parallel_coordinates.png", "slices.png", "curves.png"]


def run(*arguments):
    """The exit code, and what went to stdout and to stderr."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as progress,
    ):
        code = call("search", *arguments)
    return code, printed.getvalue(), progress.getvalue()


@pytest.fixture(scope="module")
def pumps(tmp_path_factory):
    return write_pumps(tmp_path_factory.mktemp("data") / "pumps.csv")


@pytest.fixture(scope="module")
def search_of_pumps(pumps, tmp_path_factory):
    """The arguments of a search that keeps what it does, its directory, and what it said."""
    folder = tmp_path_factory.mktemp("search")
    arguments = (
        *(pumps, "--target", "state", *SMALL, "--space", "b2=0.99"),
        *("--trials", 4, "--seeds", 2, "--reevaluate", 3, "--strategy", "map"),
        *("--resume", folder / "study"),
    )
    code, *said = run(*arguments, "--out", folder / "out")
    assert code == 0, said
    return arguments, folder, *said


def test_a_search_leaves_its_record_its_trials_and_a_page_with_its_pictures(search_of_pumps):
    _, folder, printed, progress = search_of_pumps
    out = folder / "out"
    assert {path.name for path in out.glob("[!.]*")} == {
        *("search.json", "trials.csv", "report.html", *PICTURES)
    }
    assert "trial 4/4" in progress or "4 trials" in progress
    assert "3 fresh seeds" in progress
    assert "\x1b" not in printed + progress
    page = check_page(out / "report.html")
    assert page.headings[:3] == ["Search", "Best", "Best configurations"]
    assert [base64.b64decode(data) for data in page.pictures] == [
        (out / name).read_bytes() for name in PICTURES
    ]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    best = json.loads((out / "search.json").read_text())["best"]
    assert best["command"] in printed
    assert best["command"].split()[-1] in page.text


def test_the_record_holds_every_score_in_full_and_the_table_repeats_it(search_of_pumps):
    out = search_of_pumps[1] / "out"
    record = json.loads((out / "search.json").read_text())
    scores = np.array(record["trainings"]["scores"])
    assert scores.shape == (4, 1, 2)
    history = np.array(record["trainings"]["history"]["validation_loss"])
    np.testing.assert_array_equal(history.min(-1), scores)  # the best evaluation of each
    means = [row["score"] for row in record["configurations"]]
    np.testing.assert_allclose(means, scores.mean((1, 2)), rtol=1e-12)
    assert record["ranking"] == np.argsort(means).tolist()
    assert record["best"]["number"] == np.argmin(means)
    fresh = record["best"]["fresh_seeds"]
    assert fresh["score"] == pytest.approx(np.mean(fresh["scores"]), rel=1e-12)
    assert np.size(fresh["scores"]) == 3
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == scores.ravel().tolist()
    for row in rows[::2]:
        values = record["configurations"][int(row["configuration"])]["values"]
        assert float(row["learning_rate"]) == pytest.approx(values["learning_rate"], rel=1e-6)
        assert 1 - float(row["1 - b1"]) == pytest.approx(values["b1"], rel=1e-6)
    assert record["config"]["hyperparameters"]["b2"] == 0.99  # fixed


def test_the_command_that_is_printed_means_the_best(search_of_pumps, tmp_path):
    record = json.loads((search_of_pumps[1] / "out" / "search.json").read_text())
    program, command, *arguments = shlex.split(record["best"]["command"])
    assert (program, command) == ("jaxopt-course", "train")
    assert call(command, *arguments, "--out", tmp_path / "run") == 0
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    values = record["best"]["values"]
    assert config["learning_rate"] == values["learning_rate"]
    assert {key: config["hyperparameters"][key] for key in ("b1", "weight_decay")} == {
        key: values[key] for key in ("b1", "weight_decay")
    }
    assert config["hyperparameters"]["b2"] == 0.99
    assert (config["hidden"], config["dropout"], config["epochs"]) == ([], 0.0, 2)


@pytest.fixture
def asked(monkeypatch):
    """What commands ask of ``studies.search`` from here on; it returns trials that all failed."""
    arguments = {}

    def fail(key, hyperparameters, rows):
        numbers = [x for x in jax.tree.leaves(hyperparameters) if not isinstance(x, str)]
        return jnp.nan * sum(numbers)

    def failing(train, space, *, key, **options):
        arguments.update(options, train=train, space=space, key=key)
        return search(fail, space, key=key, trials=2, metric=lambda score: score, progress=False)

    monkeypatch.setattr(studies, "search", failing)
    return arguments


@pytest.mark.exhaustive
def test_the_command_that_is_printed_is_the_training_that_was_searched(
    pumps, tmp_path, monkeypatch
):
    asked, found = {}, []

    def noting(train, space, **options):
        asked.update(options, train=train)
        found.append(search(train, space, **options))
        return found[-1]

    monkeypatch.setattr(studies, "search", noting)
    arguments = (pumps, "--target", "state", *LINEAR, "--epochs", 10, "--batch-size", 8)
    arguments += ("--trials", 4, "--reevaluate", 0)
    code, printed, _ = run(*arguments, "--out", tmp_path / "out")
    assert code == 0
    command = printed.strip().splitlines()[-1]
    assert call(*shlex.split(command)[1:], "--out", tmp_path / "run") == 0
    trained = json.loads((tmp_path / "run" / "run.json").read_text())["figures"]

    options = TrainOptions(file=pumps, target="state")
    best = json.loads((tmp_path / "out" / "search.json").read_text())["best"]["number"]
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        configuration = jax.tree.map(jnp.float32, found[0].configurations[best])
        key = prepare(options, load_data(options)).key
        again = jax.jit(asked["train"])(key, configuration, asked["folds"])
    # The key of `train`, not one of the search: float32, in programs that round differently.
    losses = np.asarray(again.history["validation_loss"])
    assert trained["validation"]["loss"] == pytest.approx(losses.min(), rel=1e-4)


@pytest.mark.exhaustive
def test_a_search_goes_on_from_what_is_kept_and_refuses_what_is_another(search_of_pumps, capsys):
    arguments, folder, *_ = search_of_pumps
    again = folder / "again"
    assert call("search", *arguments, "--reevaluate", 0, "--out", again) == 0
    record = lambda out: json.loads((out / "search.json").read_text())
    first, found = record(folder / "out"), record(again)
    assert found["trainings"]["scores"] == first["trainings"]["scores"]
    assert found["seconds"] == 0.0  # nothing was trained
    assert "fresh_seeds" not in found["best"]
    capsys.readouterr()

    assert call("search", *arguments, "--out", folder / "out") == 2
    assert "already holds a search: give another --out" in capsys.readouterr().err
    assert call("search", *arguments, "--trials", 5, "--out", folder / "other") == 1
    assert "a study with another `trials`" in capsys.readouterr().err


@pytest.mark.exhaustive
def test_halving_reports_its_rungs_and_how_well_they_agree(pumps, tmp_path):
    arguments = (pumps, "--target", "state", *LINEAR, "--batch-size", 8, "--epochs", 6)
    fixed = ("--space", "b1=0.9", "--space", "b2=0.99", "--schedule", "constant")
    out = tmp_path / "out"
    options = ("--method", "halving", "--trials", 9, "--reevaluate", 0, "--out", out)
    code, printed, _ = run(*arguments, *fixed, *options)
    assert code == 0
    names = {"search.json", "trials.csv", "report.html", "rungs.png"}
    assert {path.name for path in out.glob("[!.]*")} == names
    check_page(out / "report.html")
    record = json.loads((out / "search.json").read_text())
    (bracket,) = record["brackets"]
    assert bracket["sizes"] == [9, 3, 1]
    assert len(bracket["rank_correlations"]) == 2
    best = record["best"]
    assert best["steps"] == bracket["steps"][-1] == 30
    assert best["score"] == bracket["scores"][-1][best["number"]]
    assert record["configurations"][record["ranking"][1]]["steps"] == bracket["steps"][1]
    assert "after 30 steps" in printed
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rung"] for row in rows] == ["0"] * 9 + ["1"] * 3 + ["2"]


def arguments_of_all_kinds(pumps):
    """A search of numbers and settings of all kinds, which also sets the optimizer's own."""
    space = ("dropout=0:0.5", "warmup=0:1", "momentum=0.5:0.99:decay", "learning-rate=0:1")
    space += ("activation=relu,tanh", "nesterov=true,false", "batch-size=8,16", "hidden=4,4x4")
    arguments = [str(pumps), "--target", "state", "--epochs", "2", "--optimizer", "sgd"]
    arguments += [part for text in space for part in ("--space", text)]
    return arguments


@pytest.mark.exhaustive
def test_numbers_of_all_kinds_are_traced_and_settings_are_not(pumps, tmp_path, asked):
    assert run(*arguments_of_all_kinds(pumps), "--out", tmp_path / "out")[0] == 3
    space = asked["space"]
    configuration = configuration_at(space, [0.6] * len(space))
    numbers = {k: v for k, v in configuration.items() if isinstance(space[k], Float)}
    assert set(numbers) == {"dropout", "warmup", "1 - momentum", "learning_rate", "weight_decay"}
    train = lambda key, numbers: asked["train"](key, configuration | numbers, asked["folds"])
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        key = jax.random.key(0)
        finished = jax.eval_shape(train, key, jax.tree.map(jnp.float32, numbers))
    assert finished.state.params["Dense_1"]["kernel"].shape == (4, 4)
    assert finished.history["loss"].shape == (2,)


@pytest.mark.exhaustive
def test_smoke_tries_everything_and_keeps_nothing(pumps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("sobol", "halving"):
        numbers = ("--space", "b1=0.9") if method == "halving" else ()
        arguments = arguments_of_all_kinds(pumps) if method == "sobol" else (
            *(pumps, "--target", "state", "--epochs", 2, "--batch-size", 16), *numbers
        )  # fmt: skip
        code, _, progress = run(*arguments, "--method", method, "--smoke")
        assert code == 0, progress
        assert progress.endswith("Everything works.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("asked")
def test_trainings_that_all_diverge_have_an_exit_code_of_their_own(pumps, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = run(pumps, "--target", "state", *SMALL, "--json", "--out", out)
    assert code == 3
    record = json.loads(printed)
    assert record == json.loads((out / "search.json").read_text())
    assert record["best"] is None
    assert [row["score"] for row in record["configurations"]] == [None, None]
    text = check_page(out / "report.html").text
    assert "Every training diverged: lower the learning rates" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--space learnin-rate=1:2", "with adamw: `NAME` must be one of "
         "learning-rate, .*, got 'learnin-rate'. Did you mean 'learning-rate'"),
        ("--space momentum=0.1:0.9", "`NAME` must be one of .*b1, b2, .*, got 'momentum'"),
        ("--space dropout", "NAME=LOW:HIGH, NAME=A,B,... or NAME=VALUE, got 'dropout'"),
        ("--space learning-rate=1e-1:1e-4:log", r"`high` must lie in \(0.1, inf\), got 0.0001"),
        ("--space learning-rate=0:1:log", r"`low` must lie in \(0, inf\), got 0.0"),
        ("--space learning-rate=-1:1", r"`learning_rate` must lie in \[0, inf\), got -1.0"),
        ("--space learning-rate=a:1", "could not convert string to float: 'a'"),
        ("--space learning-rate=1:2:lin", "may be followed by :log or :decay, got 'lin'"),
        ("--space b1=0.5:1.5", r"`b1` must lie in \[0, 1\), got 1.5"),
        ("--space batch-size=32:64", "each value needs a compilation, so list the values"),
        ("--space batch-size=32,2000", r"`batch_size` must lie in \[1, 1168\], got 2000"),
        ("--space normalization=bach,none", "must be one of batch, layer, none, got 'bach'"),
        ("--space activation=relu,rleu", "Did you mean 'relu'"),
        ("--space nesterov=yes,no", "must be one of true, false"),
        ("--space dropout=1 --hidden 4", r"`dropout` must lie in \[0, 1\), got 1.0"),
        ("--trials 0", r"`trials` must lie in \[1, 1000000\], got 0"),
        ("--seeds 0", r"`seeds` must lie in \[1, 1000000\]"),
        ("--folds 0", r"`folds` must lie in \[1, 1000000\]"),
        ("--reevaluate -1", r"`reevaluate` must lie in \[0, 1000000\]"),
        ("--devices 4000", "--devices must lie in"),
        ("--method sobbol", "invalid choice 'sobbol'"),
        ("--method halving --seeds 2", "halving does not support --seeds"),
        ("--method hyperband --space batch-size=32,64", "does not support a list for batch_size"),
        ("--trails 3", "Unrecognized options: --trails, 3. Did you mean '--trials'"),
        ("--optimizer adaam", "Did you mean 'adam'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments, sentence, as_users_run_it, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert call("search", *arguments.split()) == 2
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert re.fullmatch(f"jaxopt-course search: .*{sentence}.*\n", complaint), complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_search_that_is_stopped_says_how_to_go_on(
    number, code, kept, pumps, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(studies, "search", lambda *_, **__: signal.raise_signal(number))
    resume = ("--resume", tmp_path / "study") if kept else ()
    arguments = ("search", pumps, "--target", "state", *SMALL, "--out", tmp_path / "out", *resume)
    handler = signal.getsignal(signal.SIGTERM)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background: none
    try:
        ended = call(*arguments)
    except SystemExit as end:
        ended = end.code
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert ended == code
    assert signal.getsignal(signal.SIGTERM) is handler
    said = capsys.readouterr().err
    expected = "the same command starts again" if kept else "With `--resume DIR`"
    assert expected in said


def test_two_searches_do_not_share_a_directory(pumps, tmp_path, monkeypatch, capsys):
    arguments = ("search", pumps, "--target", "state", *SMALL, "--out", tmp_path / "out")
    codes = []

    def another(*_, **__):
        monkeypatch.setattr(studies, "search", lambda *_, **__: pytest.fail("it has begun"))
        codes.append(call(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "search", another)
    assert call(*arguments) == 130
    assert codes == [2]
    assert "out is in use by another command: give another --out." in capsys.readouterr().err


def test_a_config_file_holds_ranges_too(pumps, tmp_path, asked):
    config = tmp_path / "search.toml"
    config.write_text(
        f'file = "{pumps}"\ntarget = "state"\ntrials = 5\nmethod = "random"\nmax_time = 3\n'
        'space = ["learning_rate=1e-3:1:log", "batch-size=8,16"]\n'
    )
    arguments = ("--config", config, "--space", "batch-size=4", "--json", "--out", tmp_path / "out")
    code, printed, _ = run(*arguments)
    assert code == 3
    assert (asked["trials"], asked["method"]) == (5, "random")
    assert asked["space"]["learning_rate"] == Float(1e-3, 1.0, log=True)
    assert "batch_size" not in asked["space"]
    assert json.loads(printed)["config"]["batch_size"] == 4
