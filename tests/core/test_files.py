"""A file is there whole or not at all."""

import pytest

from jaxopt_course.core import delete_own, foreign_files, replacing, replacing_own


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


def test_links_and_directories_are_not_replaced(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    for name in ("link", "loose"):
        with pytest.raises(FileExistsError, match=f"{name} is a symbolic link"):
            write(tmp_path / name)
    with pytest.raises(IsADirectoryError, match="folder is a directory"):
        write(tmp_path / "folder")
    assert kept.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "kept", "link", "loose"]


def write(path, text="new", how=replacing):
    with how(path) as part:
        part.write_text(text)


def test_results_replace_results_and_nothing_else(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    other.write_text("mine")
    write(own, "old", replacing_own)
    write(own, "new", replacing_own)
    assert own.read_text() == "new"
    with pytest.raises(FileExistsError, match="other was not written by this library"):
        write(other, "new", replacing_own)
    assert foreign_files(tmp_path, ["own", "other", "neither"]) == ["other"]
    delete_own(tmp_path, ["own", "other", "neither"])
    assert not own.exists()
    assert other.read_text() == "mine"


def test_what_took_the_place_of_a_result_is_not_deleted(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, how=replacing_own)
        (tmp_path / name).unlink()
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "kept")
    (tmp_path / "b").mkdir()
    assert foreign_files(tmp_path, ["a", "b"]) == ["a", "b"]
    delete_own(tmp_path, ["a", "b"])
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["a", "b", "kept"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": [3]}', "\0" * 9, "[" * 10**5])
def test_without_a_sound_list_nothing_is_replaced(content, tmp_path):
    write(tmp_path / "a", "old", replacing_own)
    (tmp_path / ".jaxopt_course.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"\.jaxopt_course\.json is damaged"):
        write(tmp_path / "a", "new", replacing_own)
    assert (tmp_path / "a").read_text() == "old"
