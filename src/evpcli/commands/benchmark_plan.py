"""From the options of `evp benchmark` to its cells, each settled by the parser of `evp fit`."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from evpcli.commands.fit_request import build_request
from evpcli.commands.options.benchmark import USUAL_BATCH_SIZE
from evpcli.domain.errors import NotFoundError, UsageError
from evpcli.domain.manifest import canonical_json
from evpcli.domain.names import make_slug
from evpcli.domain.settings import FitRequest
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.benchmark.cell import FINE_TUNE_EPOCHS, Cell, CellRecord
from evpcli.engine.benchmark.local_weights import hash_weights
from evpcli.engine.benchmark.methods import Method, parse_methods, split_options
from evpcli.engine.benchmark.suites import DEFAULT_METHODS, SUITES, Suite
from evpcli.engine.benchmark.table import Wanted
from evpcli.engine.datasets.catalog import find_dataset_spec, find_own_folder

_OWN_OPTIONS = {
    "dataset",
    "backbone",
    "weights",
    "method",
    "name",
    "seed",
    "device",
    "workers",
    "offline",
    "parent",
    "resume",
    "dry_run",
    "output",
    "force",
    "tag",
    "json",
}
"""Options of `evp fit` that a benchmark gives itself, or that make no sense in one."""

_SEEDED = ("evp", "vp", "noise", "fine-tune")
_GIVEN = ("flag", "environment", "config")
"""Sources of a setting that a person chose; others are defaults of some kind."""


@dataclass(frozen=True)
class Question:
    """What a benchmark compares, and how it computes.

    Args:
        suite: its name, or empty.
        datasets: short names and folders, as the user wrote them.
        backbones: by name.
        weights: local checkpoint for the only backbone.
        methods: in the order of the table.
        options: of `evp fit`, for every method.
        seeds: how many; they count from 0.
        device: as `choose_device` takes it.
        threads: how many decode.
        batch_size: of the methods that are no fit.
        offline: never open a connection.
        tolerated: datasets without a reader that leave a gap; others end the command.
    """

    suite: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    weights: Path | None
    methods: tuple[Method, ...]
    options: tuple[str, ...]
    seeds: int
    device: str
    threads: int
    batch_size: int
    offline: bool
    tolerated: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """The question in words."""
        what = f"suite {self.suite}" if self.suite else ", ".join(self.datasets)
        return f"Benchmark: {what} with {', '.join(self.backbones)}"

    @property
    def folder_name(self) -> str:
        """Equal for equal datasets, backbones and weights: more methods and seeds go on there."""
        places = [
            name
            if name in self.tolerated or find_dataset_spec(name)
            else str(find_own_folder(name).path)
            for name in self.datasets
        ]
        parts = [places, self.backbones, self.weights and _to_absolute(str(self.weights))]
        digest = hashlib.sha256(canonical_json(parts).encode()).hexdigest()
        words = [self.suite] if self.suite else [Path(name).name for name in self.datasets]
        return f"{make_slug('-'.join((*words, *self.backbones)))}--{digest[:8]}"


@dataclass(frozen=True)
class BenchmarkPlan:
    """The cells in the order in which they are measured, and datasets that evp cannot read."""

    cells: tuple[Cell, ...]
    unreadable: tuple[CellRecord, ...] = ()

    def to_wanted(self, records: dict[str, CellRecord]) -> list[Wanted]:
        """What the table shows, with what is kept of it."""
        parts: list[tuple[Cell | CellRecord, str, CellRecord | None]] = [
            (cell, cell.method.text, records.get(cell.id)) for cell in self.cells
        ]
        parts += [(record, record.method, record) for record in self.unreadable]
        return [
            Wanted(one.backbone, one.dataset, method, one.seed, one.command, record)
            for one, method, record in parts
        ]


def settle_question(
    suite: str | None,
    datasets: list[str] | None,
    backbones: list[str] | None,
    methods: str | None,
    options: str | None,
    **more: Any,
) -> Question:
    """The question that the options ask; what is not said is the suite's.

    Raises:
        UsageError: no dataset is named, or one checkpoint shall serve several backbones.
    """
    usual = SUITES[suite] if suite else Suite((), ("mini",), DEFAULT_METHODS)
    question = Question(
        suite=suite if suite and not datasets else "",
        datasets=tuple(dict.fromkeys(datasets or usual.datasets)),
        backbones=tuple(dict.fromkeys(backbones or usual.backbones)),
        methods=parse_methods(usual.methods if methods is None else methods),
        options=split_options(usual.options if options is None else options),
        tolerated=_find_unreadable(() if datasets else usual.datasets),
        **more,
    )
    if not question.datasets:
        raise UsageError("no dataset was named", hint="add --suite smoke, -d digits, or a folder")
    if question.weights and len(question.backbones) > 1:
        raise UsageError("--weights is for one backbone", found=", ".join(question.backbones))
    return question


def plan_benchmark(context: typer.Context, question: Question) -> BenchmarkPlan:
    """Every cell of a question, settled.

    Args:
        context: of the running verb; `evp fit` is found through it.
        question: what is compared.

    Raises:
        UsageError: an option cannot be, or belongs to the benchmark itself.
        NotFoundError: there is no such dataset or backbone.
    """
    planner = _Planner(context, question)
    for words in (question.options, *(method.options for method in question.methods)):
        planner.check_options(words)
    cells: list[Cell] = []
    unreadable: list[CellRecord] = []
    for backbone in map(find_entry, question.backbones):
        for dataset in question.datasets:
            if dataset in question.tolerated:
                unreadable += planner.list_unreadable(dataset, backbone.name)
            else:
                cells += planner.list_cells(dataset, backbone.name)
    return BenchmarkPlan(tuple(cells), tuple(unreadable))


class _Planner:
    """Makes cells with the parser of `evp fit`.

    Args:
        context: of the running verb.
        question: what is compared.
    """

    def __init__(self, context: typer.Context, question: Question) -> None:
        self._root = context.find_root()
        self._fit: Any = getattr(self._root.command, "commands", {})["fit"]
        self._question = question
        self._digests: dict[str | None, str | None] = {None: None}

    def check_options(self, words: tuple[str, ...]) -> None:
        """Refuse words that are no options of `evp fit`, or that the benchmark gives itself."""
        with self._fit.make_context("fit", list(words), parent=self._root) as parsed:
            for name in _OWN_OPTIONS & set(parsed.params):
                source = parsed.get_parameter_source(name)
                if source and source.name == "COMMANDLINE":
                    raise UsageError(
                        f"--{name.replace('_', '-')} cannot be an option of a method",
                        found=repr(shlex.join(words)[:80]),
                        hint="evp benchmark names or settles it itself: see evp benchmark --help",
                    )

    def list_cells(self, dataset: str, backbone: str) -> Iterator[Cell]:
        """The cells of one dataset and backbone; those that need another's prompt come last."""
        sources: dict[int, Cell] = {}
        methods = sorted(self._question.methods, key=lambda method: method.name == "noise")
        for method in methods:
            for seed in self._list_seeds(method, dataset, backbone):
                source = sources.get(seed or 0) if method.name == "noise" else None
                if method.name == "noise" and source is None:
                    raise UsageError(
                        "noise is as long as a learned prompt, and no method learns one",
                        hint="add evp to --methods",
                    )
                cell = self._make_cell(method, dataset, backbone, seed, source)
                if method.name == "evp":
                    sources.setdefault(seed or 0, cell)
                yield cell

    def list_unreadable(self, dataset: str, backbone: str) -> Iterator[CellRecord]:
        """What the table says of a dataset of the suite that evp has no reader for."""
        for method in self._question.methods:
            name = canonical_json([method.text, dataset, backbone])
            yield CellRecord(
                id=hashlib.sha256(name.encode()).hexdigest(),
                dataset=dataset,
                backbone=backbone,
                method=method.text,
                seed=None,
                command=self._say_benchmark(method, dataset, backbone),
                status="absent",
                error=f"evp has no reader for {dataset}",
                hint="bring it as a folder of class folders: evp benchmark -d FOLDER",
            )

    def _list_seeds(self, method: Method, dataset: str, backbone: str) -> list[int | None]:
        """The seeds of a method; one cell without a seed where the result depends on none.

        Shots and a fraction leave part of the pictures, drawn by the seed: then it always does.
        """
        settings = self._parse(self._list_words(method, dataset, backbone, None)).settings
        draws = settings.shots is not None or settings.fraction is not None
        return list(range(self._question.seeds)) if draws or method.name in _SEEDED else [None]

    def _make_cell(
        self, method: Method, dataset: str, backbone: str, seed: int | None, source: Cell | None
    ) -> Cell:
        words = self._list_words(method, dataset, backbone, seed)
        request = self._parse([*words, *self._list_hidden_words()])
        if method.is_fitted:
            command = shlex.join(("evp", "fit", *words))
        else:
            command = self._say_benchmark(method, dataset, backbone, seed)
            request = self._to_baseline(method, request)
        return Cell(
            method,
            dataset,
            seed,
            request,
            command,
            source_id=source.id if source else None,
            weights_sha256=self._hash_weights(request.weights),
        )

    def _hash_weights(self, weights: str | None) -> str | None:
        """The checkpoint's digest, computed once for all cells."""
        if weights not in self._digests:
            self._digests[weights] = hash_weights(Path(str(weights)))
        return self._digests[weights]

    def _list_words(
        self, method: Method, dataset: str, backbone: str, seed: int | None
    ) -> list[str]:
        question = self._question
        words = ["-d", dataset, "-b", backbone]
        words += ["--weights", str(question.weights)] if question.weights else []
        words += ["--method", method.name] if method.is_fitted else []
        return [*words, *question.options, *method.options, "--seed", str(seed or 0)]

    def _list_hidden_words(self) -> list[str]:
        """What says how to compute, not what; it is no part of the command that is shown."""
        question = self._question
        words = ["--device", question.device, "--workers", str(question.threads)]
        return [*words, "--offline"] if question.offline else words

    def _parse(self, words: list[str]) -> FitRequest:
        with self._fit.make_context("fit", words, parent=self._root) as parsed:
            return build_request(parsed)

    def _to_baseline(self, method: Method, request: FitRequest) -> FitRequest:
        """The request with the batch size, and the epochs if it trains, that a baseline uses."""
        changes: dict[str, Any] = {"batch_size": self._question.batch_size}
        if method.name == "fine-tune" and request.sources.get("epochs") not in _GIVEN:
            changes["epochs"] = FINE_TUNE_EPOCHS
        settings = request.settings.model_copy(update=changes)
        return request.model_copy(update={"settings": settings})

    def _say_benchmark(
        self, method: Method, dataset: str, backbone: str, seed: int | None = None
    ) -> str:
        """The command of a cell that `evp fit` does not make; noise needs the first `evp` too."""
        question = self._question
        learned = [one for one in question.methods if one.name == "evp" and method.name == "noise"]
        words = ["evp", "benchmark", "-d", dataset, "-b", backbone]
        words += ["--weights", str(question.weights)] if question.weights else []
        words += ["--methods", ",".join(one.text for one in (*learned[:1], method))]
        words += ["--with", shlex.join(question.options)] if question.options else []
        words += [] if seed is None else ["--seeds", str(seed + 1)]
        is_usual = question.batch_size == USUAL_BATCH_SIZE
        words += [] if is_usual else ["--batch-size", str(question.batch_size)]
        return shlex.join(words)


def _find_unreadable(datasets: tuple[str, ...]) -> frozenset[str]:
    """The datasets of a suite that are neither in the catalog nor a folder here."""
    found = set()
    for name in datasets:
        try:
            find_dataset_spec(name)
        except NotFoundError:
            found.add(name)
    return frozenset(found)


def _to_absolute(text: str) -> str:
    return str(Path(text).expanduser().absolute())
