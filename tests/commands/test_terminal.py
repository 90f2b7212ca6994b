from __future__ import annotations

import json

import pytest

from evpcli.commands import terminal
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


def test_json_survives_odd_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json({"name": "\udcff", "café": 1})
    assert json.loads(capsys.readouterr().out) == {"name": "\udcff", "café": 1}


def test_an_error_is_one_line_with_what_found_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_error(EvpError("it is wrong", found="a\nb", hint="try this"))
    terminal.show_error(EvpError("it is wrong"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: it is wrong: a\\nb; try this\nerror: it is wrong\n"
