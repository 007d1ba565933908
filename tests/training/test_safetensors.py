"""Parameters go through a safetensors file bit for bit, and other readers find them."""

import os
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxopt_course.checkpoints import (
    export_safetensors,
    import_safetensors,
)


PARAMS = {
    "dense": {"kernel": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), "bias": np.ones(3)},
    "scale": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "count": np.array(3, np.int8),
    "mask": jnp.array([True, False]),
    "phase": np.array([1 - 2j], np.complex64),
    "none": np.zeros((0, 2), np.float16),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_what_is_imported_is_what_was_exported(path):
    export_safetensors(path, PARAMS)
    plain = import_safetensors(path)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(plain))
    for like in (PARAMS, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), PARAMS)):
        for params in (plain, import_safetensors(path, like)):
            chex.assert_trees_all_equal(params, PARAMS)
            chex.assert_trees_all_equal_dtypes(params, PARAMS)
            assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    assert isinstance(import_safetensors(path, PARAMS)["mask"], jax.Array)


def test_another_reader_finds_the_arrays_under_their_paths(path):
    export_safetensors(path, {"dense": {"kernel": PARAMS["scale"]}, "layers": [np.ones(2)]})
    found = safetensors.numpy.load_file(path)
    assert sorted(found) == ["dense.kernel", "layers.0"]
    np.testing.assert_array_equal(found["dense.kernel"], PARAMS["scale"])


def test_any_pytree_comes_back_where_its_structure_is_given(path):
    tree = {"a.b": [np.ones(1), (np.zeros(2),)], "c": {3: np.ones(3)}, "none": None}
    export_safetensors(path, tree)
    chex.assert_trees_all_equal(import_safetensors(path, tree), tree)
    assert sorted(import_safetensors(path)) == ["a", "c"]


def test_other_parameters_are_refused_with_at_most_three_names(path):
    export_safetensors(path, {f"w{i:02d}": np.ones(2) for i in range(12)} | {"more": np.ones(1)})
    like = {f"w{i:02d}": np.ones((2, 1)) for i in range(12)} | {"less": np.ones(1)}
    with pytest.raises(ValueError, match="is of other parameters: ") as error:
        import_safetensors(path, like)
    message = str(error.value)
    assert "less: missing; w00: float64(2,) saved, float64(2, 1) wanted; " in message
    assert message.count("wanted;") == 2
    assert message.endswith("; ... and 11 more.")


def test_what_the_format_cannot_hold_is_refused(path):
    for leaf in (np.ones(1, np.complex128), jax.random.key(0), 3.0, jnp.ones(2, jnp.int4)):
        with pytest.raises(ValueError, match="export_safetensors: a must be an array of a dtype"):
            export_safetensors(path, {"a": leaf})
    with pytest.raises(ValueError, match=r"two leaves would be called 'a\.b'"):
        export_safetensors(path, {"a.b": np.ones(1), "a": {"b": np.ones(1)}})
    assert not path.exists()


def test_names_that_do_not_nest_need_a_structure(path):
    tree = {"a": np.ones(1), "a.b": np.ones(2)}
    export_safetensors(path, tree)
    with pytest.raises(ValueError, match="lies within another array: give `like`"):
        import_safetensors(path)
    chex.assert_trees_all_equal(import_safetensors(path, tree), tree)


def test_a_damaged_or_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.safetensors\."):
        import_safetensors(path)
    export_safetensors(path, PARAMS)
    content = path.read_bytes()
    for damaged in (b"", content[:20], content[:-1], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors cannot be read: SafetensorError"):
            import_safetensors(path)


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(path, monkeypatch):
    export_safetensors(path, PARAMS)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export_safetensors(path, {"a": np.ones(1)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_without_the_package_the_command_to_get_it_is_said(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: export_safetensors(path, PARAMS), lambda: import_safetensors(path)):
        with pytest.raises(ImportError, match=r"pip install 'jaxopt_course\[safetensors\]'"):
            call()
