"""The table: means over seeds, differences, averages, and what is missing. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from evpcli.domain.statistics import wilson_interval
from evpcli.engine.benchmark.cell import CellRecord

SPLIT = "test"
_NOTHING = "none"

RowKey = tuple[str, str, str]
"""Backbone, dataset, method."""


@dataclass(frozen=True)
class Row:
    """A method on a dataset with a backbone, over its seeds.

    Args:
        backbone: its name.
        dataset: as it was asked for.
        method: with its options.
        seeds: that are finished; empty where the result does not depend on one.
        asked: how many cells the row is made of.
        finished: how many of them are finished.
        top1: mean of the seeds' accuracies, in [0, 1]; nothing without a finished cell.
        mean_per_class: the same of the means of the classes' own accuracies; nothing where a
            finished cell lacks it.
        validation: mean of the seeds' accuracies on the validation split; nothing where a
            finished cell lacks it.
        spread: lowest and highest of the seeds' accuracies.
        n: test pictures of each seed.
        interval: 95 % score interval at `n`: of the accuracy for one seed, of the mean accuracy
            (rounded to a whole picture) for several. It says what the size of the test split
            allows, not how seeds differ.
        difference: to the full picture without a prompt, in points: the mean over the finished
            cells, each to what it measured itself, else to the table's full-picture row.
        baseline: what that is called: `zero-shot` or `mapped`; empty where it is not known.
        selection: which pictures chose something.
        prompts: that were made.
        command: that makes the first cell.
    """

    backbone: str
    dataset: str
    method: str
    seeds: tuple[int, ...]
    asked: int
    finished: int
    top1: float | None
    mean_per_class: float | None
    validation: float | None
    spread: tuple[float, float] | None
    n: int | None
    interval: tuple[float, float] | None
    difference: float | None
    baseline: str
    selection: str
    prompts: tuple[str, ...]
    command: str

    @property
    def is_whole(self) -> bool:
        """Whether every cell of the row is finished."""
        return self.finished == self.asked


@dataclass(frozen=True)
class Average:
    """A method's mean over the datasets on which every method of the table is finished.

    Args:
        backbone: its name.
        method: with its options.
        top1: mean of the rows' accuracies, in [0, 1]; nothing without such a dataset.
        mean_per_class: the same of the rows' mean per-class accuracies.
        difference: mean of the rows' differences, in points.
        datasets: that are averaged, each with the same weight.
        asked: how many datasets the table has.
    """

    backbone: str
    method: str
    top1: float | None
    mean_per_class: float | None
    difference: float | None
    datasets: tuple[str, ...]
    asked: int


@dataclass(frozen=True)
class Choice:
    """The row that validation chooses for a dataset and a backbone, and what it reaches on test.

    Args:
        backbone: its name.
        dataset: as it was asked for.
        method: with its options.
        validation: the highest mean accuracy on the validation split, in [0, 1].
        top1: of the same row on test.
        among: how many rows were compared.
        command: that makes the row's first cell.
    """

    backbone: str
    dataset: str
    method: str
    validation: float
    top1: float
    among: int
    command: str


@dataclass(frozen=True)
class Gap:
    """A cell without a result, and why.

    Args:
        backbone: its name.
        dataset: as it was asked for.
        method: with its options.
        seed: nothing where the result does not depend on it.
        status: `failed`, `absent`, or `waiting` where it was not measured yet.
        reason: the error's line.
        hint: what to do.
    """

    backbone: str
    dataset: str
    method: str
    seed: int | None
    status: str
    reason: str
    hint: str


@dataclass(frozen=True)
class Table:
    """Everything that a benchmark says.

    Args:
        title: what was asked.
        rows: by backbone, dataset and method, in the order that was asked.
        averages: one a backbone and method; none for a single dataset.
        choices: one a dataset and backbone where validation can choose.
        gaps: cells without a result.
        notes: what a reader must know.
    """

    title: str
    rows: tuple[Row, ...]
    averages: tuple[Average, ...]
    choices: tuple[Choice, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A cell that the table shall show, measured or not.

    Args:
        backbone: its name.
        dataset: as it was asked for.
        method: with its options.
        seed: nothing where the result does not depend on it.
        command: that makes it.
        record: what is kept of it, if anything is.
    """

    backbone: str
    dataset: str
    method: str
    seed: int | None
    command: str
    record: CellRecord | None = None

    @property
    def key(self) -> RowKey:
        """The row that it belongs to."""
        return self.backbone, self.dataset, self.method


@dataclass(frozen=True)
class _Baseline:
    """What a difference is taken to: its name and its top-1, in [0, 1]."""

    what: str
    top1: float


def build_table(title: str, wanted: Sequence[Wanted]) -> Table:
    """The table of these cells, in their order."""
    groups: dict[RowKey, list[Wanted]] = {}
    for cell in wanted:
        groups.setdefault(cell.key, []).append(cell)
    baselines = _find_baselines(groups)
    rows = tuple(
        _build_row(key, cells, baselines.get((key[0], key[1]))) for key, cells in groups.items()
    )
    return Table(
        title=title,
        rows=rows,
        averages=_build_averages(rows),
        choices=_choose(rows),
        gaps=tuple(filter(None, map(_find_gap, wanted))),
        notes=tuple(_list_notes(wanted, rows)),
    )


def _choose(rows: Sequence[Row]) -> tuple[Choice, ...]:
    """The best row by validation of each dataset and backbone; the first of equals."""
    groups: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    for row in rows:
        if row.is_whole and row.validation is not None and row.top1 is not None:
            groups.setdefault((row.backbone, row.dataset), []).append((row.validation, row))
    chosen = ((*max(group, key=lambda pair: pair[0]), len(group)) for group in groups.values())
    return tuple(
        Choice(
            row.backbone,
            row.dataset,
            row.method,
            validation,
            row.top1 or 0.0,
            among,
            row.command,
        )
        for validation, row, among in chosen
    )


def keep_chosen(table: Table) -> Table:
    """The table with the chosen rows alone; their averages are those of the choice."""
    keys = {(one.backbone, one.dataset, one.method) for one in table.choices}
    rows = tuple(r for r in table.rows if (r.backbone, r.dataset, r.method) in keys)
    one_method = tuple(replace(row, method="chosen on validation") for row in rows)
    return replace(table, rows=rows, averages=_build_averages(one_method))


def _find_baselines(groups: Mapping[RowKey, list[Wanted]]) -> dict[tuple[str, str], _Baseline]:
    """The full picture's accuracy by backbone and dataset, for cells that did not measure it.

    It is its own row's, the one without options first, else the first that a fit measured. A label
    map of a drawn part of the pictures differs from seed to seed: the mean is taken.
    """
    found: dict[tuple[str, str], _Baseline] = {}
    own_row_first = sorted(groups.items(), key=lambda item: _rank_baseline(item[0][2]))
    for (backbone, dataset, _), cells in own_row_first:
        taken = [kept for r in _list_finished(cells) if (kept := r.find_baseline(SPLIT))]
        if taken:
            mean = _Baseline(taken[0].what, fmean(kept.top1 for kept in taken))
            found.setdefault((backbone, dataset), mean)
    return found


def _rank_baseline(method: str) -> int:
    return 0 if method == "zero-shot" else 1 if method.startswith("zero-shot ") else 2


def _list_finished(cells: Iterable[Wanted]) -> list[CellRecord]:
    """Records of the finished cells that were measured on the table's split."""
    records = (cell.record for cell in cells)
    return [r for r in records if r and r.status == "finished" and r.find_own(SPLIT)]


def _build_row(key: RowKey, cells: Sequence[Wanted], baseline: _Baseline | None) -> Row:
    finished = _list_finished(cells)
    own = [taken for record in finished if (taken := record.find_own(SPLIT))]
    shares = [taken.top1 for taken in own]
    top1 = fmean(shares) if shares else None
    n = min((taken.n for taken in own), default=None)
    difference, what = _compare(finished, baseline)
    return Row(
        *key,
        seeds=tuple(record.seed for record in finished if record.seed is not None),
        asked=len(cells),
        finished=len(finished),
        top1=top1,
        mean_per_class=_average_all([taken.mean_per_class for taken in own]),
        validation=_average_all([_find_validation(record) for record in finished]),
        spread=(min(shares), max(shares)) if shares else None,
        n=n,
        interval=None if top1 is None or n is None else wilson_interval(round(top1 * n), n),
        difference=difference,
        baseline=what,
        selection=_describe_selection(finished),
        prompts=tuple(record.prompt for record in finished if record.prompt),
        command=cells[0].command,
    )


def _find_validation(record: CellRecord) -> float | None:
    taken = record.find_own("val")
    return None if taken is None else taken.top1


def _compare(
    finished: Sequence[CellRecord], baseline: _Baseline | None
) -> tuple[float | None, str]:
    """Mean difference to the full picture, in points, and what that is called.

    A fit measured it with its own class texts and splits, which other cells need not share.
    """
    points, names = [], []
    for record in finished:
        own, kept = record.find_own(SPLIT), record.find_baseline(SPLIT)
        against = _Baseline(kept.what, kept.top1) if kept else baseline
        if own and against:
            points.append(100 * (own.top1 - against.top1))
            names.append(against.what)
    if not points or len(points) < len(finished):
        return None, ""
    return fmean(points), names[0]


def _describe_selection(finished: Sequence[CellRecord]) -> str:
    """The stamp beside the accuracy; epochs are named where there is one seed only."""
    chosen = [record.selection for record in finished if record.selection]
    if len(chosen) == 1:
        return chosen[0].label
    splits = _list_choosing(finished)
    return f"selected on {' and '.join(splits)}" if splits else _NOTHING


def _list_choosing(finished: Iterable[CellRecord]) -> list[str]:
    """The splits that chose an epoch, a rate or a penalty."""
    chosen = (
        record.selection.split if record.selection else record.chosen_on for record in finished
    )
    return sorted({split for split in chosen if split})


def _build_averages(rows: Sequence[Row]) -> tuple[Average, ...]:
    averages = []
    for backbone in dict.fromkeys(row.backbone for row in rows):
        own = [row for row in rows if row.backbone == backbone]
        datasets = list(dict.fromkeys(row.dataset for row in own))
        if len(datasets) < 2:
            continue
        whole = [d for d in datasets if all(row.is_whole for row in own if row.dataset == d)]
        for method in dict.fromkeys(row.method for row in own):
            chosen = [row for row in own if row.method == method and row.dataset in whole]
            averages.append(_average(backbone, method, chosen, len(datasets)))
    return tuple(averages)


def _average(backbone: str, method: str, rows: Sequence[Row], asked: int) -> Average:
    shares = [row.top1 for row in rows if row.top1 is not None]
    gains = [row.difference for row in rows if row.difference is not None]
    return Average(
        backbone=backbone,
        method=method,
        top1=fmean(shares) if shares else None,
        mean_per_class=_average_all([row.mean_per_class for row in rows]),
        difference=fmean(gains) if shares and len(gains) == len(shares) else None,
        datasets=tuple(row.dataset for row in rows),
        asked=asked,
    )


def _average_all(shares: Sequence[float | None]) -> float | None:
    """Their mean; nothing where one is missing, which would shift it."""
    known = [share for share in shares if share is not None]
    return fmean(known) if known and len(known) == len(shares) else None


def _find_gap(cell: Wanted) -> Gap | None:
    record = cell.record
    if record is None:
        status, reason, hint = "waiting", "not measured yet", "start the same command again"
    elif record.status != "finished":
        status, reason, hint = record.status, record.error or "unknown", record.hint or ""
    elif record.find_own(SPLIT) is None:
        status, reason, hint = "absent", f"not measured on {SPLIT}", ""
    else:
        return None
    return Gap(cell.backbone, cell.dataset, cell.method, cell.seed, status, reason, hint)


def _list_notes(wanted: Sequence[Wanted], rows: Sequence[Row]) -> list[str]:
    notes = []
    for dataset in dict.fromkeys(cell.dataset for cell in wanted):
        records = _list_finished(cell for cell in wanted if cell.dataset == dataset)
        if len({record.fingerprint for record in records if record.fingerprint}) > 1:
            notes.append(
                f"the pictures of {dataset} changed between cells: its rows cannot be compared; "
                "start again with another folder (-o)"
            )
        if len(splits := _list_choosing(records)) > 1:
            notes.append(
                f"rows of {dataset} were selected on different splits ({', '.join(splits)}) and "
                "learned from different pictures: do not compare them with each other"
            )
    if any("selected on test" in row.selection for row in rows):
        notes.append("rows selected on test are optimistic: the measured pictures chose them")
    return notes
