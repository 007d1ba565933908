import hashlib
import json
import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import fit_scaler, scale_features
from jaxopt_course.nn import CNN, MLP
from jaxopt_course.problems import problem
from jaxopt_course.training import Bundle, apply_bundle, load_bundle, save_bundle


CONFIG = {"outputs": 3, "hidden": [4], "normalization": "batch", "dropout": 0.5}
INPUTS = np.random.default_rng(0).normal(5, 3, (7, 2)).astype(np.float32)


def make_bundle(**changes):
    variables = MLP(**CONFIG).init(jax.random.key(0), jnp.zeros((1, 2)), train=False)
    parts = {
        "model": {"name": "MLP", "config": CONFIG},
        "input_shape": (2,),
        "problem": "multiclass",
        "params": variables["params"],
        "model_state": {"batch_stats": variables["batch_stats"]},
        "scaler": fit_scaler(INPUTS),
        "label_names": ("ash", "birch", "cedar"),
    }
    return Bundle(**parts | changes)


@pytest.fixture
def saved(tmp_path):
    save_bundle(tmp_path / "model.bundle", make_bundle())
    return tmp_path / "model.bundle"


def test_what_is_loaded_is_what_was_saved(saved):
    bundle, loaded = make_bundle(), load_bundle(saved)
    for field in ("model", "input_shape", "problem", "label_names"):
        assert getattr(loaded, field) == getattr(bundle, field)
    for field in ("params", "model_state", "scaler"):
        chex.assert_trees_all_equal(getattr(loaded, field), getattr(bundle, field))
        chex.assert_trees_all_equal_dtypes(getattr(loaded, field), getattr(bundle, field))
    before, after = apply_bundle(bundle, INPUTS), apply_bundle(loaded, INPUTS)
    chex.assert_trees_all_equal(before.values, after.values)
    assert before.labels.tolist() == after.labels.tolist()


def test_predictions_are_those_of_the_scaled_model():
    bundle = make_bundle()
    outputs = MLP(**CONFIG).apply(
        {"params": bundle.params, **bundle.model_state},
        jnp.asarray(scale_features(bundle.scaler, INPUTS)),
        train=False,
    )
    predictions = apply_bundle(bundle, INPUTS)
    chex.assert_trees_all_close(predictions.values, jax.nn.softmax(outputs), rtol=1e-6)
    names = np.array(["ash", "birch", "cedar"])
    assert predictions.labels.tolist() == names[np.argmax(outputs, -1)].tolist()
    assert set(apply_bundle(bundle._replace(label_names=None), INPUTS).labels) <= {0, 1, 2}


@pytest.mark.parametrize("name", ["regression", "multilabel", "unit_regression"])
def test_other_problems_and_models(name, tmp_path):
    config = {"outputs": 2, "channels": [2], "dense": []}
    variables = CNN(**config).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), train=False)
    bundle = Bundle({"name": "CNN", "config": config}, (4, 4, 1), name, variables["params"], {})
    save_bundle(tmp_path / "b", bundle)
    images = jnp.ones((3, 4, 4, 1), jnp.float32)
    values, labels = apply_bundle(load_bundle(tmp_path / "b"), images)
    outputs = CNN(**config).apply(variables, images, train=False)
    chex.assert_trees_all_close(values, problem(name).activation(outputs), rtol=1e-6)
    assert labels.shape == (3, 2)


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(saved, make_bundle(label_names=None))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere"):
        load_bundle(tmp_path / "nowhere")


def test_any_truncation_and_any_flipped_byte_is_noticed(saved):
    content = saved.read_bytes()
    payload = content.index(b"\n") + 1
    for end in (0, 10, payload, payload + 20, len(content) - 1):
        saved.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"not a model bundle|truncated or damaged"):
            load_bundle(saved)
    for place in range(payload, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 1
        saved.write_bytes(flipped)
        with pytest.raises(ValueError, match="damaged: its checksum differs"):
            load_bundle(saved)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "has version 2, this library reads version 1"),
        ({"format": "else"}, "is not a model bundle"),
        ({"problem": "multiclas"}, "Did you mean 'multiclass'"),
        ({"model": {"name": "MPL", "config": CONFIG}}, "Did you mean 'MLP'"),
        ({"model": {"name": "MLP", "config": CONFIG | {"depth": 3}}}, "depth"),
        ({"model": {"name": "MLP", "config": {}}}, "does not make a model"),
        (
            {"model": {"name": "MLP", "config": CONFIG | {"hidden": [5]}}},
            r"parameter at \['BatchNorm_0'\]\['bias'\] has shape \(4,\), model has \(5,\)",
        ),
        (
            {"model": {"name": "MLP", "config": CONFIG | {"normalization": None}}},
            "parameter tree must have the structure of the model tree",
        ),
        ({"input_shape": [3]}, r"\['Dense_0'\]\['kernel'\] has shape \(2, 4\), model has \(3, 4\)"),
        ({"label_names": ["a"]}, "`label_names` must be 3 names, got 1"),
        ({"sha256": "0"}, "truncated or damaged"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change, sentence, saved, as_users_run_it):
    line, _, payload = saved.read_bytes().partition(b"\n")
    saved.write_bytes(json.dumps(json.loads(line) | change).encode() + b"\n" + payload)
    with pytest.raises(ValueError, match=sentence):
        load_bundle(saved)


def test_a_file_without_all_parts_is_refused(saved):
    line, _, payload = saved.read_bytes().partition(b"\n")
    header = json.loads(line)
    other = b"no msgpack"
    for part, content in (
        ({name: header[name] for name in ("format", "version", "sha256")}, payload),
        (header | {"sha256": hashlib.sha256(other).hexdigest()}, other),
    ):
        saved.write_bytes(json.dumps(part).encode() + b"\n" + content)
        with pytest.raises(ValueError, match=r"load_bundle: .*model\.bundle is incomplete: "):
            load_bundle(saved)


def test_a_bundle_that_does_not_fit_is_not_saved(tmp_path):
    bad = make_bundle(params=jax.tree.map(lambda x: x[:1], make_bundle().params))
    with pytest.raises(ValueError, match="save_bundle: parameter at"):
        save_bundle(tmp_path / "b", bad)
    code = make_bundle(model={"name": "MLP", "config": CONFIG | {"activation": jnp.tanh}})
    with pytest.raises(ValueError, match="save_bundle: `model` does not make a model"):
        save_bundle(tmp_path / "b", code)
    assert not list(tmp_path.iterdir())


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must have the shape \(rows, 2\), got \(7, 3\)"):
        apply_bundle(make_bundle(), np.zeros((7, 3)))
