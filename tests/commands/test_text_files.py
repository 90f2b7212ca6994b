from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.commands.text_files import read_class_names, read_descriptions, read_lines
from evpcli.domain.errors import NotFoundError, UsageError


def test_lines_are_stripped_and_empty_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("  a {} \n\nthe {}\n", encoding="utf-8")
    assert read_lines(tmp_path / "t.txt") == ("a {}", "the {}")


def test_class_names_are_cleaned_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("T-shirt\nBig_Hat\n")
    assert read_class_names(tmp_path / "n.txt") == ("t shirt", "big hat")


@pytest.mark.parametrize("text", ["", "\n \n", "a\na\n", "a-b\na_b\n", "___\nb\n", "x" * 201])
def test_names_that_cannot_tell_classes_apart_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text(text)
    with pytest.raises(UsageError):
        read_class_names(tmp_path / "n.txt")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        read_lines(tmp_path / "n.txt")
    with pytest.raises(NotFoundError):
        read_lines(tmp_path / "nothing.txt")


def test_descriptions_are_lists_of_stripped_sentences(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"cat": [" soft ", "meows"], "big_dog": ["bärks"]}', "utf-8")
    found = read_descriptions(tmp_path / "d.json")
    assert found == {"cat": ("soft", "meows"), "big_dog": ("bärks",)}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a": "b"}', '{"a": [1]}', '{"a": [""]}', '{"a": [" "]}', "[" * 9_999],
)
def test_descriptions_of_another_shape_are_refused_on_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(UsageError, match="must be a JSON object") as caught:
        read_descriptions(tmp_path / "d.json")
    assert str(caught.value.found).startswith(str(tmp_path / "d.json"))
    assert len(str(caught.value.found)) < len(str(tmp_path)) + 250
    assert "\n" not in str(caught.value.found)


def test_descriptions_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b'{"a": ["\xff\xfe"]}')
    with pytest.raises(UsageError):
        read_descriptions(tmp_path / "d.json")
    with pytest.raises(NotFoundError):
        read_descriptions(tmp_path / "nothing.json")
