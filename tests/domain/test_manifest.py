from __future__ import annotations

import pytest
from pydantic import ValidationError

from evpcli.domain.manifest import Manifest, canonical_json
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


def test_equal_values_have_equal_json_and_nan_has_none() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
