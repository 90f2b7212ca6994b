from __future__ import annotations

from contextlib import ExitStack
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
from evpcli.engine.benchmark import running
from evpcli.engine.benchmark.cell import Cell, CellRecord, CellResult
from evpcli.engine.benchmark.cell_store import CellStore
from evpcli.engine.benchmark.running import Records, RunHooks, make_record, run_cells
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
    store.open()
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


def test_cells_are_shared_by_processes(store: CellStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_LOOK_EVERY_S", 0.01)
    theirs, free = build_cell("evp", seed=0), build_cell("evp", seed=1)
    needs = build_cell("noise", seed=0, source_id=theirs.id)
    lab, other = Lab(), CellStore(store.folder)
    phases: list[str] = []
    with ExitStack() as held:
        assert held.enter_context(other.claim(theirs))

        def on_event(event: FitEvent) -> None:
            if isinstance(event, Phase):
                phases.append(event.text)
            if "waiting for other processes to finish 2 cells" in phases[-1:]:
                result = build_result("prompted", 77)
                fields = {n: getattr(result, n) for n in result.__dataclass_fields__}
                other.write(theirs, make_record(theirs, "finished", **fields))
                held.close()

        hooks = RunHooks(on_event=on_event)
        records = run_cells([theirs, free, needs], store, lab.measure, hooks=hooks)
    assert lab.measured == [str(free), str(needs)]
    own = records[theirs.id].find_own()
    assert own is not None and own.top1_correct == 77
    assert records[needs.id].status == "finished"


def test_a_cell_whose_process_died_is_measured(
    store: CellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LOOK_EVERY_S", 0.01)
    cell, lab, held = build_cell(), Lab(), ExitStack()
    assert held.enter_context(CellStore(store.folder).claim(cell))
    hooks = RunHooks(on_event=lambda event: held.close())  # no record is left behind
    records = run_cells([cell], store, lab.measure, hooks=hooks)
    assert lab.measured == [str(cell)] and records[cell.id].status == "finished"


def test_the_time_left_counts_all_cells(store: CellStore) -> None:
    _, events = run([build_cell(seed=seed) for seed in range(3)], store, Lab())
    texts = [e.text for e in events if isinstance(e, Phase) and e.text.startswith("cell ")]
    assert "left in all" not in texts[0]
    assert all(text.endswith("about 0 s left in all") for text in texts[1:])


def test_a_record_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="extra"):
        CellRecord.model_validate({"id": "0" * 64, "colour": "red"})
