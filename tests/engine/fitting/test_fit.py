from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evpcli.domain.errors import (
    DamagedError,
    DivergedError,
    IncompatibleError,
    NotFoundError,
    OutOfMemoryError,
    StoppedError,
    StorageError,
    UsageError,
)
from evpcli.domain.events import FitEvent, Phase, StepReport, Trouble
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.domain.statistics import SplitScore
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.division import divide_dataset
from evpcli.engine.files.paths import find_registry, find_runs
from evpcli.engine.fitting import fit as fitting
from evpcli.engine.fitting import publish as publishing
from evpcli.engine.fitting.fit import FitHooks, fit_prompt, resume_fit
from evpcli.engine.prompts.prompt_file import decode_prompt, read_prompt_file
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.training.run_folder import Run, find_run
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.shelf import narrow_the_model
from tests.small_data import write_digit_folder

SETTINGS = FitSettings(lr=10.0, epochs=3, batch_size=16)


@pytest.fixture
def request_(tmp_path: Path) -> FitRequest:
    folder = write_digit_folder(tmp_path / "numbers", 4, 6)
    return FitRequest(dataset=str(folder), backbone="mini", settings=SETTINGS, device="cpu")


def refuse(*words: object, **options: object) -> None:
    raise StorageError("no room", found="0 bytes free")


def list_troubles(events: list[FitEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Trouble)]


def stop_after(steps: int) -> Callable[[], int]:
    asked = iter([0] * (steps - 1))
    return lambda: next(asked, 15)


def test_test_pictures_are_not_opened_before_training_ends(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What selects must not see test: it is first decoded in the measuring phase."""
    from evpcli.engine.datasets.loader import PixelSource

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
    before = {name for phase, name in opened if phase != "measuring"}
    sizes = outcome.entry.manifest.dataset.sizes
    assert len(before) == sizes["train"] + sizes["val"]
    measured = {name for phase, name in opened if phase == "measuring"}
    assert len(measured - before) == sizes["test"]


def test_a_state_that_cannot_be_saved_is_told_once_and_the_run_goes_on(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[FitEvent] = []
    monkeypatch.setattr(Run, "save_state", refuse)
    outcome = fit_prompt(request_, FitHooks(on_event=events.append))
    assert len([t for t in list_troubles(events) if "state cannot be written" in t]) == 1
    assert outcome.entry.version == 1


def test_a_finished_prompt_is_rescued_when_the_registry_cannot_be_written(
    request_: FitRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing.tempfile, "tempdir", str(tmp_path))
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
    run = find_run(find_runs(), next(find_runs().iterdir()).name)
    run.write_status("stopped")
    next(Path(request_.dataset).rglob("*.png")).unlink()
    with pytest.raises(IncompatibleError, match="fingerprint changed"):
        resume_fit(run.id)


def test_a_finished_run_is_not_published_again(request_: FitRequest) -> None:
    fit_prompt(request_)
    with pytest.raises(UsageError, match="is finished") as caught:
        resume_fit(next(find_runs().iterdir()).name)
    assert "numbers/mini:v1" in str(caught.value.found)
    assert len(Registry(find_registry()).entries()) == 1


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


def test_a_full_disk_keeps_nothing_back_from_a_stop(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[FitEvent] = []
    monkeypatch.setattr(Run, "write_status", refuse)
    monkeypatch.setattr(Run, "save_state", refuse)
    with pytest.raises(StoppedError, match="could not be saved") as caught:
        fit_prompt(request_, FitHooks(events.append, stop_after(2)))
    assert next(find_runs().iterdir()).name in str(caught.value.hint)
    assert len([t for t in list_troubles(events) if "status" in t]) == 1


def test_a_stop_says_that_the_state_is_saved_and_goes_on(request_: FitRequest) -> None:
    with pytest.raises(StoppedError, match="its state is saved"):
        fit_prompt(request_, FitHooks(stop_signal=stop_after(2)))
    assert next(find_runs().iterdir()).joinpath("state.evp").exists()
    assert resume_fit("last").entry.version == 1


def test_a_stop_between_saves_does_not_claim_that_the_last_steps_are_saved(
    request_: FitRequest,
) -> None:
    def interrupt(event: FitEvent) -> None:
        if isinstance(event, StepReport) and event.epoch == 1:
            raise StoppedError(2, "stopped at once")

    with pytest.raises(StoppedError, match="last steps could not be saved"):
        fit_prompt(request_, FitHooks(on_event=interrupt))


def test_a_stopped_rate_search_claims_nothing(request_: FitRequest) -> None:
    request = request_.model_copy(update={"find_lr": True})
    with pytest.raises(StoppedError, match="nothing was saved"):
        fit_prompt(request, FitHooks(stop_signal=stop_after(1)))


def test_a_saved_prompt_is_no_failure_when_its_status_cannot_be_written(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "write_status", refuse)
    assert fit_prompt(request_).entry.version == 1


def test_metrics_that_cannot_be_written_are_told_once(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[FitEvent] = []
    monkeypatch.setattr(Run, "append_metrics", refuse)
    fit_prompt(request_, FitHooks(on_event=events.append))
    assert len([t for t in list_troubles(events) if "metrics" in t]) == 1


def diverge(*words: object) -> None:
    raise DivergedError("not finite")


def test_a_diverged_run_is_told_so_and_passed_over_by_last(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(fitting, "train_prompt", diverge)
        with pytest.raises(DivergedError):
            fit_prompt(request_)
        broken.setattr(Run, "write_status", refuse)
        with pytest.raises(DivergedError):
            fit_prompt(request_)
    run = min(find_runs().iterdir(), key=lambda folder: Run(folder).read_status())
    assert Run(run).read_status() == "failed"
    with pytest.raises(NotFoundError, match="no unfinished run"):
        resume_fit("last")
    assert resume_fit(run.name).entry.version == 1


def test_a_loss_beyond_what_can_be_kept_is_divergence(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*words: object) -> None:
        EpochRecord(epoch=1, lr=1.0, train_loss=1e300, train_top1=0.0)

    monkeypatch.setattr(fitting, "train_prompt", explode)
    with pytest.raises(DivergedError, match="cannot keep"):
        fit_prompt(request_)
    assert Run(next(find_runs().iterdir())).read_status() == "failed"


def test_a_prompt_that_can_be_kept_nowhere_can_still_be_resumed(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Registry, "publish", refuse)
        broken.setattr(publishing, "write_durably", refuse)
        with pytest.raises(StorageError) as caught:
            fit_prompt(request_)
    assert "evp fit --resume 2" in str(caught.value.hint)
    assert resume_fit("last").entry.version == 1


def test_a_fit_that_no_epoch_improved_says_so(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[FitEvent] = []
    monkeypatch.setattr(SplitScore, "is_better_than", lambda self, other: False)
    fit_prompt(request_, FitHooks(on_event=events.append))
    told = [t for t in list_troubles(events) if "training did not improve" in t]
    assert len(told) == 1
    assert "validation accuracy" in told[0]
    assert "--lr auto" in told[0]


def stop_runs(request: FitRequest, count: int) -> list[Run]:
    """Runs that stopped after two steps, newest first."""
    for _ in range(count):
        with pytest.raises(StoppedError):
            fit_prompt(request, FitHooks(stop_signal=stop_after(2)))
    return [Run(folder) for folder in sorted(find_runs().iterdir(), reverse=True)]


def test_last_passes_over_a_broken_and_a_running_run(request_: FitRequest) -> None:
    events: list[FitEvent] = []
    broken, running, sound = stop_runs(request_, 3)
    (broken.folder / "config.json").write_text("{}")
    with running.hold():
        outcome = resume_fit("last", FitHooks(on_event=events.append))
    assert outcome.entry.manifest.provenance.run_id == sound.id
    passed = [text for text in list_troubles(events) if "passed over" in text]
    assert [run.id in text for run, text in zip((broken, running), passed, strict=True)]
    assert f"pid {os.getpid()}" in passed[1]


def test_a_running_run_is_not_resumed(request_: FitRequest) -> None:
    (run,) = stop_runs(request_, 1)
    with run.hold(), pytest.raises(UsageError, match="is running"):
        resume_fit(run.id)


def test_a_run_is_held_while_it_trains(request_: FitRequest) -> None:
    refused = []

    def intrude(event: FitEvent) -> None:
        if isinstance(event, StepReport):
            with pytest.raises(UsageError, match="is running"):
                resume_fit(next(find_runs().iterdir()).name)
            refused.append(event)

    fit_prompt(request_, FitHooks(on_event=intrude))
    assert refused


def test_a_state_for_another_canvas_is_refused(request_: FitRequest) -> None:
    (run,) = stop_runs(request_, 1)
    state = run.load_state()
    assert state is not None
    small = torch.zeros(3, 8, 8)
    run.save_state(replace(state, pixels=small, best_pixels=small))
    with pytest.raises(DamagedError, match="another canvas"):
        resume_fit(run.id)


@pytest.mark.parametrize(
    "change",
    [
        {"sources": {"lr": "a friend"}},
        {"templates": tuple(f"{'é' * 1990} {{}} {n}" for n in range(999))},
    ],
)
def test_what_no_prompt_file_can_keep_is_refused_before_training(
    request_: FitRequest, change: dict[str, object]
) -> None:
    """The sum of texts can be too much where each is within its limit."""
    with pytest.raises(UsageError, match="prompt file"):
        fit_prompt(request_.model_copy(update=change))
    assert not find_runs().exists()


VP = {"method": "vp", "init": "normal", "augment": "none"}
WAYS = {
    "vp": VP,
    "residual": {"residual": True},
    "trivial": {"augment": "trivial", "shots": 3},
    "frequency": {"canvas_px": 32},
    "iterative": {"canvas_px": 32, "label_map": "iterative"},
    "bayesian+": {"canvas_px": 32, "label_map": "bayesian+"},
    "linear": {"canvas_px": 32, "label_map": "linear"},
    "both": {"canvas_px": 32, "residual": True, **VP},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_fit_gives_the_very_same_prompt_and_map(
    request_: FitRequest, tmp_path: Path, way: str
) -> None:
    settings = request_.settings.model_copy(update=WAYS[way])
    request = request_.model_copy(update={"settings": settings})
    if settings.canvas_px:
        place = {"backbone": NAME, "weights": str(make_folder(tmp_path / "model", classes=9))}
        request = request.model_copy(update=place)
    whole = decode_prompt(fit_prompt(request).data)
    with pytest.raises(StoppedError):
        fit_prompt(request, FitHooks(stop_signal=stop_after(2)))
    resumed = decode_prompt(resume_fit("last").data)
    assert torch.equal(resumed.pixels, whole.pixels)
    for field in ("metrics", "history", "selection", "settings", "label_map"):
        assert getattr(resumed.manifest, field) == getattr(whole.manifest, field)
    if whole.label_map and resumed.label_map:
        assert torch.equal(resumed.label_map.weight, whole.label_map.weight)
        assert torch.equal(resumed.label_map.bias, whole.label_map.bias)
    assert (whole.label_map is None) == (way in ("vp", "trivial"))


def list_shots(request: FitRequest, shots: int, seed: int) -> set[str]:
    """The names of the training pictures, as many of each class."""
    dataset = load_dataset(request.dataset, root=Path(request.dataset).parent, offline=True)
    settings = request.settings.model_copy(update={"shots": shots, "seed": seed})
    train = divide_dataset(dataset, settings).splits["train"]
    assert sorted(train.labels) == sorted(list(range(4)) * shots)
    return {train.describe(number) for number in range(len(train))}


def test_fewer_shots_are_part_of_more_and_another_seed_draws_others(request_: FitRequest) -> None:
    one, two, three = (list_shots(request_, shots, seed=0) for shots in (1, 2, 3))
    assert one < two < three
    assert list_shots(request_, 2, seed=1) != two


def test_a_batch_that_does_not_fit_is_answered_with_one_that_does(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_the_model(monkeypatch, 7)
    with pytest.raises(OutOfMemoryError) as caught:
        fit_prompt(request_)
    assert caught.value.found == "batch size 16"
    assert "4 pictures fit at a time: use --accumulate 4 (the same steps)" in str(caught.value.hint)
    assert "--batch-size 4" in str(caught.value.hint)
    assert Registry(find_registry()).entries() == []
    [run] = find_runs().iterdir()
    assert '"exit_code":9' in (run / "status.json").read_text().replace(" ", "")


def test_parts_that_fit_do_for_the_whole_run(
    request_: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_the_model(monkeypatch, 7)
    parts = SETTINGS.model_copy(update={"accumulate": 4, "epochs": 1})
    assert fit_prompt(request_.model_copy(update={"settings": parts})).entry.ref.version == 1
