"""The manifest tells any change of itself, and of the arrays it describes."""

import datetime
import json

import numpy as np
import pytest

from jaxopt_course.checkpoints import (
    CheckpointCorruptError,
    CheckpointError,
    _manifest,  # and below: private names, because flipping every bit through a store takes hours
)
from jaxopt_course.checkpoints._leaves import is_sound, record_leaf
from jaxopt_course.checkpoints._manifest import (
    FORMAT,
    LeafRecord,
    Manifest,
    decode_manifest,
    encode_manifest,
)


MANIFEST = Manifest(
    step=12,
    loss=0.1,
    about={"config": {"rate": 1e-3, "hidden": [8, 8], "none": None}, "text": "μ"},
    leaves=(
        LeafRecord("['w']", "float32", (2, 3), "ab" * 32),
        LeafRecord("['key']", "key<fry>", (), "cd" * 32, "threefry2x32"),
    ),
    time=datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC),
)
CONTENT = json.dumps(encode_manifest(MANIFEST)).encode()


def test_what_is_decoded_is_what_was_encoded():
    assert decode_manifest(CONTENT, "it") == MANIFEST
    assert decode_manifest(CONTENT, "it").format == FORMAT
    unknown = MANIFEST._replace(loss=float("nan"), about={})
    decoded = decode_manifest(json.dumps(encode_manifest(unknown)).encode(), "it")
    assert np.isnan(decoded.loss)
    assert decoded._replace(loss=None) == unknown._replace(loss=None)


def with_one_bit_changed(content):
    """How many changes of one bit go unnoticed: with equal manifests, and with others."""
    equal = other = 0
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            try:
                decoded = decode_manifest(bytes(changed), "it")
            except CheckpointError:
                continue
            equal, other = equal + (decoded == MANIFEST), other + (decoded != MANIFEST)
    return equal, other


def test_any_changed_bit_is_seen_or_changes_nothing(monkeypatch):
    equal, other = with_one_bit_changed(CONTENT)
    assert other == 0
    assert 0 < equal < 3 * CONTENT.count(b" ")  # a blank can become a line feed, say
    # Planted defect: where the seal is not that of the content, changes pass.
    monkeypatch.setattr(_manifest, "_seal", lambda plain: "a seal")
    equal, other = with_one_bit_changed(json.dumps(encode_manifest(MANIFEST)).encode())
    assert other > 100


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", CONTENT[:-1], b"[" * 9999]
)
def test_what_is_no_manifest_is_corrupt(content):
    with pytest.raises(CheckpointCorruptError, match="it is corrupt: its manifest: "):
        decode_manifest(content, "it")


def test_a_format_that_is_not_known_is_told_apart_from_damage():
    for version in (FORMAT + 1, 0):
        content = json.dumps(encode_manifest(MANIFEST._replace(format=version))).encode()
        with pytest.raises(CheckpointError, match=rf"^it has format {version}, .* reads format 2:"):
            decode_manifest(content, "it")
    with pytest.raises(CheckpointCorruptError):
        decode_manifest(CONTENT.replace(b'"format": 2', b'"format": 3'), "it")


def test_a_record_tells_values_dtypes_and_shapes_apart():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    record, data = record_leaf("['w']", array)
    assert is_sound(record, data)
    # The layout in memory is no part of the array.
    assert record == record_leaf("['w']", np.asfortranarray(array))[0]
    assert record == record_leaf("['w']", array.astype(">f4"))[0]
    negative_zero = np.copysign(array, -1)
    for other in (negative_zero, array.view(np.int32), array.reshape(3, 2), array.T, array[:1]):
        assert not is_sound(record, other)
