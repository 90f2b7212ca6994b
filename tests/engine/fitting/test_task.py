from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evpcli.domain.errors import UsageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.files.paths import find_runs
from evpcli.engine.fitting import manifest as fit_manifest
from evpcli.engine.fitting.fit import fit_prompt
from evpcli.engine.prompts import label_map, manifest_json
from evpcli.engine.prompts.manifest_json import format_manifest
from evpcli.engine.prompts.prompt_file import decode_prompt
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.small_data import write_digit_folder

SOURCES, TASKS = 7, 4
NAMES = ["cat", "a, b, c", "dog", "\u00e9" * 9, "x" * 40, "[{,,,,,", "ape"]
"""Source classes of the small classifier: long ones, some that ASCII makes longer, separators."""
WAYS: list[dict[str, Any]] = [
    *({"label_map": kind} for kind in ("frequency", "iterative", "bayesian", "bayesian+")),
    *({"label_map": "linear"}, {"residual": True}, {}),
]


def request_fit(tmp_path: Path, **settings: object) -> FitRequest:
    """Four digits, for a small classifier where a map is asked for, else for the packaged CLIP."""
    folder = write_digit_folder(tmp_path / "numbers", TASKS, 6)
    values = FitSettings(lr=3.0, epochs=1, batch_size=16, **settings)
    if values.label_map is None:
        return FitRequest(dataset=str(folder), backbone="mini", settings=values, device="cpu")
    weights = str(make_folder(tmp_path / "model", classes=SOURCES, label_names=NAMES))
    return FitRequest(
        dataset=str(folder), backbone=NAME, weights=weights, settings=values, device="cpu"
    )


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"label_map": "bayesian+"}, SOURCES * TASKS),
        ({"label_map": "frequency"}, SOURCES * TASKS),
        ({"residual": True}, TASKS**2),
    ],
)
def test_a_map_that_no_file_can_hold_is_refused_before_training(
    settings: dict[str, object], values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_fit(tmp_path, **settings)
    monkeypatch.setattr(label_map, "MAX_MAP_VALUES", values - 1)
    with pytest.raises(UsageError, match="too large for a prompt file") as caught:
        fit_prompt(request)
    assert f"{TASKS} task classes" in str(caught.value.found)
    assert not find_runs().exists()
    monkeypatch.setattr(label_map, "MAX_MAP_VALUES", values)
    assert fit_prompt(request).data


def list_foreseen(request: FitRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The manifests that were foreseen before training, and the one that came of it."""
    texts: list[str] = []

    def listen(manifest: Manifest) -> str:
        texts.append(format_manifest(manifest))
        return texts[-1]

    with monkeypatch.context() as patch:
        patch.setattr(fit_manifest, "format_manifest", listen)
        data = fit_prompt(request).data
    return texts, format_manifest(decode_prompt(data).manifest)


def count_separators(text: str) -> int:
    return sum(map(text.count, ",[{"))


@pytest.mark.parametrize("way", [*WAYS, {"label_map": "frequency", "residual": True}], ids=str)
def test_no_manifest_is_larger_than_was_foreseen(
    way: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreseen, found = list_foreseen(request_fit(tmp_path, **way), monkeypatch)
    assert len(found) <= max(map(len, foreseen)) < len(found) + 1500
    assert count_separators(found) <= max(map(count_separators, foreseen))


@pytest.mark.parametrize(
    ("bound", "measure"), [("MAX_JSON_BYTES", len), ("MAX_JSON_VALUES", count_separators)]
)
def test_a_label_map_that_no_manifest_can_hold_is_refused_before_training(
    bound: str,
    measure: Callable[[str], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_fit(tmp_path, label_map="bayesian")
    foreseen, _ = list_foreseen(request, monkeypatch)
    runs = set(find_runs().iterdir())
    most = max(map(measure, foreseen)) + manifest_json._ROOM
    monkeypatch.setattr(manifest_json, bound, most - 1)
    with pytest.raises(UsageError, match="label map are too much for a prompt file"):
        fit_prompt(request)
    assert set(find_runs().iterdir()) == runs
    monkeypatch.setattr(manifest_json, bound, most)
    assert fit_prompt(request).data
