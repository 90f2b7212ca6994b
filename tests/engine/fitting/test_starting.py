"""Training that starts from a finished prompt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from evpcli.domain.errors import DamagedError, IncompatibleError, NotFoundError, StoppedError
from evpcli.domain.events import FitEvent, Trouble
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.domain.statistics import SplitScore
from evpcli.engine.files.paths import find_registry, find_runs
from evpcli.engine.fitting.fit import FitHooks, fit_prompt, resume_fit
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt
from evpcli.engine.training.run_folder import Run
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.engine.fitting.test_fit import WAYS, stop_after
from tests.small_data import write_digit_folder

STILL = {"lr": 1e-30, "epochs": 1}
"""Steps too short to change any pixel."""


@pytest.fixture
def request_(tmp_path: Path) -> FitRequest:
    folder = write_digit_folder(tmp_path / "numbers", 4, 6)
    settings = FitSettings(lr=10.0, epochs=2, batch_size=16)
    return FitRequest(dataset=str(folder), backbone="mini", settings=settings, device="cpu")


def change(request: FitRequest, parent: str | None = None, **settings: Any) -> FitRequest:
    changed = request.settings.model_copy(update=settings)
    return request.model_copy(update={"settings": changed, "parent": parent})


def learn(
    request: FitRequest, events: list[FitEvent] | None = None, *, best: str = ""
) -> StoredPrompt:
    """The prompt of a fit; `best` says which epoch is kept, the first state or the last one."""
    hooks = FitHooks(on_event=[].append if events is None else events.append)
    with pytest.MonkeyPatch.context() as patch:
        if best:
            patch.setattr(SplitScore, "is_better_than", lambda own, other: best == "last")
        return decode_prompt(fit_prompt(request, hooks).data)


def choose_way(request: FitRequest, way: str, place: Path) -> FitRequest:
    request = change(request, **WAYS[way])
    if request.settings.canvas_px:
        model = {"backbone": NAME, "weights": str(make_folder(place / "model", classes=9))}
        return request.model_copy(update=model)
    return request


def test_training_starts_from_the_parents_pixels_and_names_it(request_: FitRequest) -> None:
    parent = learn(request_, best="last")
    child = learn(change(request_, "numbers/mini:v1", **STILL))
    assert torch.equal(child.pixels, parent.pixels)
    assert bool(parent.pixels.any())
    assert child.manifest.parents == (parent.digest,)
    settings = child.manifest.settings
    assert (settings["init"].value, settings["parent"].value) == ("parent", parent.digest)
    assert str(find_registry().parent) not in child.manifest.model_dump_json()
    went_on = learn(change(request_, "numbers/mini:v1"), best="last")
    assert not torch.equal(went_on.pixels, parent.pixels)
    assert parent.manifest.parents == ()


def test_a_projected_fit_brings_the_parent_into_range(request_: FitRequest) -> None:
    parent = learn(request_, best="last")
    child = learn(change(request_, "numbers/mini:v1", project=True, **STILL))
    assert float(parent.pixels.min()) < 0
    assert torch.equal(child.pixels, parent.pixels.clamp(0, 1))


@pytest.mark.parametrize("way", WAYS)
def test_the_label_map_goes_on_where_its_kind_is_the_same(
    request_: FitRequest, tmp_path: Path, way: str
) -> None:
    request = choose_way(request_, way, tmp_path)
    parent = learn(request, best="last")
    child = learn(change(request, f"numbers/{request.backbone}:v1", epochs=1), best="first")
    assert torch.equal(child.pixels, parent.pixels) and bool(parent.pixels.any())
    assert (child.label_map is None) == (parent.label_map is None)
    if parent.label_map and child.label_map:
        assert torch.allclose(child.label_map.weight, parent.label_map.weight, atol=1e-6)
        assert torch.allclose(child.label_map.bias, parent.label_map.bias, atol=1e-6)


@pytest.mark.parametrize("way", ["residual", "linear", "both", "bayesian+"])
def test_a_head_begins_as_the_parent_ended(request_: FitRequest, tmp_path: Path, way: str) -> None:
    from contextlib import closing

    from evpcli.engine.fitting.inputs import load_materials
    from evpcli.engine.fitting.task import FitTask

    request = choose_way(request_, way, tmp_path)
    parent = learn(request, best="last")
    found = load_materials(request)
    parts = (found.dataset, found.backbone, found.texts, request.settings, found.reading)
    with closing(FitTask(*parts, parent)) as task:
        learner = task.new_learner()
        own = learner.copy_map()
        again = task.new_learner()
        for values in learner.memory.values():
            values.add_(1)  # what one learner does reaches no other
    assert own is not None and parent.label_map is not None
    assert torch.allclose(own.weight, parent.label_map.weight, atol=1e-6)
    assert torch.allclose(own.bias, parent.label_map.bias, atol=1e-6)
    kept = again.copy_map()
    assert kept is not None and torch.equal(kept.weight, own.weight)


def test_another_kind_of_map_or_other_classes_begin_anew(
    request_: FitRequest, tmp_path: Path
) -> None:
    request = choose_way(request_, "frequency", tmp_path)
    learn(request)
    same = learn(change(request, f"numbers/{NAME}:v1", **STILL)).manifest.label_map
    assert same is not None and same.estimated_from.startswith("taken over from the prompt")
    linear = learn(change(request, f"numbers/{NAME}:v1", label_map="linear", **STILL))
    record = linear.manifest.label_map
    assert record is not None and "began as" not in record.estimated_from
    others = write_digit_folder(tmp_path / "others", 3, 6)
    elsewhere = request.model_copy(update={"dataset": str(others)})
    record = learn(change(elsewhere, f"numbers/{NAME}:v1", **STILL)).manifest.label_map
    assert record is not None and "taken over" not in record.estimated_from


@pytest.mark.parametrize("way", ["vp", "residual", "bayesian+"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_stopped_child_goes_on_to_the_same_bits_without_its_parent(
    request_: FitRequest, tmp_path: Path, way: str, steps: int
) -> None:
    request = choose_way(request_, way, tmp_path)
    parent = learn(request, best="last")
    request = change(request, f"numbers/{request.backbone}:v1", epochs=3)
    whole = learn(request)
    with pytest.raises(StoppedError):
        fit_prompt(request, FitHooks(stop_signal=stop_after(steps)))
    shutil.rmtree(find_registry())
    resumed = decode_prompt(resume_fit("last").data)
    assert torch.equal(resumed.pixels, whole.pixels)
    assert resumed.manifest.parents == whole.manifest.parents == (parent.digest,)
    assert resumed.manifest.metrics == whole.manifest.metrics
    if whole.label_map and resumed.label_map:
        assert torch.equal(resumed.label_map.weight, whole.label_map.weight)


def test_a_run_that_never_saved_a_state_still_starts_from_its_parent(
    request_: FitRequest,
) -> None:
    learn(request_, best="last")
    request = change(request_, "numbers/mini:v1")
    whole = learn(request)
    with pytest.raises(StoppedError):
        fit_prompt(request, FitHooks(stop_signal=stop_after(1)))
    (run,) = [path for path in find_runs().iterdir() if Run(path).read_status() == "stopped"]
    (run / "state.evp").unlink()
    assert torch.equal(decode_prompt(resume_fit(run.name).data).pixels, whole.pixels)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PK\x03\x04")])
def test_a_run_without_its_parent_is_damaged(request_: FitRequest, damage: Any) -> None:
    learn(request_)
    request = change(request_, "numbers/mini:v1")
    with pytest.raises(StoppedError):
        fit_prompt(request, FitHooks(stop_signal=stop_after(1)))
    (kept,) = find_runs().glob("*/parent.pt")
    kept.chmod(0o644)
    damage(kept)
    with pytest.raises(DamagedError) as caught:
        resume_fit(kept.parent.name)
    assert kept.parent.name in f"{caught.value.what} {caught.value.found}"


def test_another_border_or_backbone_is_refused(request_: FitRequest, tmp_path: Path) -> None:
    learn(request_)
    runs = len(list(find_runs().iterdir()))
    for settings, said in (
        ({"border_px": 7}, "another border"),
        ({"method": "vp"}, "another method"),
    ):
        with pytest.raises(IncompatibleError, match=said):
            fit_prompt(change(request_, "numbers/mini:v1", **settings))
    other = choose_way(request_, "frequency", tmp_path)
    with pytest.raises(IncompatibleError, match="another backbone"):
        fit_prompt(change(other, "numbers/mini:v1"))
    learn(other)
    with pytest.raises(IncompatibleError, match="another canvas"):
        fit_prompt(change(other, f"numbers/{NAME}:v1", canvas_px=48))
    with pytest.raises(NotFoundError):
        fit_prompt(change(request_, "numbers/mini:v9"))
    assert len(list(find_runs().iterdir())) == runs + 1


def test_other_splits_of_the_same_images_are_told(request_: FitRequest, tmp_path: Path) -> None:
    learn(request_)
    events: list[FitEvent] = []
    learn(change(request_, "numbers/mini:v1", split_seed=1, **STILL), events)
    told = [event.text for event in events if isinstance(event, Trouble)]
    assert any("--split-seed" in text and "may have seen" in text for text in told)
    events.clear()
    learn(change(request_, "numbers/mini:v1", seed=1, **STILL), events)
    others = write_digit_folder(tmp_path / "others", 4, 7)
    elsewhere = request_.model_copy(update={"dataset": str(others)})
    learn(change(elsewhere, "numbers/mini:v1", split_seed=1, **STILL), events)
    assert not [e for e in events if isinstance(e, Trouble) and "may have seen" in e.text]
