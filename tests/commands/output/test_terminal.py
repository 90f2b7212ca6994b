from __future__ import annotations

import json
import sys

import pytest

from evpcli.commands.output import terminal
from evpcli.domain.errors import EvpError


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb", "a\\tb"), ("\x1b[31m", "\\x1b[31m"), ("\u202e", "\\u202e"), ("größe", "größe")],
)
def test_text_of_strangers_is_escaped(text: str, shown: str) -> None:
    assert terminal.printable(text) == shown


def test_long_text_is_cut() -> None:
    assert len(terminal.printable("x" * 10_000)) == 400


def test_rows_are_tab_separated_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_rows(("a", "b"), [(1, None), ("x\ty", "[red]z")])
    assert capsys.readouterr().out == "a\tb\n1\t\nx\\ty\t[red]z\n"


HEADERS = ("prompt", "tags", "accuracy", "digest")
ROWS = [("digits/mini:v1", None, "92.8 % [89.6, 95.0] (n=360)", "8022bf6eddf3"), ("x", "a", 1, 2)]


def show_to_a_person(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    terminal.show_rows(HEADERS, ROWS)
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 200])
def test_rows_that_fit_a_terminal_are_a_table(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = show_to_a_person(columns, capsys, monkeypatch).splitlines()
    assert lines[0].split() == list(HEADERS)
    assert lines[2].split("  ")[0] == "digits/mini:v1"
    assert len(lines) == 4
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [1, 12, 20, 40, 64])
def test_a_narrow_terminal_gets_a_table_too_and_is_told_what_is_left_out(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    terminal.show_rows(HEADERS, ROWS, drops=("digest",), paths=("prompt",))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= columns
    assert ("digest" in lines[0]) is ("digest" not in err) is (columns >= 60)


def test_json_survives_odd_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json({"name": "\udcff", "café": 1})
    assert json.loads(capsys.readouterr().out) == {"name": "\udcff", "café": 1}


def test_an_error_is_one_line_with_what_found_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_error(EvpError("it is wrong", found="a\nb", hint="try this"))
    terminal.show_error(EvpError("it is wrong"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: it is wrong: a\\nb; try this\nerror: it is wrong\n"
