"""Nothing that a command did not write is deleted or replaced, with ``--overwrite`` or without."""

import hashlib
import json
import os

import pytest

from .runs import SMALL, call, write_pumps


@pytest.fixture
def train(tmp_path):
    table, out = write_pumps(tmp_path / "pumps.csv"), tmp_path / "run"
    return out, lambda *more: call("train", table, "--target", "state", *SMALL, "--out", out, *more)


def everything_in(directory):
    """The content of all files below ``directory``, and where links lead."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in {*folders, *names} - {".lock"}:  # whoever opens a store signs it
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
            else:
                found[path] = "folder"
    return found


def put(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


RESULTS = ("run.json", "model.bundle", "curves.png", "history.jsonl", "history.csv")


@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("--overwrite",), marks=pytest.mark.exhaustive),
        pytest.param(("--resume",), marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize(
    "name", [*RESULTS, "checkpoints/notes.txt", "checkpoints/2019/photo.jpg", "checkpoints/.lock"]
)
def test_files_of_others_are_refused_before_anything_happens(name, more, train, capsys):
    out, run = train
    put(out / name)
    before = everything_in(out)
    assert run(*more) in (1, 2)
    said = capsys.readouterr().err
    assert str(out) in said
    assert "Traceback" not in said
    after = everything_in(out)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("more", [("--overwrite",), ("--resume",)])
@pytest.mark.parametrize("name", ["run.json", "model.bundle", "history.csv", "checkpoints"])
def test_links_are_not_followed(name, more, train, tmp_path, capsys):
    out, run = train
    put(tmp_path / "kept" / "run.json")
    put(tmp_path / "kept" / "5" / "manifest" / "metadata")
    target = tmp_path / "kept" / ("run.json" if "." in name else "")
    out.mkdir()
    (out / name).symlink_to(target)
    before = everything_in(tmp_path / "kept")
    assert run(*more) in (1, 2)
    assert everything_in(tmp_path / "kept") == before
    assert (out / name).is_symlink()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.exhaustive
def test_overwriting_a_run_replaces_it_and_leaves_all_else(train, capsys):
    """Events of TensorBoard too: those of another program stay."""
    out, run = train
    put(out / "tensorboard" / "events.out.tfevents.1.other")
    assert run("--tensorboard") == 0
    put(out / "notes.txt")
    put(out / "checkpoints" / "notes.txt")
    step = max(int(path.name) for path in (out / "checkpoints").glob("[0-9]*"))
    put(out / "checkpoints" / str(step) / "notes.txt")
    put(out / "checkpoints" / "photos" / "a.jpg")
    first = json.loads((out / "run.json").read_text())
    assert run() == 2
    assert "--overwrite" in capsys.readouterr().err
    before = everything_in(out)
    assert run("--overwrite", "--seed", 1) == 1
    said = capsys.readouterr().err
    assert f"{step}/notes.txt is not part of a checkpoint, so nothing is deleted" in said
    assert everything_in(out) == before
    (out / "checkpoints" / str(step) / "notes.txt").unlink()
    assert run("--overwrite", "--seed", 1, "--tensorboard") == 0
    names = sorted(path.name for path in (out / "tensorboard").glob("events*"))
    assert len(names) == 2
    assert names[0] == "events.out.tfevents.1.other"
    again = json.loads((out / "run.json").read_text())
    assert (first["config"]["seed"], again["config"]["seed"]) == (0, 1)
    for name in ("notes.txt", "photos/a.jpg"):
        assert (out / "checkpoints" / name).read_text() == "mine"
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("compare --quick", "curves.png"),
        ("compare --quick", "comparison.json"),
        ("search --trials 2", "trials.csv"),
        ("search --trials 2", "slices.png"),
        ("diagnose", "gradient_flow.png"),
    ],
)
def test_other_commands_refuse_files_of_others_before_they_begin(command, name, tmp_path, capsys):
    out = tmp_path / "out"
    put(out / name)
    for more in ((), ("--overwrite",)):
        assert call(*command.split(), "--out", out, *more) == 2
        said = capsys.readouterr().err
        assert str(out) in said
    assert "was not written by this program" in said
    assert (out / name).read_text() == "mine"
    assert [path.name for path in out.iterdir()] == [name]
