from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.domain.errors import UsageError
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine import label_map
from evpcli.engine.fitting import fit_prompt
from evpcli.engine.storage.paths import find_runs
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.small_data import write_digit_folder

SOURCES, TASKS = 7, 4


def request_fit(tmp_path: Path, **settings: object) -> FitRequest:
    """Four digits, for a small classifier, or for the packaged CLIP where a matrix is asked for."""
    folder = write_digit_folder(tmp_path / "numbers", TASKS, 6)
    values = FitSettings(lr=3.0, epochs=1, batch_size=16, **settings)
    if values.residual:
        return FitRequest(dataset=str(folder), backbone="mini", settings=values, device="cpu")
    weights = str(make_folder(tmp_path / "model", classes=SOURCES))
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
