from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evpcli.domain.errors import IncompatibleError, OutOfMemoryError, StorageError
from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine import fitting
from evpcli.engine.fitting import FitHooks, fit_prompt, resume_fit
from evpcli.engine.prompt_files.prompt_file import read_prompt_file
from evpcli.engine.storage.paths import find_registry, find_runs
from evpcli.engine.storage.registry import Registry
from evpcli.engine.storage.runs import Run, find_run
from tests.small_data import write_digit_folder

SETTINGS = FitSettings(lr=10.0, epochs=3, batch_size=16)


@pytest.fixture
def request_(tmp_path: Path) -> FitRequest:
    folder = write_digit_folder(tmp_path / "numbers", 4, 6)
    return FitRequest(dataset=str(folder), backbone="mini", settings=SETTINGS, device="cpu")


def refuse(*words: object, **options: object) -> None:
    raise StorageError("no room", found="0 bytes free")


def test_test_pictures_are_not_opened_before_training_ends(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What selects must not see test: it is first decoded in the measuring phase."""
    from evpcli.engine.pictures.pixels import PixelSource

    phases: list[str] = []
    opened: list[tuple[str, str]] = []
    build = PixelSource._shrink

    def spy(self: PixelSource, index: int) -> torch.Tensor:
        opened.append((phases[-1], self._pictures.describe(index)))
        return build(self, index)

    def follow(event: FitEvent) -> None:
        if isinstance(event, Phase):
            phases.append(event.text)

    monkeypatch.setattr(PixelSource, "_shrink", spy)
    outcome = fit_prompt(request_, FitHooks(on_event=follow))
    during = {name for phase, name in opened if phase == "training"}
    sizes = outcome.entry.manifest.dataset.sizes
    assert len(during) == sizes["train"] + sizes["val"]
    measured = {name for phase, name in opened if phase == "measuring"}
    assert len(measured - during) == sizes["test"]


def test_a_state_that_cannot_be_saved_is_told_once_and_the_run_goes_on(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[FitEvent] = []
    monkeypatch.setattr(Run, "save_state", refuse)
    outcome = fit_prompt(request_, FitHooks(on_event=events.append))
    assert len([e for e in events if isinstance(e, Trouble)]) == 1
    assert outcome.entry.version == 1


def test_a_finished_prompt_is_rescued_when_the_registry_cannot_be_written(
    request_: FitRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting.tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as broken:
        broken.setattr(Registry, "publish", refuse)
        with pytest.raises(StorageError, match="rescued") as caught:
            fit_prompt(request_)
    place = next(tmp_path.glob("evp-rescue-*/prompt.pt"))
    assert str(place) in str(caught.value)
    assert read_prompt_file(place).manifest.dataset.name == "numbers"
    assert Registry(find_registry()).entries() == []


def test_resuming_with_other_pictures_is_refused(request_: FitRequest) -> None:
    fit_prompt(request_)
    run = next(find_runs().iterdir())
    next(Path(request_.dataset).rglob("*.png")).unlink()
    with pytest.raises(IncompatibleError, match="fingerprint changed"):
        resume_fit(run.name)


def test_a_finished_run_says_so_and_names_its_prompt(request_: FitRequest) -> None:
    outcome = fit_prompt(request_)
    run = find_run(find_runs(), next(find_runs().iterdir()).name)
    assert run.read_status() == "finished"
    assert outcome.entry.digest in (run.folder / "status.json").read_text()
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 3


def test_out_of_memory_names_a_smaller_batch(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*words: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fitting, "train_prompt", exhaust)
    with pytest.raises(OutOfMemoryError) as caught:
        fit_prompt(request_)
    assert "--batch-size 8" in str(caught.value.hint)
