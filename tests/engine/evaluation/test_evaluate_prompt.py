from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from evpcli.domain.errors import DamagedError, IncompatibleError, NotFoundError
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.datasets.interface import SplitName
from evpcli.engine.datasets.remembered import remember_folder
from evpcli.engine.evaluation.evaluate_prompt import (
    Assessment,
    AssessRequest,
    assess_prompt,
    find_dataset_of,
)
from evpcli.engine.evaluation.predict import round_to_bytes
from evpcli.engine.files.paths import find_runs
from evpcli.engine.fitting.fit import fit_prompt
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt, encode_prompt
from evpcli.engine.rendering.canvases import to_picture
from evpcli.engine.training.run_folder import Run, RunConfig, create_run
from tests.builders import build_manifest, build_pixels
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.small_data import write_digit_folder

REQUEST = FitRequest(
    dataset="/pets", backbone="mini", settings=FitSettings(lr=1.0, epochs=1, batch_size=1)
)
CONFIG = RunConfig(evp="1", request=REQUEST, dataset_fingerprint="f", weights_sha256=None)


def build_run_manifest(run_id: str | None) -> Manifest:
    return build_manifest(dataset="my-pets", provenance={"evp": "1", "run_id": run_id})


def build_settings(**values: object) -> dict[str, object]:
    return {name: {"value": value, "source": "flag"} for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("val_fraction", 5),
        ("val_fraction", "abc"),
        ("split_seed", -1),
        ("split_seed", 2**70),
        ("protocol", "x" * 5_000),
    ],
)
def test_a_strangers_impossible_split_is_damage(tmp_path: Path, name: str, value: object) -> None:
    folder = write_digit_folder(tmp_path / "numbers", 3, 6)
    manifest = build_manifest(settings=build_settings(**{name: value}))
    stored = StoredPrompt(build_pixels(), manifest, "0" * 64)
    with pytest.raises(DamagedError, match="settings break their rules") as caught:
        assess_prompt(stored, AssessRequest(dataset=str(folder), device="cpu"))
    assert str(caught.value.found).startswith(name)
    assert len(str(caught.value.found)) < 200


def test_settings_that_no_split_needs_are_not_looked_at() -> None:
    from evpcli.engine.evaluation.evaluate_prompt import _read_settings

    strange = build_settings(lr="abc", epochs=-1, batch_size="", flip=7, split_seed=3)
    found = _read_settings(build_manifest(settings=strange), ("split_seed",))
    assert found.split_seed == 3


def run_on(dataset: str) -> Run:
    request = CONFIG.request.model_copy(update={"dataset": dataset})
    return create_run(find_runs(), CONFIG.model_copy(update={"request": request}))


def test_the_folder_of_this_machines_run_is_found(tmp_path: Path) -> None:
    run = run_on(str(tmp_path))
    assert find_dataset_of(build_run_manifest(run.id)) == str(tmp_path)
    assert find_dataset_of(build_run_manifest(run_on("digits").id)) == "digits"


def test_without_its_run_the_folder_is_known_by_the_datasets_name(tmp_path: Path) -> None:
    manifest = build_run_manifest(run_on(str(tmp_path / "gone")).id)
    with pytest.raises(NotFoundError, match="not there any more") as caught:
        find_dataset_of(manifest)
    assert str(caught.value.found) == str(tmp_path / "gone")
    assert "-d FOLDER" in str(caught.value.hint)
    remember_folder(manifest.dataset.name, tmp_path)
    assert find_dataset_of(manifest) == str(tmp_path)
    assert find_dataset_of(build_run_manifest(None)) == str(tmp_path)


@pytest.mark.parametrize("run_id", [None, "../../etc", "last", "x" * 200, "20260101-000000-abcd"])
def test_a_folder_that_nobody_knows_is_asked_for(run_id: str | None) -> None:
    with pytest.raises(NotFoundError, match="not known where"):
        find_dataset_of(build_run_manifest(run_id))


@pytest.mark.parametrize("text", ["{}", '{"request": {}}', "[" * 100_000, ""])
def test_a_broken_run_is_no_bug(text: str) -> None:
    run = create_run(find_runs(), CONFIG)
    (run.folder / "config.json").write_text(text)
    with pytest.raises(NotFoundError, match="not known where"):
        find_dataset_of(build_run_manifest(run.id))


def test_a_pipe_in_place_of_a_run_is_not_waited_for() -> None:
    run = create_run(find_runs(), CONFIG)
    (run.folder / "config.json").unlink()
    os.mkfifo(run.folder / "config.json")
    with pytest.raises(NotFoundError, match="not known where"):
        find_dataset_of(build_run_manifest(run.id))


def test_rounding_leaves_what_a_picture_file_holds() -> None:
    """The same bytes as the pictures that are written, ties and values outside included."""
    generator = torch.Generator().manual_seed(0)
    canvas = 2 * torch.rand(3, 40, 40, generator=generator) - 0.5
    canvas[:, 0] = (torch.arange(40) + 0.5) / 255
    canvas[0, 1, :3] = torch.tensor([-3.0, 1.0, 7.0])
    written = np.asarray(to_picture(canvas)).transpose(2, 0, 1)
    np.testing.assert_array_equal(round_to_bytes(canvas).numpy(), written.astype(np.float32) / 255)
    assert torch.equal(round_to_bytes(round_to_bytes(canvas)), round_to_bytes(canvas))


def fit_small(tmp_path: Path, **settings: object) -> StoredPrompt:
    """A prompt for twelve pictures of each of four digits and a small classifier."""
    folder = write_digit_folder(tmp_path / "numbers", 4, 12)
    model = make_folder(tmp_path / "model", classes=9)
    request = FitRequest(
        dataset=str(folder),
        backbone=NAME,
        weights=str(model),
        settings=FitSettings(lr=3.0, epochs=1, batch_size=16, **settings),
        device="cpu",
    )
    return decode_prompt(fit_prompt(request).data)


def assess(tmp_path: Path, stored: StoredPrompt, split: SplitName = "val") -> Assessment:
    request = AssessRequest(weights=tmp_path / "model", split=split, device="cpu")
    return assess_prompt(stored, request)


@pytest.mark.parametrize(
    "scale", [{"shots": 1, "seed": 5}, {"fraction": 0.5, "seed": 7}, {"split_seed": 3}]
)
def test_the_pictures_that_selected_are_found_again(
    tmp_path: Path, scale: dict[str, object]
) -> None:
    stored = fit_small(tmp_path, val_fraction=0.3, **scale)
    sizes = stored.manifest.dataset.sizes
    for split in ("train", "val", "test"):
        found = assess(tmp_path, stored, split)
        assert found.is_same_data and found.shared is None
        assert len(found.comparison.prompted.labels) == sizes[split]
        kept = [m for m in stored.manifest.metrics if m.split == split]
        assert list(found.comparison.to_measurements(split))[: len(kept)] == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "no label map"),
        ({"source_classes": 10}, "another number of source classes"),
    ],
)
def test_a_map_that_does_not_fit_the_classifier_is_refused(
    tmp_path: Path, change: dict[str, object] | None, said: str
) -> None:
    stored = fit_small(tmp_path)
    record = stored.manifest.label_map
    assert record is not None
    changed = None if change is None else record.model_copy(update=change)
    manifest = stored.manifest.model_copy(update={"label_map": changed})
    broken = decode_prompt(encode_prompt(stored.pixels, manifest))
    with pytest.raises(IncompatibleError, match=said) as caught:
        assess(tmp_path, broken)
    assert caught.value.exit_code == 5
