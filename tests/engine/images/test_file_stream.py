from __future__ import annotations

import os
from pathlib import Path

import pytest

from evpcli.domain.errors import NotFoundError
from evpcli.engine.images import file_stream
from evpcli.engine.images.decoder import list_image_files
from evpcli.engine.images.file_stream import FileStream


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_finds_what_list_image_files_finds(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/b/c.JPG", "in/b/.hidden.png", "in/.git/d.png", "in/x.txt")
    touch(tmp_path, "outside/far.png")
    os.symlink(tmp_path / "outside", tmp_path / "in" / "linked")
    os.symlink(tmp_path / "outside" / "far.png", tmp_path / "in" / "out.png")
    os.symlink("a.png", tmp_path / "in" / "near.png")
    words = [str(tmp_path / "in")]
    stream = FileStream(words)
    assert sorted(stream) == list(list_image_files(words).files)
    assert stream.ignored == 1


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_folder_is_read_in_parts_and_each_file_comes_once(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stream, "NAMES_AT_ONCE", at_once)
    names = [f"{number:02}.png" for number in range(10)]
    touch(tmp_path, *names[::-1])
    assert [path.name for path in FileStream([str(tmp_path)])] == names


def test_words_that_overlap_give_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png")
    words = [f"{tmp_path}/a/2.png", f"{tmp_path}/a", f"{tmp_path}/a/*.png"]
    assert [path.name for path in FileStream(words)] == ["2.png", "1.png"]


def test_a_word_that_is_nothing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        FileStream([str(tmp_path / "nowhere")])
