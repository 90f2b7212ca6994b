"""A table fits any terminal: shortened, wrapped and dropped in the order that was stated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpcli.commands.output.tables import GAP, Narrowing, fit_table, measure_text, shorten_middle

HEADERS = ("image", "output", "class_1", "p_1", "class_2", "p_2")
ROW = ("photos/holiday/2024/one.jpg", "out/one.prompted.png", "tabby cat", "0.91", "lynx", "0.04")
ROWS = [ROW]
NARROWING = Narrowing(drops=("p_2", "class_2"), paths=("image", "output"))


def test_a_table_that_fits_is_left_alone() -> None:
    layout = fit_table(HEADERS, ROWS, 200, NARROWING)
    assert layout.headers == HEADERS and layout.rows == tuple(ROWS) and not layout.hidden


def test_paths_are_shortened_before_columns_go() -> None:
    layout = fit_table(HEADERS, ROWS, 75, NARROWING)
    assert not layout.hidden
    assert layout.rows[0][0].startswith("photo") and layout.rows[0][0].endswith("one.jpg")
    assert "..." in layout.rows[0][0] and layout.rows[0][2:] == ROWS[0][2:]


def test_columns_go_in_the_order_that_was_stated() -> None:
    hidden = [fit_table(HEADERS, ROWS, columns, NARROWING).hidden for columns in (64, 58, 50)]
    assert hidden == [("p_2",), ("class_2", "p_2"), ("p_1", "class_2", "p_2")]


def test_a_column_that_wraps_keeps_its_text() -> None:
    problem = "the file is not what its name says " * 4
    narrowing = Narrowing(wraps=("problem",))
    layout = fit_table(("level", "problem"), [("damage", problem)], 50, narrowing)
    assert layout.rows[0][1] == problem and layout.widths == (6, 50 - 6 - GAP)


@given(
    st.lists(st.lists(st.text(max_size=40), min_size=3, max_size=3), max_size=5),
    st.integers(1, 60),
    st.sampled_from([Narrowing(), Narrowing(("b",), ("a",), ("c",)), Narrowing(("c", "a"))]),
)
def test_every_table_fits_every_terminal(
    rows: list[list[str]], columns: int, narrowing: Narrowing
) -> None:
    layout = fit_table(("a", "b", "c"), rows, columns, narrowing)
    assert sum(layout.widths) + GAP * (len(layout.widths) - 1) <= columns
    assert {*layout.headers} | {*layout.hidden} == {"a", "b", "c"}
    for row in layout.rows:
        for header, cell, width in zip(layout.headers, row, layout.widths, strict=True):
            assert header in narrowing.wraps or measure_text(cell) <= width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("a/b/c.png", 9, "a/b/c.png"),
        ("folder/of/many/names/cat.png", 16, "fold...s/cat.png"),
        ("猫の写真/その他/猫.png", 12, "猫の....png"),
    ],
)
def test_the_middle_of_a_path_is_left_out(text: str, width: int, shown: str) -> None:
    assert shorten_middle(text, width) == shown
    assert measure_text(shorten_middle(text, width)) <= width
