from __future__ import annotations

import pytest
from pydantic import ValidationError

from evpcli.domain.manifest import Manifest, Measurement, canonical_json
from tests.builders import build_manifest


def test_a_manifest_comes_back_from_its_json() -> None:
    manifest = build_manifest()
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"schema_version": 2},
        {"pixels_sha256": "short"},
        {"class_names": ("",)},
        {"method": "magic"},
        {"geometry": {"canvas_px": 10**9, "border_px": 1}},
        {"metrics": [{"what": "blank", "split": "test", "n": 1, "top1_correct": 5}]},
        {"metrics": [{"what": "blank", "split": "test", "n": 10**400, "top1_correct": 5}]},
        {"history": [{"epoch": 1, "lr": 1e300, "train_loss": 1, "train_top1": 0.5}]},
        {"history": [{"epoch": 1, "lr": 1, "train_loss": 1, "train_top1": 1.5}]},
    ],
)
def test_what_does_not_belong_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({**build_manifest().model_dump(), **changes})


def test_measurements_are_found_by_kind_and_split() -> None:
    manifest = build_manifest(correct=150)
    found = manifest.find_measurement("prompted")
    assert found is not None
    assert (found.split, found.top1) == ("test", 0.75)
    assert manifest.find_measurement("blank") is None


def test_a_mean_per_class_that_was_not_measured_leaves_no_trace() -> None:
    fields = {"what": "blank", "split": "test", "n": 4, "top1_correct": 3}
    old = {**fields, "condition": "", "top5_correct": None}
    assert Measurement.model_validate(old).model_dump(mode="json") == old
    new = {**old, "mean_per_class": 0.75}
    assert Measurement.model_validate(new).model_dump(mode="json") == new
    with pytest.raises(ValidationError):
        Measurement.model_validate({**old, "mean_per_class": 1.5})


def test_equal_values_have_equal_json_and_nan_has_none() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


MAP = {"kind": "frequency", "source_classes": 4, "indices": (3, 0, 1)}
MATRIX = {"kind": "bayesian", "source_classes": 4, "sha256": "ab" * 32}


@pytest.mark.parametrize(
    "record",
    [
        MAP | {"sha256": "ab" * 32},
        MAP | {"indices": ()},
        MAP | {"indices": (4, 0, 1)},
        MAP | {"full_indices": (4,)},
        MAP | {"blank_indices": (-1,)},
        MAP | {"kind": "magic"},
        MAP | {"source_classes": 0},
        MAP | {"sources": (("a", "b", "c", "d"),)},
        MAP | {"sources": (("",),)},
        MATRIX | {"sha256": "short"},
    ],
)
def test_label_maps_that_cannot_be_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        build_manifest(label_map=record)


@pytest.mark.parametrize(
    ("record", "baseline"),
    [
        (None, "zero-shot"),
        (MAP, "mapped"),
        (MATRIX, "mapped"),
        (MATRIX | {"kind": "none", "residual": True}, "zero-shot"),
    ],
)
def test_a_map_comes_back_and_names_the_baseline(
    record: dict[str, object] | None, baseline: str
) -> None:
    manifest = build_manifest(label_map=record)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.baseline == baseline


@pytest.mark.parametrize(
    "descriptions",
    [
        {"sentences": ((),)},
        {"sentences": (("a",),), "best_of": 0},
        {"sentences": (("x" * 2_001,),)},
        {"sentences": (("a",) * 1_001,)},
    ],
)
def test_descriptions_that_cannot_be_are_refused(descriptions: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        build_manifest(descriptions=descriptions)


def test_pictures_under_a_condition_are_not_taken_for_clean_ones() -> None:
    taken = {"what": "prompted", "split": "test", "n": 10, "top1_correct": 3}
    manifest = build_manifest(metrics=[taken | {"condition": "jpeg:3"}])
    assert manifest.find_measurement("prompted") is None
    manifest = build_manifest(metrics=[taken | {"condition": "jpeg:3"}, taken | {"n": 20}])
    found = manifest.find_measurement("prompted")
    assert found is not None and found.n == 20


def test_composition_decides_how_large_images_are() -> None:
    assert build_manifest().to_geometry().image_px == 12
    assert build_manifest(composition="overlay").to_geometry().image_px == 16
