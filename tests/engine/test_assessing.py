from __future__ import annotations

import os
from pathlib import Path

import pytest

from evpcli.domain.errors import DamagedError, NotFoundError
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.assessing import AssessRequest, assess_prompt, find_dataset_of
from evpcli.engine.prompt_files.prompt_file import StoredPrompt
from evpcli.engine.storage.paths import find_runs
from evpcli.engine.storage.runs import RunConfig, create_run
from tests.builders import build_manifest, build_pixels
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
    from evpcli.engine.assessing import _read_settings

    strange = build_settings(lr="abc", epochs=-1, batch_size="", flip=7, split_seed=3)
    found = _read_settings(build_manifest(settings=strange), ("split_seed",))
    assert found.split_seed == 3


def test_the_folder_of_this_machines_run_is_found() -> None:
    run = create_run(find_runs(), CONFIG)
    assert find_dataset_of(build_run_manifest(run.id)) == "/pets"


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
