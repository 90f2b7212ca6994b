from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from evpcli.domain.manifest import Measurement, Selection, What
from evpcli.domain.statistics import wilson_interval
from evpcli.engine.benchmark.cell import CellRecord
from evpcli.engine.benchmark.kept_cells import merge_kept
from evpcli.engine.benchmark.table import Table, Wanted, build_table, keep_chosen
from evpcli.engine.benchmark.table_export import format_csv, format_latex
from evpcli.engine.benchmark.table_html import render_table
from evpcli.engine.benchmark.table_text import (
    HEADERS,
    describe_table,
    format_markdown,
    list_cells,
)
from tests.engine.benchmark.builders import build_cell, build_wanted


@pytest.fixture
def table() -> Table:
    """Three datasets, one of them with a failed cell."""
    return build_table(
        "Benchmark",
        [
            build_wanted("zero-shot", "a", 40),
            build_wanted("evp", "a", 50, 0),
            build_wanted("evp", "a", 55, 1),
            build_wanted("zero-shot", "b", 60),
            build_wanted("evp", "b", 90, 0),
            build_wanted("evp", "b", None, 1),
            build_wanted("zero-shot", "c", 20),
            build_wanted("evp", "c", 25, 0),
            build_wanted("evp", "c", 36, 1),
        ],
    )


def test_a_row_is_the_mean_of_its_seeds(table: Table) -> None:
    row = table.rows[1]
    assert (row.dataset, row.method, row.seeds, row.n) == ("a", "evp", (0, 1), 100)
    assert row.top1 == pytest.approx(0.525)
    assert row.spread == (0.5, 0.55)
    assert row.interval == wilson_interval(52, 100)  # 52.5 pictures, rounded half to even
    assert row.difference == pytest.approx(12.5)
    assert row.selection == "selected on val"
    assert table.rows[0].difference == 0 and table.rows[0].selection == "none"


def test_the_mean_per_class_is_averaged_where_every_seed_has_it(table: Table) -> None:
    cells = [
        with_class_mean(build_wanted("evp", "a", 50, 0), 0.4),
        with_class_mean(build_wanted("evp", "a", 55, 1), 0.5),
        with_class_mean(build_wanted("evp", "b", 90, 0), 0.75),
    ]
    made = build_table("x", cells)
    assert [row.mean_per_class for row in made.rows] == [pytest.approx(0.45), 0.75]
    assert made.averages[0].mean_per_class == pytest.approx(0.6)
    place = HEADERS.index("per class %")
    assert [line[place] for line in list_cells(made)] == ["45.0", "75.0", "60.0"]
    assert {row.mean_per_class for row in table.rows} == {None}  # cells of an earlier version
    mixed = build_table("x", [cells[0], build_wanted("evp", "a", 55, 1)])
    assert mixed.rows[0].mean_per_class is None


def with_class_mean(cell: Wanted, share: float) -> Wanted:
    """The same cell, whose measurements have that mean per-class accuracy."""
    assert cell.record
    taken = [m.model_copy(update={"mean_per_class": share}) for m in cell.record.measurements]
    changed = cell.record.model_copy(update={"measurements": tuple(taken)})
    return replace(cell, record=changed)


def test_an_unfinished_row_keeps_what_it_has_and_is_named(table: Table) -> None:
    row = table.rows[3]
    assert (row.finished, row.asked, row.top1, row.selection) == (
        1,
        2,
        0.9,
        "selected on val, epoch 3 of 20",
    )
    (gap,) = table.gaps
    assert (gap.dataset, gap.seed, gap.status, gap.reason) == ("b", 1, "failed", "it broke")


def test_averages_take_datasets_where_every_method_is_finished(table: Table) -> None:
    zero_shot, evp = table.averages
    assert zero_shot.datasets == evp.datasets == ("a", "c") and evp.asked == 3
    assert zero_shot.top1 == pytest.approx(0.3)
    assert evp.top1 == pytest.approx((0.525 + 0.305) / 2)
    assert evp.difference == pytest.approx((12.5 + 10.5) / 2)


def test_averages_without_a_common_dataset_are_missing() -> None:
    cells = [build_wanted("evp", name, None, 0) for name in ("a", "b")]
    (average,) = build_table("x", cells).averages
    assert (average.top1, average.datasets) == (None, ())
    assert build_table("x", cells[:1]).averages == ()


def test_the_gain_falls_back_on_what_a_fit_measured_itself() -> None:
    found = build_wanted("evp", "a", 70, 0)
    assert build_table("x", [found]).rows[0].difference is None
    row = build_table("x", [with_baseline(found, 30, "mapped")]).rows[0]
    assert (row.difference, row.baseline) == (pytest.approx(40.0), "mapped")


def with_baseline(cell: Wanted, correct: int, what: What = "zero-shot") -> Wanted:
    """The same cell, which also measured the full picture."""
    assert cell.record
    taken = Measurement(what=what, split="test", n=100, top1_correct=correct)
    more = (*cell.record.measurements, taken)
    return replace(cell, record=cell.record.model_copy(update={"measurements": more}))


def test_a_fit_gains_on_the_full_picture_of_its_own_texts_and_splits() -> None:
    cells = [
        build_wanted("zero-shot", "a", 40),
        with_baseline(build_wanted("evp", "a", 70, 0), 60),
        with_baseline(build_wanted("evp", "a", 90, 1), 70),
        build_wanted("linear-probe", "a", 55),
    ]
    zero_shot, evp, probe = build_table("x", cells).rows
    assert zero_shot.difference == 0
    assert (evp.difference, evp.baseline) == (pytest.approx(15.0), "zero-shot")
    assert probe.difference == pytest.approx(15.0)


def test_a_cell_without_a_baseline_of_its_own_takes_the_plain_full_pictures() -> None:
    plain, other = build_wanted("zero-shot", "a", 40), build_wanted("zero-shot", "a", 90)
    fit = with_baseline(build_wanted("evp", "a", 70, 0), 30, "mapped")
    probe = build_wanted("linear-probe", "a", 50)
    other = replace(other, method="zero-shot --templates clip7")
    rows = build_table("x", [fit, other, plain, probe]).rows
    assert [row.difference for row in rows] == pytest.approx([40.0, 0.0, 0.0, 10.0])
    assert [row.baseline for row in rows] == ["mapped", "zero-shot", "zero-shot", "zero-shot"]


def test_rows_that_other_splits_selected_are_told() -> None:
    fit = build_wanted("evp", "a", 70, 0)
    probe = build_wanted("linear-probe", "a", 50, chosen_on="val")
    assert build_table("x", [fit, probe]).notes == ()
    assert fit.record
    selection = Selection(protocol="paper", split="test", epoch=3, epochs=20)
    paper = replace(fit, record=fit.record.model_copy(update={"selection": selection}))
    told, optimistic = build_table("x", [paper, probe]).notes
    assert told.startswith("rows of a were selected on different splits (test, val)")
    assert "optimistic" in optimistic
    (alone,) = build_table("x", [paper, build_wanted("zero-shot", "a", 40)]).notes
    assert alone == optimistic


def test_gains_are_taken_to_the_mean_of_a_baseline_that_depends_on_the_seed() -> None:
    cells = [
        build_wanted("zero-shot", "a", 40, 0),
        build_wanted("zero-shot", "a", 50, 1),
        build_wanted("evp", "a", 70, 0),
    ]
    first, second = build_table("x", cells).rows
    assert (first.difference, second.difference) == (pytest.approx(0.0), pytest.approx(25.0))


def test_a_cell_that_nobody_measured_is_waiting() -> None:
    cell = build_cell()
    table = build_table("x", [Wanted("mini", "a", "evp", 0, cell.command)])
    assert table.rows[0].top1 is None and table.gaps[0].status == "waiting"


def test_other_pictures_under_the_same_name_are_told() -> None:
    cells = [
        build_wanted("zero-shot", "a", 40, fingerprint="0" * 64),
        build_wanted("evp", "a", 50, 0, fingerprint="1" * 64),
    ]
    assert "changed between cells" in build_table("x", cells).notes[0]


def test_all_shapes_say_the_same_and_escape_what_strangers_wrote() -> None:
    cells = [build_wanted("zero-shot", "<b>|x", 40), build_wanted("evp", "<b>|x", None, 0)]
    table = build_table("<i>", cells)
    lines = list_cells(table)
    assert all(len(line) == len(HEADERS) for line in lines)
    assert lines[0][3] == "40.0" and lines[1][3] == "missing"
    markdown, page = format_markdown(table), render_table(table)
    assert "&lt;b>\\|x" in markdown and "it broke" in markdown
    assert "&lt;b&gt;|x" in page and "<b>|x" not in page and "it broke" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    plain = json.loads(json.dumps(describe_table(table)))
    assert plain["rows"][0]["top1"] == 0.4 and plain["gaps"][0]["hint"] == "mend it"


def with_validation(cell: Wanted, correct: int) -> Wanted:
    """The same cell with that many right answers of 10 on the validation split."""
    assert cell.record
    taken = [
        m.model_copy(update={"top1_correct": correct}) if m.split == "val" else m
        for m in cell.record.measurements
    ]
    return replace(cell, record=cell.record.model_copy(update={"measurements": tuple(taken)}))


def test_validation_chooses_and_test_is_only_reported() -> None:
    cells = [
        with_validation(build_wanted("zero-shot", "a", 99), 4),
        with_validation(build_wanted("evp", "a", 50, 0), 9),
        with_validation(build_wanted("evp", "a", 60, 1), 7),
        with_validation(build_wanted("zero-shot", "b", 80), 9),
        with_validation(build_wanted("evp", "b", 99, 0), 2),
        with_validation(build_wanted("evp", "b", 99, 1), 2),
    ]
    made = build_table("x", cells)
    assert [row.validation for row in made.rows] == [0.4, 0.8, 0.9, 0.2]
    assert [(c.dataset, c.method, c.validation, c.top1, c.among) for c in made.choices] == [
        ("a", "evp", 0.8, 0.55, 2),
        ("b", "zero-shot", 0.9, 0.8, 2),
    ]
    kept = keep_chosen(made)
    assert [(row.dataset, row.method) for row in kept.rows] == [("a", "evp"), ("b", "zero-shot")]
    assert [(a.method, a.top1) for a in kept.averages] == [
        ("chosen on validation", pytest.approx(0.675))
    ]
    page = format_markdown(made)
    assert "## Chosen on validation" in page and "evp has the highest validation" in page
    unfinished = build_table("x", [*cells[:2], build_wanted("evp", "a", None, 1)])
    assert [choice.method for choice in unfinished.choices] == ["zero-shot"]


def test_csv_and_latex_say_what_the_table_says(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(format_csv(table))))
    assert len(lines) == len(table.rows)
    assert float(lines[1]["top1"]) == table.rows[1].top1
    assert float(lines[1]["val_top1"]) == 0.1
    assert lines[1]["seeds"] == "0 1" and lines[0]["seeds"] == ""
    assert lines[1]["gain_points"] == str(table.rows[1].difference)
    paper = format_latex(table)
    assert paper.count(r"\\") == 1 + len(table.rows) + len(table.averages)
    assert "a & mini & evp & 52.5 & 10.0 & +12.5 & 2" in paper


def test_names_from_strangers_run_nothing_in_a_sheet_or_a_paper() -> None:
    made = build_table("50 %\n\\input{x}", [build_wanted("zero-shot", "=cmd()_&\\x", 40)])
    assert "\n'=cmd()_&" in format_csv(made)
    paper = format_latex(made)
    assert r"=cmd()\_\&\textbackslash{}x" in paper
    assert r"\input" not in paper


def test_kept_cells_of_earlier_calls_stay_in_the_table() -> None:
    def record(name: str, seed: int | None, command: str) -> CellRecord:
        found = build_wanted(name, "a", 50, seed).record
        assert found
        return found.model_copy(update={"command": command})

    asked = [replace(build_wanted("evp", "a", 60, 0), command="evp fit -d a --lr 4 --seed 0")]
    kept = [
        record("evp", 1, "evp fit -d a --lr 4 --seed 1"),  # another seed of the same row
        record("evp", 2, "evp fit -d a --lr 9 --seed 2"),  # other options: no part of it
        record("evp", 0, "evp fit -d a --lr 4 --seed 0"),  # asked for anew
        record("zero-shot", None, "evp benchmark -d a --methods zero-shot"),
    ]
    merged = merge_kept(asked, kept)
    assert [(cell.method, cell.seed) for cell in merged] == [
        ("evp", 0),
        ("zero-shot", None),
        ("evp", 1),
    ]
    assert merged[0] is asked[0]
