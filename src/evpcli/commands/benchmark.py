"""`evp benchmark`: methods, datasets, backbones and seeds in one resumable table."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from pathlib import Path

import typer

from evpcli.commands.benchmark_plan import (
    BenchmarkPlan,
    Question,
    plan_benchmark,
    settle_question,
)
from evpcli.commands.options import benchmark as options
from evpcli.commands.options.shared import DECODING_THREADS, DeviceOption, JsonOption, OfflineOption
from evpcli.commands.output import terminal
from evpcli.commands.output.progress import FitDisplay
from evpcli.commands.output.signals import StopSignals
from evpcli.commands.stdout_file import is_stdout
from evpcli.domain.counts import say_count
from evpcli.domain.errors import EvpError, NotFoundError, StoppedError, UsageError
from evpcli.domain.events import FitEvent, Trouble
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.benchmark.cell import CellRecord
from evpcli.engine.benchmark.cell_store import CellStore
from evpcli.engine.benchmark.kept_cells import merge_kept
from evpcli.engine.benchmark.running import RunHooks, is_due, read_records, run_cells
from evpcli.engine.benchmark.table import Table, build_table, keep_chosen
from evpcli.engine.benchmark.table_export import format_csv, format_latex
from evpcli.engine.benchmark.table_html import render_table
from evpcli.engine.benchmark.table_text import (
    GAP_HEADERS,
    HEADERS,
    describe_choice,
    describe_table,
    format_markdown,
    list_cells,
    list_gap_cells,
)
from evpcli.engine.files.durable import write_durably, write_result
from evpcli.engine.files.paths import expand_path, find_home
from evpcli.engine.fitting.downloads import Download, list_downloads

_DROPPED = (
    *("command", "selection", "split", "seeds", "min to max", "n", "per class %", "val %"),
    *("95 % interval", "backbone"),
)
"""Columns that a narrow terminal leaves out, in this order; all are in the files."""


def benchmark(
    context: typer.Context,
    suite: options.SuiteOption = None,
    dataset: options.DatasetsOption = None,
    backbone: options.BackbonesOption = None,
    weights: options.WeightsOption = None,
    methods: options.MethodsOption = None,
    seeds: options.SeedsOption = 1,
    with_options: options.WithOption = None,
    output: options.OutputOption = None,
    html: options.HtmlOption = None,
    markdown: options.MarkdownOption = None,
    csv: options.CsvOption = None,
    latex: options.LatexOption = None,
    choose: options.ChooseOption = False,
    retry_failed: options.RetryOption = False,
    dry_run: options.DryRunOption = False,
    workers: options.WorkersOption = DECODING_THREADS,
    batch_size: options.BatchSizeOption = options.USUAL_BATCH_SIZE,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Compare methods on datasets with backbones and seeds, in one table that can be resumed."""
    question = settle_question(
        suite,
        dataset,
        backbone,
        methods,
        with_options,
        weights=weights,
        seeds=seeds,
        device=device,
        threads=workers,
        batch_size=batch_size,
        offline=offline,
    )
    asked = ((html, "html"), (markdown, "md"), (csv, "csv"), (latex, "tex"))
    extra = {path: kind for path, kind in asked if path}
    _check_folders(extra)
    plan = plan_benchmark(context, question)
    store = CellStore(_choose_folder(question, output))
    if dry_run:
        _show_states(question, plan, store, retry_failed=retry_failed, json=json)
        return
    records = _run(question, plan, store, retry_failed=retry_failed)
    table = build_table(question.title, plan.to_wanted(records))
    for path, kind in extra.items():
        write_result(path, _format_files(table)[f"table.{kind}"])
    _show_table(keep_chosen(table) if choose else table, json=json)
    if choose:
        _show_choices(table)
    terminal.note(f"kept in {store.folder}: cells, prompts, table.md, .json, .html, .csv, .tex")
    _judge(plan, records)


def _check_folders(paths: dict[Path, str]) -> None:
    """Refuse a result file without a folder before anything is measured."""
    for path in paths:
        if not path.parent.is_dir():
            raise NotFoundError(
                "there is no such folder", found=str(path.parent), hint=f"mkdir -p {path.parent}"
            )


def _choose_folder(question: Question, output: Path | None) -> Path:
    if is_stdout(output):
        raise UsageError("a benchmark is a folder and cannot go to stdout", hint="give -o a folder")
    if output is not None:
        return expand_path(output).absolute()
    return find_home() / "benchmarks" / question.folder_name


def _run(
    question: Question, plan: BenchmarkPlan, store: CellStore, *, retry_failed: bool
) -> dict[str, CellRecord]:
    """Measure what is due; the tables in the folder are written in any case."""
    store.open()
    records = read_records(plan.cells, store, on_event=_tell)
    due = [c for c in plan.cells if is_due(records.get(c.id), retry_failed=retry_failed)]
    _show_plan(question, plan, len(due))
    try:
        if due:
            records = _measure(plan, store, retry_failed=retry_failed)
    except StoppedError as error:
        _write_tables(question, plan, store, read_records(plan.cells, store, _tell))
        raise StoppedError(
            error.signal_number,
            error.what.partition(";")[0],
            hint="what is finished is kept: start the same command again to go on",
        ) from error
    _write_tables(question, plan, store, records)
    return records


def _measure(plan: BenchmarkPlan, store: CellStore, *, retry_failed: bool) -> dict[str, CellRecord]:
    from evpcli.engine.benchmark.measuring import build_measure
    from evpcli.engine.fitting.fit import FitHooks

    with StopSignals() as signals, _CellDisplay(signals) as display:
        hooks = FitHooks(on_event=display.show, stop_signal=signals.read)
        return run_cells(
            plan.cells,
            store,
            build_measure(store.places, hooks),
            retry_failed=retry_failed,
            hooks=RunHooks(on_event=display.show, stop_signal=signals.read),
        )


class _CellDisplay(FitDisplay):
    """Shows fits as `evp fit` does, but for how they are resumed."""

    def _say(self, text: str) -> None:
        if text.startswith("training; "):
            text = "training; Ctrl-C stops, the same command goes on"
        super()._say(text)


def _tell(event: FitEvent) -> None:
    if isinstance(event, Trouble):
        terminal.warn(event.text)


def _show_plan(question: Question, plan: BenchmarkPlan, due: int) -> None:
    """Say what will be measured and downloaded, before torch is loaded."""
    needed = (f"{download.what} ({download.size})" for download in _list_downloads(question))
    fetched = ", ".join(needed) or "nothing"
    parts = (
        (len(question.methods), "method"),
        (len(question.datasets), "dataset"),
        (len(question.backbones), "backbone"),
        (question.seeds, "seed"),
    )
    counts = ", ".join(say_count(number, noun) for number, noun in parts)
    terminal.note(
        f"plan: {say_count(len(plan.cells), 'cell')} ({counts}), {due} to measure; "
        f"to download: {fetched if due else 'nothing'}"
    )


def _list_downloads(question: Question) -> list[Download]:
    """What the cells need and this machine lacks, each once, datasets first."""
    found = {
        download.what: download
        for backbone in map(find_entry, question.backbones)
        for dataset in question.datasets
        if dataset not in question.tolerated
        for download in list_downloads(dataset, backbone, has_weights=question.weights is not None)
    }
    return sorted(found.values(), key=lambda download: download.command.split()[1] != "datasets")


def _show_states(
    question: Question, plan: BenchmarkPlan, store: CellStore, *, retry_failed: bool, json: bool
) -> None:
    records = read_records(plan.cells, store, _tell)
    found = []
    for cell in plan.to_wanted(records):
        state: str = cell.record.status if cell.record else "waiting"
        if state == "failed" and retry_failed:
            state = "failed, to be retried"
        found.append((cell.dataset, cell.method, cell.backbone, cell.seed, state, cell.command))
    headers = ("dataset", "method", "backbone", "seed", "state", "command")
    downloads = _list_downloads(question)
    if json:
        cells = [dict(zip(headers, row, strict=True)) for row in found]
        terminal.show_json(
            {
                "folder": str(store.folder),
                "downloads": [asdict(download) for download in downloads],
                "cells": cells,
            }
        )
    else:
        terminal.show_rows(headers, found, drops=("command", "seed"), paths=("dataset", "method"))
        for download in downloads:
            terminal.note(f"to download: {download.what} ({download.size})")
        terminal.note(f"kept in {store.folder}")


def _write_tables(
    question: Question, plan: BenchmarkPlan, store: CellStore, records: dict[str, CellRecord]
) -> None:
    wanted = merge_kept(plan.to_wanted(records), store.list_others(plan.cells))
    table = build_table(question.title, wanted)
    for name, data in _format_files(table).items():
        write_durably(store.folder / name, data)


def _format_files(table: Table) -> dict[str, bytes]:
    plain = json_text.dumps(describe_table(table), indent=1, allow_nan=False)
    return {
        "table.md": format_markdown(table).encode(errors="backslashreplace"),
        "table.json": plain.encode(),
        "table.html": render_table(table).encode(errors="backslashreplace"),
        "table.csv": format_csv(table).encode(errors="backslashreplace"),
        "table.tex": format_latex(table).encode(errors="backslashreplace"),
    }


def _show_table(table: Table, *, json: bool) -> None:
    if json:
        terminal.show_json(describe_table(table))
    else:
        terminal.show_rows(
            HEADERS, list_cells(table), drops=_DROPPED, paths=("dataset",), wraps=("method",)
        )
    for gap in list_gap_cells(table):
        pairs = zip(GAP_HEADERS, gap, strict=True)
        terminal.warn("; ".join(f"{name} {cell}" for name, cell in pairs if cell))
    for note in table.notes:
        terminal.warn(note)


def _show_choices(table: Table) -> None:
    """Say what validation chose; test accuracies of the other rows are not compared."""
    for choice in table.choices:
        terminal.note(describe_choice(choice))
    if not table.choices:
        terminal.warn("nothing to choose from: no row has a validation accuracy")


def _judge(plan: BenchmarkPlan, records: dict[str, CellRecord]) -> None:
    """End with an error where a cell failed, or where there is no result at all.

    Raises:
        EvpError: a cell failed.
        NotFoundError: every cell's data is absent.
    """
    states = [records[cell.id].status for cell in plan.cells]
    if failed := states.count("failed"):
        raise EvpError(
            f"{failed} of {len(states)} cells failed",
            hint="mend what the table names, then start the same command with --retry-failed",
        )
    if "finished" not in states:
        raise NotFoundError(
            "no cell could be measured", hint="bring the data that the lines above name"
        )
