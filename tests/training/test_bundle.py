import hashlib
import json
import os
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from jaxopt_course.data import Scaler, TableEncoder, fit_scaler, scale_features
from jaxopt_course.nn import CNN, MLP
from jaxopt_course.problems import problem
from jaxopt_course.training import (
    Bundle,
    apply_bundle,
    load_bundle,
    save_bundle,
)


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


def test_an_encoder_of_tables_is_kept_and_must_fit(tmp_path):
    bundle = make_bundle(encoder=TableEncoder.of_numbers(["flow", "heat"]))
    save_bundle(tmp_path / "b", bundle)
    assert load_bundle(tmp_path / "b").encoder == bundle.encoder
    for wrong, rule in (
        (TableEncoder.of_numbers(["flow"]), r"makes inputs of shape \(1,\), but the model takes"),
        (
            TableEncoder.of_numbers(["flow", "heat" * 200_000]),
            "must have at most 500000 characters",
        ),
        ([], "must be a TableEncoder or None"),
    ):
        with pytest.raises(ValueError, match=f"`encoder` {rule}"):
            save_bundle(tmp_path / "c", bundle._replace(encoder=wrong))


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


def refusal(path, content):
    """The sentence with which a file of this content is refused; None: it reads as what it was."""
    path.write_bytes(content)
    try:
        load_bundle(path)
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert said.startswith(f"load_bundle: {path}")
    assert "\n" not in said
    return said


def test_any_truncation_is_noticed(saved):
    content = saved.read_bytes()
    lines = [i + 1 for i, byte in enumerate(content[:2000]) if byte == 10][:2]
    for end in (0, 10, *lines, lines[0] - 1, lines[1] - 1, lines[1] + 20, len(content) - 1):
        assert re.search("not a model bundle|truncated or damaged", refusal(saved, content[:end]))
    assert "truncated or damaged" in refusal(saved, content + b"\0")


@pytest.mark.exhaustive
def test_any_flipped_bit_of_the_header_and_any_byte_of_the_arrays_is_noticed(saved):
    """The names of the classes among them, which are what a person reads."""
    content = saved.read_bytes()
    arrays = content.index(b"\n", content.index(b"\n") + 1)
    assert content.index(b"birch") < arrays
    places = [(i, 1 << bit) for i in range(arrays + 1) for bit in range(8)]
    places += [(i, 1) for i in range(arrays, len(content), 7)]
    for place, mask in places:
        flipped = bytearray(content)
        flipped[place] ^= mask
        assert refusal(saved, bytes(flipped)) is not None, (place, mask)


@pytest.mark.exhaustive
def test_every_flipped_bit_is_noticed(saved):
    content = saved.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            assert refusal(saved, bytes(flipped)) is not None, (place, bit)


def test_other_files_are_no_bundles(saved):
    for content in (b"", b"\n", b"{}", b"[" * 10**6, b"PK\x03\x04", bytes(range(256)) * 100):
        assert "is not a model bundle" in refusal(saved, content)
    old = b'{"format": "jaxopt_course bundle", "version": 1, "sha256": "0"}\n\x80'
    assert "has version 1, this library reads version 2" in refusal(saved, old)
    newer = saved.read_bytes()
    save_bundle(saved.with_name("other"), make_bundle())
    newer = saved.with_name("other").read_bytes().replace(b"bundle 2 ", b"bundle 31 ", 1)
    assert "has version 31" in refusal(saved, newer)


def resealed(path, change=lambda header: header, payload=None):
    """The content of ``path`` with another header or payload, and the digest that it then has."""
    _, line, own = path.read_bytes().split(b"\n", 2)
    header = change(json.loads(line))
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = text + b"\n" + (own if payload is None else payload)
    digest = hashlib.sha256(content).hexdigest()
    return f"jaxopt_course bundle 2 {digest}\n".encode() + content


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"problem": "multiclas"}, "Did you mean 'multiclass'"),
        ({"problem": 3}, "`problem` must be one of"),
        ({"model": {"name": "MPL", "config": CONFIG}}, "Did you mean 'MLP'"),
        ({"model": {"name": "MLP", "config": CONFIG | {"depth": 3}}}, "depth"),
        ({"model": {"name": "MLP", "config": {}}}, "does not make a model"),
        ({"model": {"name": "MLP"}}, "`model` must be"),
        ({"model": [1]}, "`model` must be"),
        ({"model": {"name": "MLP", "config": CONFIG | {"activation": "x" * 200_000}}}, "at most"),
        ({"model": {"name": "MLP", "config": CONFIG | {"hidden": [4] * 9000}}}, "more layers"),
        ({"model": {"name": "MLP", "config": CONFIG | {"hidden": [10**12]}}}, "has shape"),
        ({"model": {"name": "MLP", "config": CONFIG | {"hidden": ["4"]}}}, "does not make a model"),
        ({"model": {"name": "MLP", "config": CONFIG | {"outputs": 10**400}}}, "make a model"),
        (
            {"model": {"name": "MLP", "config": CONFIG | {"hidden": [5]}}},
            r"parameter at \['BatchNorm_0'\]\['bias'\] has shape \(4,\), model has \(5,\)",
        ),
        (
            {"model": {"name": "MLP", "config": CONFIG | {"normalization": None}}},
            "parameter tree must have the structure of the model tree",
        ),
        (
            {"model": {"name": "MLP", "config": CONFIG | {"param_dtype": "bfloat16"}}},
            "must be an array of the model's dtype bfloat16, got float32",
        ),
        ({"input_shape": [3]}, r"\['Dense_0'\]\['kernel'\] has shape \(2, 4\), model has \(3, 4\)"),
        ({"input_shape": [2**31, 2**31]}, "`input_shape` must be at most 8 sizes"),
        ({"input_shape": [-2]}, "`input_shape` must be"),
        ({"input_shape": ["2"]}, "`input_shape` must be"),
        ({"input_shape": [True, 2]}, "`input_shape` must be"),
        ({"input_shape": [1] * 40 + [2]}, "`input_shape` must be"),
        ({"input_shape": 2}, "is incomplete"),
        ({"label_names": ["a"]}, "`label_names` must be 3 names, all different, got 1"),
        ({"label_names": ["a", "a", "b"]}, "`label_names` must be 3 names, all different"),
        ({"label_names": [1, 2, 3]}, "`label_names` must be strings"),
        ({"label_names": 3}, "is incomplete"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change, sentence, saved, as_users_run_it):
    assert re.search(sentence, refusal(saved, resealed(saved, lambda header: header | change)))


@pytest.mark.parametrize(
    "header",
    [b"[" * 100_000, b"{}", b"[]", b"null", b"3", b"no JSON", b'{"a": "' + b"x" * 2_000_000],
)
def test_a_header_of_another_kind_is_refused(header, saved):
    assert "is incomplete" in refusal(saved, resealed(saved, lambda _: header))


@pytest.mark.parametrize(
    "payload",
    [b"", b"no msgpack", b"\x80", b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff", b"\xc7\x01\x01"],
)
def test_a_payload_of_another_kind_is_refused(payload, saved):
    assert "is incomplete" in refusal(saved, resealed(saved, payload=payload))


def first_leaf(tree, change):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [change(np.array(leaves[0])), *leaves[1:]])


def filled(value):
    return lambda x: np.full_like(x, value)


ARRAYS = {
    "NaN": ("params", filled(np.nan), "parameter at .* must be finite"),
    "infinity": ("params", filled(np.inf), "parameter at .* must be finite"),
    "int8": ("params", lambda x: x.astype(np.int8), "must be an array of .* float32, got int8"),
    "complex": ("params", lambda x: x.astype(np.complex64), "float32, got complex64"),
    "float64": ("params", lambda x: x.astype(np.float64), "float32, got float64"),
    "text": ("params", lambda x: "weights", "has shape|got None"),
    "NaN statistics": ("model_state", filled(np.nan), "model state at .* must be finite"),
    "bool statistics": ("model_state", lambda x: x > 0, "model state .* float32, got bool"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_not_the_models_are_neither_saved_nor_read(name, saved, tmp_path):
    field, change, sentence = ARRAYS[name]
    bundle = make_bundle()
    bad = bundle._replace(**{field: first_leaf(getattr(bundle, field), change)})
    with pytest.raises(ValueError, match=sentence):
        save_bundle(tmp_path / "b", bad)
    arrays = {
        "params": bad.params,
        "model_state": bad.model_state,
        "scaler": bad.scaler._asdict(),
    }
    payload = serialization.msgpack_serialize(arrays)
    assert re.search(sentence, refusal(saved, resealed(saved, payload=payload)))


@pytest.mark.parametrize(
    ("offset", "scale", "sentence"),
    [
        ([0.0, 0.0], [0.0, 0.0], r"`scaler.scale` must lie in \(0, inf\), got 0.0"),
        ([0.0, 0.0], [1.0, -1.0], r"`scaler.scale` must lie in \(0, inf\), got -1.0"),
        ([0.0, 0.0], [1.0, np.nan], "`scaler.scale` must be finite"),
        ([np.inf, 0.0], [1.0, 1.0], "`scaler.offset` must be finite"),
        ([0.0] * 3, [1.0] * 3, "`scaler.offset` must have the shape"),
        ([0.0, 0.0], [1.0], "`scaler.scale` must have the shape"),
        ([0, 0], [1, 1], "`scaler.offset` must be an array of real numbers, got int"),
    ],
)
def test_a_scaler_that_cannot_scale_is_refused(offset, scale, sentence, tmp_path):
    bad = make_bundle(scaler=Scaler(np.array(offset), np.array(scale)))
    with pytest.raises(ValueError, match=sentence):
        save_bundle(tmp_path / "b", bad)


def test_a_negative_variance_is_refused(tmp_path):
    bundle = make_bundle()
    state = {"batch_stats": {"BatchNorm_0": dict(bundle.model_state["batch_stats"]["BatchNorm_0"])}}
    state["batch_stats"]["BatchNorm_0"]["var"] = np.full(4, -1.0, np.float32)
    with pytest.raises(ValueError, match=r"\['var'\] must lie in \[0, inf\), got -1.0"):
        save_bundle(tmp_path / "b", bundle._replace(model_state=state))


def test_a_file_that_is_no_bundle_and_a_link_are_not_replaced(saved, tmp_path):
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link").symlink_to(saved)
    for name in ("notes", "link"):
        with pytest.raises(FileExistsError, match=f"{name} is .*not replaced"):
            save_bundle(tmp_path / name, make_bundle())
    assert (tmp_path / "notes").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "empty").touch()
    save_bundle(tmp_path / "empty", make_bundle())
    load_bundle(tmp_path / "empty")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("scaler", [None, fit_scaler(INPUTS)])
def test_inputs_that_are_not_finite_to_the_model_are_refused(value, scaler):
    inputs = np.array([[1.0, 2.0], [value, 2.0]])
    with pytest.raises(ValueError, match=r"every number must be finite, got .* in row 1"):
        apply_bundle(make_bundle(scaler=scaler), inputs)


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
