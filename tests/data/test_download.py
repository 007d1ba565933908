import hashlib

import pytest

from jaxopt_course.data import download


CONTENT = bytes(range(256)) * 9000  # more than two parts
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def place(tmp_path):
    return tmp_path / "new" / "place"


def files(path):
    return sorted(p.name for p in path.parent.glob("*"))


def test_a_file_comes_whole_and_says_how_far_it_is(source, place):
    sizes = []
    assert download(source.as_uri(), place, SHA256.upper(), progress=sizes.append) == place
    assert place.read_bytes() == CONTENT
    assert files(place) == ["place"]
    assert sizes == [2**20, 2**21, len(CONTENT)]


def test_the_right_file_is_not_fetched_again_and_a_wrong_one_is_replaced(source, place):
    place.parent.mkdir()
    place.write_bytes(b"old")
    download(source.as_uri(), place, SHA256)
    assert place.read_bytes() == CONTENT
    source.unlink()
    download(source.as_uri(), place, SHA256)
    with pytest.raises(OSError, match=r"download: cannot read 'file://.*source'"):
        download(source.as_uri(), place, "0" * 64)


@pytest.mark.parametrize("before", [None, b"old"])
def test_nothing_is_left_behind_where_the_content_is_another(source, place, before):
    if before is not None:
        place.parent.mkdir()
        place.write_bytes(before)
    for options, message in [
        ({"sha256": "1" * 64}, f"must have the SHA-256 {'1' * 64}, got {SHA256}"),
        ({"sha256": SHA256, "max_bytes": 2**20}, "must have at most 1048576 bytes, got more"),
    ]:
        with pytest.raises(ValueError, match=message):
            download(source.as_uri(), place, **options)
        assert files(place) == ([] if before is None else ["place"])
        assert before is None or place.read_bytes() == before


def test_an_error_on_the_way_leaves_nothing_behind(source, place):
    def interrupt(size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(source.as_uri(), place, SHA256, progress=interrupt)
    assert files(place) == []


@pytest.mark.parametrize(
    ("url", "sha256", "message"),
    [
        ("http://127.0.0.1/x", SHA256, "`url scheme` must be one of https, file, got 'http'"),
        ("ftp://127.0.0.1/x", SHA256, "`url scheme` must be one of https, file, got 'ftp'"),
        ("https://127.0.0.1/x", "", "`sha256` must be 64 hexadecimal digits, got ''"),
        ("https://127.0.0.1/x", SHA256[1:], "`sha256` must be 64 hexadecimal digits"),
    ],
)
def test_what_is_not_safe_is_refused(place, url, sha256, message):
    with pytest.raises(ValueError, match="download: " + message):
        download(url, place, sha256)
    assert not place.parent.exists()
