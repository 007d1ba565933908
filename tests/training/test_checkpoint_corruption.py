"""Whatever happens to the bytes on disk: what is read is what was saved, or it is refused."""

import collections
import shutil
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointCorruptError,
    CheckpointStore,
    CheckpointWarning,
    _store,  # a private name, in which a defect is planted
)


# Arrays whose reading goes on when the first one fails may complain late, from their own threads.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FLIPS = 100
EVERYDAY = 3


def state(seed):
    random = np.random.default_rng(seed)
    return {
        "step": np.array(seed),
        "params": {
            "w": random.normal(size=(20, 9)).astype(np.float32),
            "b": np.asarray(jnp.full(3, seed, jnp.bfloat16)),
        },
        "moments": (random.normal(size=(300,)), np.zeros((0, 2))),
    }


def equal(a, b):
    try:
        np.testing.assert_equal(a, b)
    except AssertionError:
        return False
    return True


class Damaged:
    """Checkpoints of steps 1 and 2, of which the second can be damaged again and again."""

    def __init__(self, directory, backup):
        self.directory, self.backup = directory, backup
        with CheckpointStore(directory) as store:
            store.save(1, state(1))
            store.save(2, state(2))
        shutil.copytree(directory / "2", backup)
        self.files = sorted(p.relative_to(backup) for p in backup.rglob("*") if p.is_file())

    def outcome(self, file, damage):
        """What is read of step 2 after ``damage(bytes) -> bytes | None`` to one of its files."""
        shutil.rmtree(self.directory / "2")
        shutil.copytree(self.backup, self.directory / "2")
        path = self.directory / "2" / file
        content = damage(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)
        with (
            CheckpointStore(self.directory) as store,
            warnings.catch_warnings(action="always", record=True) as caught,
        ):
            step, tree, *_ = store.restore(state(0))
        if not equal(tree, state(step)):
            return "OTHER"
        if step == 2:
            assert not caught
            return "the same"
        (warning,) = (str(w.message) for w in caught if w.category is CheckpointWarning)
        assert warning.startswith("CheckpointStore: the checkpoint of step 2 in ")
        assert warning.endswith(" It is skipped; the checkpoint before it is tried.")
        assert " is corrupt: " in warning
        assert "\n" not in warning
        return "corrupt"


@pytest.fixture
def damaged(tmp_path):
    return Damaged(tmp_path / "run", tmp_path / "backup")


def flip(random):
    def damage(content):
        changed = bytearray(content)
        changed[random.integers(len(changed))] ^= 1 << random.integers(8)
        return bytes(changed)

    return damage


WAYS = {
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda _: b"",
    "missing": lambda _: None,
}


def survey(damaged, files, n_flips, seed=0):
    """A table: of each kind of damage, how often which outcome."""
    random = np.random.default_rng(seed)
    table = {kind: collections.Counter() for kind in ("flipped", *WAYS)}
    for trial in range(n_flips):  # in turn, so that every file is hit
        file = files[trial % len(files)]
        table["flipped"][damaged.outcome(file, flip(random))] += 1
    for kind, damage in WAYS.items():
        for file in files:
            table[kind][damaged.outcome(file, damage)] += 1
    return table


@pytest.mark.exhaustive
def test_the_arrays_and_the_manifest_are_guarded(damaged):
    """Of all files, those where most of the bytes are: the largest, and the manifest."""
    largest = sorted(damaged.files, key=lambda f: (damaged.backup / f).stat().st_size)[-EVERYDAY:]
    manifest = [file for file in damaged.files if file.parts[0] == "manifest"]
    table = survey(damaged, [*largest, *manifest], 5)
    assert sum(outcomes["OTHER"] for outcomes in table.values()) == 0
    assert table["truncated"]["corrupt"] >= EVERYDAY


def test_without_digests_other_data_would_be_seen_here(damaged, monkeypatch):
    """Planted defect: arrays are read and not checked."""
    files = [file for file in damaged.files if file.parts[0] == "arrays"]
    largest = max(files, key=lambda file: (damaged.backup / file).stat().st_size)
    random = np.random.default_rng(1)
    monkeypatch.setattr(_store, "is_sound", lambda record, data: True)
    outcomes = {damaged.outcome(largest, flip(random)) for _ in range(5)}
    assert "OTHER" in outcomes


@pytest.mark.faults
def test_no_damage_to_any_file_gives_other_data(damaged, record_property):
    table = survey(damaged, damaged.files, FLIPS)
    for kind, outcomes in table.items():
        record_property("fault", f"files {kind}: {dict(outcomes)}")
    assert sum(outcomes["OTHER"] for outcomes in table.values()) == 0
    assert table["flipped"].total() == FLIPS
    assert min(outcomes["corrupt"] for outcomes in table.values()) >= 4


def test_where_all_are_corrupt_that_is_the_error(damaged):
    for step in "12":
        for file in (damaged.directory / step / "arrays").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    with CheckpointStore(damaged.directory) as store:
        with (
            pytest.warns(CheckpointWarning) as caught,
            pytest.raises(CheckpointCorruptError, match=r"none of .* is sound: steps 1, 2\."),
        ):
            store.restore(state(0))
        assert [str(w.message).split(" in ")[0][-1] for w in caught] == ["2", "1"]
        store.save(3, state(3))  # the manifests are sound: the directory is known as its own
        assert equal(store.restore(state(0)).tree, state(3))


def test_the_corrupt_leaf_is_named(damaged):
    def zeroed(content):
        return bytes(len(content))

    files = [file for file in damaged.files if "d" in file.parts]
    largest = max(files, key=lambda file: (damaged.backup / file).stat().st_size)
    assert damaged.outcome(largest, zeroed) == "corrupt"
    with (
        CheckpointStore(damaged.directory) as store,
        pytest.raises(CheckpointCorruptError, match=r"the leaf at \['"),
    ):
        store.restore(state(0), 2)
