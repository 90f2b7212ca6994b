from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.corruptions import CORRUPTIONS, build_corruption
from evpcli.engine.datasets.loader import to_image
from evpcli.engine.images.corruption_names import (
    CORRUPTION_NAMES,
    SEVERITIES,
    CorruptionChoice,
    parse_corruption,
)
from evpcli.engine.images.decoder import shrink_image
from tests.engine.images.scene import paint_scene

SCENE = paint_scene(64, 80)
DOCS = Path(__file__).parents[3] / "docs" / "corruptions.md"


def measure_distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().mean())


def test_names_builders_and_documentation_agree() -> None:
    assert tuple(CORRUPTIONS) == CORRUPTION_NAMES
    rows = re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(rows) == CORRUPTION_NAMES


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
@pytest.mark.parametrize("side", [64, 224])
def test_every_severity_is_further_from_the_picture(name: str, side: int) -> None:
    scene = paint_scene(side, side + side // 4)
    distances = [0.0]
    for severity in SEVERITIES:
        corrupted = build_corruption(name, severity)(scene, 7)
        assert corrupted.shape == scene.shape
        assert corrupted.dtype == torch.uint8
        distances.append(measure_distance(corrupted, scene))
    assert all(a < b for a, b in pairwise(distances)), distances


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3)])
def test_tiny_pictures_keep_their_shape(name: str, shape: tuple[int, int]) -> None:
    for severity in SEVERITIES:
        assert build_corruption(name, severity)(paint_scene(*shape), 0).shape == (3, *shape)


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_a_corruption_is_a_function_of_picture_and_seed(name: str) -> None:
    state, before = torch.get_rng_state(), SCENE.clone()
    corrupt = build_corruption(name, 3)
    results = {corrupt(SCENE, seed).numpy().tobytes() for seed in range(8) for _ in range(2)}
    assert len(results) == {"gaussian-noise": 8, "rotation": 2}.get(name, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(SCENE, before)


def test_noise_has_the_documented_deviation() -> None:
    gray = torch.full((3, 100, 100), 128, dtype=torch.uint8)
    for severity, deviation in zip((1, 2, 3), (8, 16, 26), strict=True):
        noise = build_corruption("gaussian-noise", severity)(gray, 1).double() - 128
        assert abs(float(noise.mean())) < 0.5
        assert float(noise.std()) == pytest.approx(deviation, rel=0.02)


def test_blur_is_the_documented_gaussian() -> None:
    scene = paint_scene(200, 240)
    blurred = build_corruption("gaussian-blur", 3)(scene, 0)
    expected = gaussian_filter(scene.numpy().astype(float), (0, 3, 3), mode="nearest")
    assert np.abs(blurred.numpy() - expected).mean() < 1
    assert measure_distance(blurred, scene) > 4


def test_brightness_and_darkness_multiply() -> None:
    for name, factor in (("brightness", 1.5), ("darkness", 0.6)):
        expected = (SCENE.double() * factor).clamp(0, 255)
        changed = build_corruption(name, 2)(SCENE, 0).double()
        assert float((changed - expected).abs().max()) <= 1


def test_the_hardest_saturation_is_gray() -> None:
    red, green, blue = build_corruption("saturation", 5)(SCENE, 0)
    assert torch.equal(red, green) and torch.equal(red, blue)


def test_pixelate_leaves_block_means() -> None:
    blocks = functional.avg_pool2d(SCENE[None].double(), 2)  # 32 blocks along 64 pixels
    expected = functional.interpolate(blocks, scale_factor=2)[0]
    assert float((build_corruption("pixelate", 2)(SCENE, 0) - expected).abs().max()) <= 1


def test_posterize_keeps_the_highest_bits() -> None:
    assert torch.equal(build_corruption("posterize", 3)(SCENE, 0), SCENE & 0b1110_0000)


@pytest.mark.parametrize("name", ["gaussian-blur", "pixelate"])
def test_blur_and_blocks_mean_the_same_on_small_and_large_pictures(name: str) -> None:
    large = paint_scene(256, 256)
    small = shrink_image(to_image(large), 64)
    distances = []
    for scene in (large, small):
        changed = shrink_image(to_image(build_corruption(name, 4)(scene, 0)), 64)
        distances.append(measure_distance(changed, small))
    assert distances[0] == pytest.approx(distances[1], rel=0.3)


def test_texts_are_parsed() -> None:
    assert parse_corruption("jpeg") == CorruptionChoice("jpeg", (1, 2, 3, 4, 5))
    assert parse_corruption("jpeg:3") == CorruptionChoice("jpeg", (3,))
    assert parse_corruption("gaussian-blur:2..4") == CorruptionChoice("gaussian-blur", (2, 3, 4))
    assert parse_corruption("contrast:5..5") == CorruptionChoice("contrast", (5,))


@pytest.mark.parametrize(
    "text", ["jpeg:", "jpeg:0", "jpeg:6", "jpeg:4..2", "jpeg:1..", "jpeg:1-5", "jpeg:3:3", "jpeg:٣"]
)
def test_severities_outside_the_scale_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="jpeg has no such severity") as caught:
        parse_corruption(text)
    assert "jpeg:1..5" in str(caught.value.hint)


def test_a_wrong_name_is_answered_by_the_nearest_or_by_all() -> None:
    with pytest.raises(UsageError, match="no corruption") as caught:
        parse_corruption("gausian-blur:3")
    assert caught.value.hint == "did you mean gaussian-blur?"
    with pytest.raises(UsageError) as caught:
        parse_corruption("")
    assert all(name in str(caught.value.hint) for name in CORRUPTION_NAMES)


def test_building_refuses_what_does_not_exist() -> None:
    with pytest.raises(UsageError, match="no corruption"):
        build_corruption("fog", 1)
    with pytest.raises(UsageError, match="severity"):
        build_corruption("jpeg", 0)


def test_parsing_loads_no_heavy_library() -> None:
    script = (
        "import sys, evpcli.engine.images.corruption_names;"
        "sys.exit(sorted({'torch', 'torchvision', 'numpy', 'PIL'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
