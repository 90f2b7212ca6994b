from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evpcli.domain.errors import StoppedError
from evpcli.domain.events import FitEvent, Phase, StepReport, Trouble
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.benchmark.cell import Cell
from evpcli.engine.benchmark.fitting_cells import find_stopped, fit_cell
from evpcli.engine.benchmark.methods import Method
from evpcli.engine.files.paths import Places
from evpcli.engine.fitting.fit import FitHooks
from evpcli.engine.fitting.inputs import Materials, load_materials
from tests.small_data import write_digit_folder


def build_request(tmp_path: Path) -> FitRequest:
    folder = tmp_path / "numbers"
    if not folder.exists():
        write_digit_folder(folder)
    settings = FitSettings(lr=5.0, epochs=2, batch_size=8)
    return FitRequest(dataset=str(folder), backbone="mini", settings=settings, device="cpu")


class Stopper:
    """Asks to stop after some steps."""

    def __init__(self, after: int) -> None:
        self.steps, self.after = 0, after
        self.phases: list[str] = []
        self.troubles: list[str] = []

    def tell(self, event: FitEvent) -> None:
        self.steps += isinstance(event, StepReport)
        if isinstance(event, Phase):
            self.phases.append(event.text)
        if isinstance(event, Trouble):
            self.troubles.append(event.text)

    def to_hooks(self) -> FitHooks:
        return FitHooks(self.tell, lambda: 15 if self.steps >= self.after else 0)


def stop_at(step: int) -> FitHooks:
    return Stopper(after=step).to_hooks()


def test_a_stopped_fit_goes_on_to_the_same_prompt(tmp_path: Path) -> None:
    cell = Cell(Method("evp"), "numbers", 0, build_request(tmp_path), "evp fit")
    places, others = Places.below(tmp_path / "one"), Places.below(tmp_path / "two")
    with pytest.raises(StoppedError):
        fit_cell(cell, places, Stopper(after=4).to_hooks())
    again = Stopper(after=10_000)
    found = fit_cell(cell, places, again.to_hooks())
    assert again.phases[0].startswith("going on with run ")
    whole = fit_cell(cell, others, FitHooks())
    assert found.measurements == whole.measurements
    assert found.prompt == whole.prompt == "numbers/mini:v1"
    assert find_stopped(cell.request, places) is None


def test_a_stopped_fit_goes_on_as_the_machine_is_asked_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, places = build_request(tmp_path), Places.below(tmp_path / "one")
    with pytest.raises(StoppedError):
        fit_cell(Cell(Method("evp"), "numbers", 0, asked, "evp fit"), places, stop_at(1))
    loaded: list[FitRequest] = []

    def load(request: FitRequest, *more: Any) -> Materials:
        loaded.append(request)
        return load_materials(request, *more)

    monkeypatch.setattr("evpcli.engine.fitting.fit.load_materials", load)
    now = {"device": "auto", "threads": 1, "store": False, "offline": True}
    moved = asked.model_copy(update=now)
    fit_cell(Cell(Method("evp"), "numbers", 0, moved, "evp fit"), places, FitHooks())
    assert [request.model_dump(include=set(now)) for request in loaded] == [now]


def test_a_stopped_fit_of_pictures_that_changed_is_begun_again(tmp_path: Path) -> None:
    request, places = build_request(tmp_path), Places.below(tmp_path / "one")
    cell = Cell(Method("evp"), "numbers", 0, request, "evp fit")
    with pytest.raises(StoppedError):
        fit_cell(cell, places, stop_at(1))
    next(Path(request.dataset).glob("*/*.png")).unlink()
    again = Stopper(after=10_000)
    assert fit_cell(cell, places, again.to_hooks()).prompt == "numbers/mini:v1"
    assert "cannot go on and is begun again: the dataset fingerprint changed" in again.troubles[0]


def test_only_a_run_of_the_same_request_is_gone_on_with(tmp_path: Path) -> None:
    request, places = build_request(tmp_path), Places.below(tmp_path / "one")
    cell = Cell(Method("evp"), "numbers", 0, request, "evp fit")
    with pytest.raises(StoppedError):
        fit_cell(cell, places, Stopper(after=1).to_hooks())
    assert find_stopped(request.model_copy(update={"threads": 1}), places) is not None
    other = request.settings.model_copy(update={"seed": 1})
    assert find_stopped(request.model_copy(update={"settings": other}), places) is None
    assert find_stopped(request.model_copy(update={"find_lr": True}), places) is None
