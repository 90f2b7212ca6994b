from __future__ import annotations

import pytest
from pydantic import ValidationError

from evpcli.domain.settings import FitRequest, FitSettings


def test_a_request_comes_back_from_its_json() -> None:
    settings = FitSettings(lr=70.0, epochs=1000, batch_size=256, seed=2**62)
    request = FitRequest(
        dataset="pets", backbone="ViT-B/32", settings=settings, sources={"lr": "flag"}
    )
    assert FitRequest.model_validate(request.model_dump()) == request


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"epochs": 0},
        {"epochs": 10_001},
        {"batch_size": 0},
        {"val_fraction": 1.0},
        {"seed": -1},
        {"border_px": 0},
        {"other": 1},
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FitSettings.model_validate({"lr": 1.0, "epochs": 1, "batch_size": 1, **changes})
