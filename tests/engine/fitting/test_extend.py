"""Runs that are given more epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from evpcli.domain.errors import DamagedError, NotFoundError, StoppedError, UsageError
from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.domain.schedule import cosine_rate
from evpcli.domain.settings import Extension, FitRequest, FitSettings
from evpcli.domain.statistics import SplitScore
from evpcli.engine.files.paths import find_registry, find_runs
from evpcli.engine.fitting.fit import FitHooks, fit_prompt, resume_fit
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.training.run_folder import Run
from evpcli.engine.training.run_survey import survey_run
from tests.engine.fitting.test_fit import WAYS, stop_after
from tests.engine.fitting.test_starting import change, choose_way
from tests.small_data import write_digit_folder


@pytest.fixture
def request_(tmp_path: Path) -> FitRequest:
    folder = write_digit_folder(tmp_path / "numbers", 4, 6)
    settings = FitSettings(lr=10.0, epochs=2, batch_size=8)
    return FitRequest(dataset=str(folder), backbone="mini", settings=settings, device="cpu")


def extend(name: str, epochs: int, events: list[FitEvent] | None = None) -> StoredPrompt:
    hooks = FitHooks(on_event=[].append if events is None else events.append)
    return decode_prompt(resume_fit(name, hooks, extension=Extension(epochs=epochs)).data)


def fit_run(request: FitRequest) -> str:
    """The name of a new run that finished."""
    return str(fit_prompt(request).entry.manifest.provenance.run_id)


def find_only_run() -> Run:
    (folder,) = find_runs().iterdir()
    return Run(folder)


def test_a_finished_run_goes_on_at_the_rates_of_the_longer_schedule(request_: FitRequest) -> None:
    first = fit_prompt(request_).entry.manifest
    events: list[FitEvent] = []
    longer = extend(find_only_run().id, 5, events).manifest
    rates = [record.lr for record in longer.history]
    assert rates[:2] == [cosine_rate(10, epoch, 2) for epoch in range(2)]
    assert rates[2:] == [cosine_rate(10, epoch, 5) for epoch in range(2, 5)]
    assert longer.history[:2] == first.history
    assert [str(e.ref) for e in Registry(find_registry()).entries()] == [
        "numbers/mini:v1",
        "numbers/mini:v2",
    ]
    assert longer.settings["epochs"].value == 5 and longer.settings["epochs"].source == "flag"
    assert longer.settings["extended_after"].value == "2"
    assert "extended_after" not in first.settings
    said = [event.text for event in events if isinstance(event, Phase)]
    assert any("has 2 epochs and goes on to 5" in text for text in said)
    facts = survey_run(find_only_run())
    assert (facts.state, facts.epochs_done, facts.epochs) == ("finished", 5, 5)
    assert facts.run.read_prompt_name() == "numbers/mini:v2"


def test_the_same_extension_gives_the_same_bits_but_not_those_of_a_longer_run(
    request_: FitRequest,
) -> None:
    one, other = (extend(fit_run(request_), 5) for _ in range(2))
    assert torch.equal(one.pixels, other.pixels)
    assert one.manifest.history == other.manifest.history
    plain = decode_prompt(fit_prompt(change(request_, epochs=5)).data)
    assert plain.manifest.history[0] == one.manifest.history[0]
    assert plain.manifest.history[1].lr != one.manifest.history[1].lr


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_extension_goes_on_to_the_same_bits(
    request_: FitRequest, tmp_path: Path, way: str
) -> None:
    request = choose_way(request_, way, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplitScore, "is_better_than", lambda own, other: True)
        whole = extend(fit_run(request), 4)
        name, hooks = fit_run(request), FitHooks(stop_signal=stop_after(2))
        with pytest.raises(StoppedError):
            resume_fit(name, hooks, extension=Extension(epochs=4))
        resumed = decode_prompt(resume_fit(name).data)
    assert torch.equal(resumed.pixels, whole.pixels)
    assert resumed.manifest.history == whole.manifest.history
    assert resumed.manifest.settings == whole.manifest.settings
    if whole.label_map and resumed.label_map:
        assert torch.equal(resumed.label_map.weight, whole.label_map.weight)


def test_a_stopped_run_is_given_another_length(request_: FitRequest) -> None:
    long = change(request_, epochs=9)
    with pytest.raises(StoppedError):
        fit_prompt(long, FitHooks(stop_signal=stop_after(3)))
    manifest = extend("last", 3).manifest
    assert len(manifest.history) == 3
    assert manifest.history[-1].lr == cosine_rate(10, 2, 3)


@pytest.mark.parametrize("epochs", [0, 1, 2, 10_001])
def test_too_few_or_too_many_epochs_are_refused(request_: FitRequest, epochs: int) -> None:
    fit_prompt(request_)
    with pytest.raises(UsageError, match="epochs"):
        extend("last", epochs)
    assert survey_run(find_only_run()).state == "finished"
    assert find_only_run().read_config().request.settings.epochs == 2


def test_a_run_that_patience_ended_is_extended_to_the_end(request_: FitRequest) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplitScore, "is_better_than", lambda own, other: False)
        fit_prompt(change(request_, epochs=6, patience=1))
        assert survey_run(find_only_run()).epochs_done == 1
        manifest = extend("last", 6).manifest
    assert len(manifest.history) == 6
    assert manifest.settings["patience"].value is None


def test_an_extension_in_vain_says_which_epoch_it_still_is(request_: FitRequest) -> None:
    better = iter([True, True, False, False])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplitScore, "is_better_than", lambda own, other: next(better))
        first = decode_prompt(fit_prompt(request_).data)
        events: list[FitEvent] = []
        longer = extend("last", 4, events)
    assert torch.equal(first.pixels, longer.pixels)
    told = [event.text for event in events if isinstance(event, Trouble)]
    assert any("no epoch after 2 was better" in text for text in told)


def test_a_finished_run_without_its_state_is_refused(request_: FitRequest) -> None:
    fit_prompt(request_)
    (find_only_run().folder / "state.evp").unlink()
    with pytest.raises(DamagedError, match="kept no state") as caught:
        extend("last", 5)
    assert "--from numbers/mini:v1" in str(caught.value.hint)


def test_last_is_the_newest_run_but_never_a_failed_one(request_: FitRequest) -> None:
    with pytest.raises(NotFoundError, match="no run that can go on"):
        extend("last", 5)
    ids = sorted(fit_run(request_) for _ in range(2))
    Run(find_runs() / ids[-1]).write_status("failed")
    assert extend("last", 3).manifest.provenance.run_id == ids[0]


def test_a_crash_before_the_first_step_loses_neither_run_nor_extension(
    request_: FitRequest,
) -> None:
    def die(*words: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    fit_prompt(request_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write_status", die)
        with pytest.raises(KeyboardInterrupt):
            extend("last", 4)
    manifest = extend("last", 4).manifest
    assert len(manifest.history) == 4 and manifest.settings["extended_after"].value == "2"


def test_a_run_is_extended_twice(request_: FitRequest) -> None:
    fit_prompt(request_)
    extend("last", 3)
    manifest = extend("last", 4).manifest
    assert manifest.settings["extended_after"].value == "2, 3"
    assert [record.lr for record in manifest.history[2:]] == [
        cosine_rate(10, 2, 3),
        cosine_rate(10, 3, 4),
    ]
