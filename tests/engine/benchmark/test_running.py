from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.domain.errors import (
    DivergedError,
    NetworkError,
    NotFoundError,
    StoppedError,
    UsageError,
)
from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.engine.benchmark.cell import Cell, CellRecord, CellResult
from evpcli.engine.benchmark.cell_store import CellStore
from evpcli.engine.benchmark.running import Records, RunHooks, run_cells
from tests.engine.benchmark.builders import build_cell, build_result


class Lab:
    """Measures without any work; raises what a dataset's name asks for."""

    def __init__(self, errors: dict[str, Exception] | None = None) -> None:
        self.measured: list[str] = []
        self.errors = errors or {}

    def measure(self, cell: Cell, records: Records) -> CellResult:
        self.measured.append(str(cell))
        if cell.dataset in self.errors:
            raise self.errors[cell.dataset]
        return build_result("prompted", 50, digest="0" * 64)


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    store = CellStore(tmp_path / "bench")
    with store.hold():
        return store


def run(
    cells: list[Cell], store: CellStore, lab: Lab, *, retry_failed: bool = False
) -> tuple[list[str], list[FitEvent]]:
    events: list[FitEvent] = []
    hooks = RunHooks(on_event=events.append)
    found = run_cells(cells, store, lab.measure, retry_failed=retry_failed, hooks=hooks)
    return [found[cell.id].status for cell in cells], events


def test_finished_cells_are_not_measured_again(store: CellStore) -> None:
    cells, lab = [build_cell(seed=seed) for seed in (0, 1)], Lab()
    assert run(cells, store, lab)[0] == ["finished", "finished"]
    assert len(lab.measured) == 2
    states, events = run([*cells, build_cell(seed=2)], store, lab)
    assert states == ["finished"] * 3 and lab.measured[2:] == ["evp on digits, mini, seed 2"]
    assert [event.text for event in events if isinstance(event, Phase)] == [
        "cell 3 of 3: evp on digits, mini, seed 2",
        "evp on digits, mini, seed 2: prompted 50.0 % on test, n 100",
    ]


def test_a_failing_cell_leaves_the_others_and_waits_for_a_retry(store: CellStore) -> None:
    cells = [build_cell(dataset=name) for name in ("a", "bad", "c")]
    lab = Lab({"bad": DivergedError("the loss is not finite", found="nan", hint="lower --lr")})
    states, events = run(cells, store, lab)
    assert states == ["finished", "failed", "finished"]
    kept = store.read(cells[1])
    assert kept and (kept.error, kept.hint) == ("the loss is not finite: nan", "lower --lr")
    assert [e.text for e in events if isinstance(e, Trouble)] == [
        "evp on bad, mini, seed 0: failed: the loss is not finite: nan; lower --lr"
    ]
    run(cells, store, lab)
    assert len(lab.measured) == 3
    lab.errors.clear()
    assert run(cells, store, lab, retry_failed=True)[0] == ["finished"] * 3
    assert lab.measured[3:] == ["evp on bad, mini, seed 0"]


def test_absent_data_is_looked_for_at_every_start(store: CellStore) -> None:
    cells = [build_cell(dataset="far"), build_cell(dataset="hand")]
    hint = "put train.zip into the folder"
    lab = Lab({"far": NetworkError("offline"), "hand": NotFoundError("not here", hint=hint)})
    assert run(cells, store, lab)[0] == ["absent", "absent"]
    kept = store.read(cells[1])
    assert kept and kept.hint == hint
    del lab.errors["hand"]
    assert run(cells, store, lab)[0] == ["absent", "finished"]


def test_a_signal_ends_the_benchmark_and_keeps_what_is_finished(store: CellStore) -> None:
    cells = [build_cell(dataset=name) for name in ("a", "b", "c")]
    lab = Lab({"b": StoppedError(15, "run 1 stopped")})
    with pytest.raises(StoppedError):
        run(cells, store, lab)
    assert [store.read(cell) is not None for cell in cells] == [True, False, False]
    lab.errors.clear()
    with pytest.raises(StoppedError):
        run_cells(cells, store, lab.measure, hooks=RunHooks(stop_signal=lambda: 2))
    run(cells, store, lab)
    assert [text[7:8] for text in lab.measured] == ["a", "b", "b", "c"]


def test_a_damaged_cell_is_told_and_measured_again(store: CellStore) -> None:
    cell, lab = build_cell(), Lab()
    run([cell], store, lab)
    (file,) = (store.folder / "cells").iterdir()
    sound = file.read_text()
    for damage in ("{", sound.replace('"status"', '"state"'), sound.replace(cell.id, "0" * 64)):
        file.write_text(damage)
        states, events = run([cell], store, lab)
        assert states == ["finished"]
        assert "measured again" in next(e.text for e in events if isinstance(e, Trouble))
    assert len(lab.measured) == 4 and file.read_text() != damage


def test_a_cell_shares_the_fate_of_the_one_whose_prompt_it_needs(store: CellStore) -> None:
    lab = Lab({"far": NetworkError("offline", hint="go online"), "bad": UsageError("no")})
    for dataset, state in (("digits", "finished"), ("far", "absent"), ("bad", "failed")):
        source = build_cell(dataset=dataset)
        noise = build_cell("noise", dataset, source_id=source.id)
        assert run([source, noise], store, lab)[0] == [state, state]


def test_everything_that_matters_makes_another_cell() -> None:
    one = build_cell()
    same = [build_cell(threads=8), build_cell(device="cuda"), build_cell(offline=True)]
    assert {cell.id for cell in same} == {one.id}
    other = [
        build_cell("vp"),
        build_cell(options=("--augment", "none")),
        build_cell(seed=1),
        build_cell(dataset="pets"),
        build_cell(backbone="RN50"),
        build_cell(weights="/w"),
        build_cell(templates=("a {}",)),
        build_cell(settings=one.request.settings.model_copy(update={"border_px": 3})),
    ]
    assert len({cell.id for cell in (one, *other)}) == 1 + len(other)


def test_a_baseline_does_not_depend_on_how_prompts_are_learned() -> None:
    one = build_cell("zero-shot", seed=None)
    settings = one.request.settings

    def change(**values: object) -> Cell:
        return build_cell("zero-shot", seed=None, settings=settings.model_copy(update=values))

    assert change(epochs=7, lr=3.0, find_lr=True).id == one.id
    assert change(val_fraction=0.3).id != one.id


def test_one_process_works_on_a_benchmark(store: CellStore) -> None:
    with store.hold(), pytest.raises(UsageError, match="another process"), store.hold():
        pass


def test_a_record_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="extra"):
        CellRecord.model_validate({"id": "0" * 64, "colour": "red"})
