from __future__ import annotations

import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.fitting.checks import settle_map_kind


def test_a_classifiers_map_is_the_frequency_map_unless_another_is_asked_for() -> None:
    assert settle_map_kind(None, "mini", is_classifier=False) == "none"
    assert settle_map_kind(None, "timm/x", is_classifier=True) == "frequency"
    assert settle_map_kind("bayesian", "timm/x", is_classifier=True) == "bayesian"


def test_maps_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="needs no label map"):
        settle_map_kind("frequency", "mini", is_classifier=False)
    with pytest.raises(UsageError, match="needs a label map"):
        settle_map_kind("none", "timm/x", is_classifier=True)
    with pytest.raises(UsageError, match="behind the frequency map"):
        settle_map_kind("bayesian", "timm/x", is_classifier=True, residual=True)
