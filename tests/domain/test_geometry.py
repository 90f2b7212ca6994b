from __future__ import annotations

import pytest

from evpcli.domain.errors import UsageError
from evpcli.domain.geometry import FrameGeometry


def test_paper_geometry() -> None:
    geometry = FrameGeometry.for_canvas(224)
    assert (geometry.border_px, geometry.window_px, geometry.learned_values) == (30, 164, 69_840)


@pytest.mark.parametrize(
    ("canvas", "border"), [(64, 9), (128, 17), (224, 30), (336, 45), (240, 32)]
)
def test_border_keeps_the_papers_share_of_any_canvas(canvas: int, border: int) -> None:
    geometry = FrameGeometry.for_canvas(canvas)
    assert geometry.border_px == border
    assert geometry.window_px + 2 * geometry.border_px == canvas


@pytest.mark.parametrize("border", [0, -1, 32, 100])
def test_a_border_without_room_for_the_image_is_refused(border: int) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        FrameGeometry.for_canvas(64, border)


def test_smallest_window_is_one_or_two_pixels() -> None:
    assert FrameGeometry(64, 31).window_px == 2
    assert FrameGeometry(65, 32).window_px == 1
