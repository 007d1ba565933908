"""What is saved comes back bit for bit, best and latest stay, and what cannot be done is said."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointLockedError,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
)

# Private names: no older format is left to read, and no disk is full when a test wants it.
from jaxopt_course.checkpoints._manifest import UPGRADES, decode_manifest, encode_manifest
from jaxopt_course.checkpoints._orbax import OrbaxFiles


SMALL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run-1"


@pytest.fixture
def store(directory):
    with CheckpointStore(directory) as store:
        yield store


def steps(store):
    return [info.step for info in store.list()]


def every_kind():
    """A leaf of every kind that a training state may hold."""
    key = jax.random.key(3)
    return {
        "bfloat16": jnp.arange(5, dtype=jnp.bfloat16) / 3,
        "float16": jnp.full((2, 2), 1e-7, jnp.float16),
        "float64": np.array([np.nan, -0.0, np.inf, 5e-324]),
        "complex": jnp.array([1 - 2j]),
        "int": np.array(-(2**62)),
        "uint8": np.arange(3, dtype=np.uint8),
        "bool": jnp.array([True, False]),
        "key": key,
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), (2, 1)),
        "no keys": jax.random.split(key, 0),
        "empty": jnp.zeros((0, 3), jnp.bfloat16),
        "none": None,
        "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "every other": np.arange(10)[::2],
        "numpy scalar": np.float32(3),
        "nested": ({}, [jnp.ones(2)]),
    }


def bits(leaf):
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return str(leaf.dtype), leaf.shape, np.asarray(data).tobytes()


def test_a_leaf_of_every_kind_comes_back_bit_for_bit(store):
    state = every_kind()
    before = jax.tree.map(bits, state)
    store.save(7, state, loss=0.25, about={"width": [8, 8], "name": "μ"})
    assert jax.tree.map(bits, state) == before
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    for like in (state, shapes):
        step, tree, loss, about = store.restore(like)
        assert (step, loss, about) == (7, 0.25, {"width": [8, 8], "name": "μ"})
        assert jax.tree.structure(tree) == jax.tree.structure(state)
        assert jax.tree.map(bits, tree) == before
        for leaf, wanted in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True):
            on_host = isinstance(wanted, np.ndarray | np.generic)
            assert isinstance(leaf, np.ndarray if on_host else jax.Array)
            # A committed array would make every program that takes it compile again.
            assert on_host or not leaf.committed
    committed = jax.device_put(SMALL["w"], jax.devices()[0])
    store.save(8, {"w": committed})
    assert store.restore({"w": committed}).tree["w"].committed
    assert not store.restore({"w": jnp.asarray(SMALL["w"])}).tree["w"].committed


@pytest.mark.parametrize("tree", [{}, None, {"empty": np.zeros((3, 0))}, np.arange(3)], ids=repr)
def test_trees_without_bytes_or_without_a_path_are_trees(tree, store):
    store.save(0, tree)
    np.testing.assert_equal(store.restore(tree).tree, tree)


def test_best_and_latest_are_kept_and_nothing_else(directory):
    with CheckpointStore(directory, keep_latest=2, keep_best=1) as store:
        losses = [3.0, jnp.float32(1), np.float16(2), np.nan, -np.inf, None, jnp.bfloat16(7)]
        kept = []
        for step, loss in enumerate(losses):
            store.save(step, SMALL, loss=loss)
            kept.append(steps(store))
        assert kept == [[0], [0, 1], [1, 2], [1, 2, 3], [1, 3, 4], [1, 4, 5], [1, 5, 6]]
        assert (store.best(), store.latest()) == (1, 6)
        infos = {info.step: info for info in store.list()}
        assert [infos[step].loss for step in (1, 5, 6)] == [1.0, None, 7.0]
        assert infos[1].time <= infos[5].time <= infos[6].time
        assert sorted(os.listdir(directory)) == [".lock", "1", "5", "6"]
    with CheckpointStore(directory, keep_latest=1, keep_best=0) as store:
        store.save(7, SMALL, loss=0.5)
        assert steps(store) == [7]
        store.save(8, SMALL, loss=0.5)
        assert (steps(store), store.best()) == ([8], 8)


def test_a_training_that_went_back_replaces_what_lies_ahead(store):
    for step in (10, 20, 30):
        store.save(step, {"at": np.array(step)}, loss=0.0)
    store.save(20, {"at": np.array(-20)}, loss=1.0)
    assert steps(store) == [10, 20]
    assert store.restore({"at": np.array(0)}).tree["at"] == -20
    store.save(5, {"at": np.array(-5)})
    assert (steps(store), store.best()) == ([5], None)


def test_what_is_not_there_is_said(store):
    assert (store.list(), store.latest(), store.best()) == ([], None, None)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*run-1\.$"):
        store.restore(SMALL)
    store.save(3, SMALL)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 4 in .*: there are 3\.$"):
        store.restore(SMALL, 4)


def test_another_state_is_refused_before_arrays_are_read(store, directory):
    saved = {f"layer_{i}": {"w": np.ones(3, np.float32)} for i in range(15)} | {"gone": np.ones(2)}
    store.save(1, saved)
    shutil.rmtree(directory / "1" / "arrays")
    wanted = {f"layer_{i}": {"w": np.ones(3)} for i in range(15)}
    with pytest.raises(CheckpointMismatchError, match=r"step 1 in .* is of another state") as error:
        store.restore(wanted)
    message = str(error.value)
    assert "['layer_0']['w']: float32(3,) saved, float64(3,) wanted; " in message
    assert message.count("wanted;") == 3
    assert "; ... and 13 more: use the model" in message
    assert message.endswith("or give another directory.")
    other = {"layer_0": {"w": np.ones((3, 1), np.float32), "b": np.ones(1)}}
    with pytest.raises(ValueError, match=r"\['layer_0'\]\['b'\]: missing; \['layer_0'\]") as error:
        store.restore(other)
    assert "float32(3,) saved, float32(3, 1) wanted" in str(error.value)
    assert "['gone']: unexpected" in str(error.value)
    with pytest.raises(CheckpointCorruptError):
        store.restore(saved, 1)
    with pytest.raises(CheckpointMismatchError, match=r"key<fry>\(\) wanted"):
        store.restore(saved | {"gone": jax.random.key(0)})


def test_a_key_of_another_generator_is_another_state(store):
    store.save(1, {"key": jax.random.key(0)})
    with pytest.raises(CheckpointMismatchError, match=r"key<fry>\(\) saved, key<rbg>\(\) wanted"):
        store.restore({"key": jax.random.key(0, impl="rbg")})


def test_a_dtype_that_this_jax_cannot_hold_is_not_rounded(store):
    store.save(1, {"w": np.ones(3)})
    with jax.enable_x64(False), pytest.raises(CheckpointMismatchError, match="float64"):
        store.restore({"w": jax.ShapeDtypeStruct((3,), np.float64)})


def test_bad_arguments_are_refused(store, tmp_path, as_users_run_it):
    with pytest.raises(TypeError, match=r"save: the leaf at \['n'\] must be an array .* got 3\."):
        store.save(1, {"n": 3})
    with pytest.raises(TypeError, match=r"the leaf at the root must be an array"):
        store.save(1, jax.ShapeDtypeStruct((3,), np.float32))
    with pytest.raises(TypeError, match=r"the leaf at \['t'\] must be an array"):
        store.save(1, {"t": np.array(["text"])})
    with pytest.raises(TypeError, match="`loss` must be a scalar or None"):
        store.save(1, SMALL, loss=np.ones(2))
    with pytest.raises(TypeError, match="JSON cannot represent `about`"):
        store.save(1, SMALL, about={"path": tmp_path})
    with pytest.raises(ValueError, match=r"`step` must lie in \[0, inf\), got -1"):
        store.save(-1, SMALL)
    with pytest.raises(ValueError, match=r"`keep_latest` must lie in \[1, inf\), got 0"):
        CheckpointStore(tmp_path / "other", keep_latest=0)
    assert store.list() == []


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a b", "a\n", "ä", "a:b", "x/.."])
def test_names_that_could_mislead_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="the name of `directory` must consist of letters"):
        CheckpointStore(tmp_path / name if name.strip(".") else name)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_has_one_store_at_a_time(directory):
    first = CheckpointStore(directory)
    pattern = rf'run-1 is in use by another store: {{"pid": {os.getpid()}, "host": .*since'
    with pytest.raises(CheckpointLockedError, match=pattern):
        CheckpointStore(directory)
    with pytest.raises(CheckpointLockedError, match=pattern):
        CheckpointStore(directory.parent / "." / "run-1")
    first.save(1, SMALL)  # the refused ones have released nothing
    first.close()
    first.close()
    with CheckpointStore(directory) as second:
        assert second.latest() == 1
    assert (directory / ".lock").exists()
    for call in (lambda: first.save(2, SMALL), lambda: first.restore(SMALL), first.list):
        with pytest.raises(CheckpointError, match="run-1 is closed"):
            call()


@pytest.mark.parametrize("remove", [shutil.rmtree, lambda path: path.rename(path.parent / "away")])
def test_a_directory_that_has_gone_is_not_made_again(remove, store, directory):
    store.save(1, SMALL)
    remove(directory)
    with pytest.raises(CheckpointError, match="was deleted or moved while the store was open"):
        store.save(2, SMALL)
    assert not directory.exists()
    directory.mkdir()
    (directory / ".lock").touch()
    with pytest.raises(CheckpointError, match="was deleted or moved while the store was open"):
        store.save(2, SMALL)


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_save_that_fails_leaves_all_as_it_was(failure, store, directory, monkeypatch):
    for step in (10, 20):
        store.save(step, {"at": np.array(step)}, loss=step)
    before = sorted(os.listdir(directory))

    def fail(self, step, arrays, manifest):
        (self.directory / f"{step}.orbax-checkpoint-tmp").mkdir()
        assert "10.superseded-by-10" in os.listdir(directory)
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(OrbaxFiles, "write", fail)
        kind = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else CheckpointError
        with pytest.raises(kind, match=r"could not save step 10 .*disk full\.$|^$"):
            store.save(10, {"at": np.array(-1)})
    assert sorted(os.listdir(directory)) == before
    assert store.restore({"at": np.array(0)}).tree["at"] == 20
    assert store.restore({"at": np.array(0)}, 10).tree["at"] == 10
    store.save(30, {"at": np.array(30)}, loss=0)
    assert steps(store) == [20, 30]


def test_what_a_killed_process_left_is_put_right(directory):
    with CheckpointStore(directory) as store:
        store.save(10, {"at": np.array(10)})
        store.save(20, {"at": np.array(20)})
    # Killed while 15 was being written: 20, set aside for it, comes back.
    (directory / "20").rename(directory / "20.superseded-by-15")
    (directory / "15.orbax-checkpoint-tmp").mkdir()
    with CheckpointStore(directory) as store:
        assert steps(store) == [10, 20]
        assert store.restore({"at": np.array(0)}).tree["at"] == 20
    # Killed after 10 was written: 20 has been replaced.
    (directory / "20").rename(directory / "20.superseded-by-10")
    with CheckpointStore(directory) as store:
        assert steps(store) == [10]
    assert sorted(os.listdir(directory)) == [".lock", "10"]


def test_steps_of_another_program_are_not_replaced(store, directory):
    (directory / "100" / "default").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="that this library did not write"):
        store.save(5, SMALL)
    assert sorted(os.listdir(directory)) == [".lock", "100"]


def rewrite(directory, step, **changes):
    """Another manifest for a step, sealed as it should be."""
    path = directory / str(step) / "manifest" / "metadata"
    manifest = decode_manifest(path.read_bytes(), "the checkpoint")._replace(**changes)
    path.write_text(json.dumps(encode_manifest(manifest)))


def test_a_later_format_is_refused_and_never_replaced(store, directory):
    store.save(1, SMALL)
    store.save(2, SMALL)
    rewrite(directory, 2, format=3)
    for call in (lambda: store.restore(SMALL), store.list, lambda: store.save(1, SMALL)):
        with pytest.raises(
            CheckpointError, match=r"step 2 .* format 3, this library reads format 2"
        ):
            call()
    assert sorted(os.listdir(directory)) == [".lock", "1", "2"]
    assert store.restore(SMALL, 1).step == 1


def test_an_earlier_format_is_upgraded(store, directory, monkeypatch):
    store.save(1, {"weight": SMALL["w"]}, about={"lr": 0.1})
    rewrite(directory, 1, format=0)
    with pytest.raises(CheckpointError, match="has format 0"):
        store.restore(SMALL)

    def renamed(about, leaves):
        leaves["['w']"] = leaves.pop("['weight']")
        return {"learning_rate": about["lr"]}, leaves

    monkeypatch.setitem(UPGRADES, 0, renamed)
    _, tree, _, about = store.restore(SMALL)
    np.testing.assert_equal(tree, SMALL)
    assert about == {"learning_rate": 0.1}
    with pytest.raises(CheckpointMismatchError, match=r"\['v'\]: missing; \['w'\]: unexpected"):
        store.restore({"v": SMALL["w"]})


def test_a_step_under_another_name_is_not_that_step(store, directory):
    store.save(1, SMALL)
    shutil.copytree(directory / "1", directory / "5")
    with pytest.raises(CheckpointCorruptError, match=r"step 5 .* it was saved as step 1"):
        store.restore(SMALL, 5)
    with pytest.warns(CheckpointWarning, match="step 5 .* is skipped"):
        assert store.restore(SMALL).step == 1
