from __future__ import annotations

import numpy as np
import pytest
import torch

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.visual_prompt import VisualPrompt, clipped_share
from evpcli.engine.rendering.prompt_statistics import measure_border, measure_spectrum
from tests.builders import SMALL, build_pixels

PIXELS = build_pixels()
PROMPT = VisualPrompt(SMALL, PIXELS)
SLICES = {
    "top": np.s_[:, :2, :],
    "bottom": np.s_[:, 14:, :],
    "left": np.s_[:, 2:14, :2],
    "right": np.s_[:, 2:14, 14:],
}


@pytest.mark.parametrize("side", SLICES)
def test_side_statistics_match_numpy(side: str) -> None:
    rows = [row for row in measure_border(PROMPT) if row.side == side]
    values = PIXELS.numpy().astype(np.float64)[SLICES[side]]
    assert [row.channel for row in rows] == ["red", "green", "blue"]
    for row, channel in zip(rows, values, strict=True):
        found = (row.minimum, row.maximum, row.mean, row.std, row.l2)
        expected = (
            channel.min(),
            channel.max(),
            channel.mean(),
            channel.std(),
            np.sqrt((channel**2).sum()),
        )
        assert found == pytest.approx(expected, rel=1e-12)
        assert row.outside_share == pytest.approx(np.mean((channel < 0) | (channel > 1)))


def test_sides_share_the_border_without_overlap() -> None:
    rows = measure_border(PROMPT)
    by_side = sum(row.count for row in rows if row.side != "all")
    assert by_side == rows[-1].count == SMALL.learned_values


def test_whole_border_agrees_with_the_prompt() -> None:
    whole = measure_border(PROMPT)[-1]
    assert (whole.side, whole.channel) == ("all", "all")
    assert whole.l2 == pytest.approx(float(PIXELS.double().norm()))
    assert whole.outside_share == pytest.approx(clipped_share(PROMPT), abs=1e-6)


def test_spectrum_matches_numpy_and_parseval() -> None:
    spectrum = measure_spectrum(PROMPT).numpy()
    reference = np.fft.fftshift(np.abs(np.fft.fft2(PIXELS.numpy())).mean(0))
    np.testing.assert_allclose(spectrum, reference, rtol=1e-5)
    one_channel = torch.zeros(3, 16, 16)
    one_channel[0] = PIXELS[0]
    energy = (3 * measure_spectrum(VisualPrompt(SMALL, one_channel)).double()) ** 2
    assert float(energy.sum() / 16**2) == pytest.approx(float((PIXELS[0].double() ** 2).sum()))


def test_spectrum_has_frequency_zero_in_the_middle_of_odd_canvases() -> None:
    geometry = FrameGeometry(canvas_px=15, border_px=2)
    spectrum = measure_spectrum(VisualPrompt(geometry, build_pixels(geometry).abs()))
    assert int(spectrum.argmax()) == 7 * 15 + 7


def test_untrained_prompt_has_finite_statistics() -> None:
    assert all(row.l2 == 0 and row.std == 0 for row in measure_border(VisualPrompt(SMALL)))
