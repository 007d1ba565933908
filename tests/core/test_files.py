"""A file is there whole or not at all."""

import pytest

from jaxopt_course.core import replacing


def test_a_file_takes_its_place_once_it_is_written(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(LookupError, match="unknown encoding"), replacing(path) as part:
        part.write_text("ne", encoding="none")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_not_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "figures.json"):
        pass
    assert not list(tmp_path.iterdir())
