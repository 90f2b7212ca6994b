"""Cells and records without any training."""

from __future__ import annotations

from evpcli.domain.manifest import Measurement, Selection, What
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.benchmark.cell import Cell, CellResult
from evpcli.engine.benchmark.methods import Method
from evpcli.engine.benchmark.running import make_record
from evpcli.engine.benchmark.table import Wanted

_WHAT: dict[str, What] = {"evp": "prompted", "linear-probe": "linear-probe"}


def build_cell(
    name: str = "evp", dataset: str = "digits", seed: int | None = 0, **changes: object
) -> Cell:
    settings = FitSettings(lr=1.0, epochs=2, batch_size=8, seed=seed or 0)
    request = FitRequest(dataset=dataset, backbone="mini", settings=settings)
    options = changes.pop("options", ())
    source_id = changes.pop("source_id", None)
    request = request.model_copy(update=changes)
    return Cell(
        Method(name, options),  # type: ignore[arg-type]
        dataset,
        seed,
        request,
        f"evp fit -d {dataset}",
        source_id,  # type: ignore[arg-type]
    )


def build_result(what: What, correct: int, n: int = 100, **more: object) -> CellResult:
    taken = (
        Measurement(what=what, split="val", n=10, top1_correct=1),
        Measurement(what=what, split="test", n=n, top1_correct=correct),
    )
    return CellResult(what, taken, **more)  # type: ignore[arg-type]


def build_wanted(
    name: str, dataset: str, correct: int | None, seed: int | None = None, **more: object
) -> Wanted:
    """A cell of the table with that many right answers of 100; a failed one with nothing."""
    cell = build_cell(name, dataset, seed)
    if correct is None:
        record = make_record(cell, "failed", error="it broke", hint="mend it")
    else:
        if name == "evp":
            selection = Selection(protocol="validation", split="val", epoch=3, epochs=20)
            more = {"selection": selection, **more}
        result = build_result(_WHAT.get(name, "zero-shot"), correct, **more)
        fields = {n: getattr(result, n) for n in result.__dataclass_fields__}
        record = make_record(cell, "finished", **fields)
    return Wanted("mini", dataset, cell.method.text, seed, cell.command, record)
