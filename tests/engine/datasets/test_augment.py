from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torchvision.transforms.v2 import TrivialAugmentWide

from evpcli.engine.datasets.augment import augment_trivially
from evpcli.engine.datasets.loader import to_image, to_pixels
from tests.engine.images.scene import paint_scene

SCENE = paint_scene(48, 64)


def test_it_is_torchvision_s_transform_of_that_seed() -> None:
    transform = TrivialAugmentWide()
    with torch.random.fork_rng(devices=[]):
        for seed in range(60):
            torch.manual_seed(seed)
            expected = to_pixels(transform(to_image(SCENE)))
            assert torch.equal(augment_trivially(SCENE, seed), expected), seed


@pytest.mark.parametrize("shape", [(8, 8), (48, 64), (64, 30), (1, 5)])
def test_shape_and_kind_of_pixels_stay(shape: tuple[int, int]) -> None:
    scene = paint_scene(*shape)
    for seed in range(80):
        changed = augment_trivially(scene, seed)
        assert changed.shape == scene.shape
        assert changed.dtype == torch.uint8


def test_most_seeds_change_the_picture_and_differ_from_each_other() -> None:
    before = SCENE.clone()
    changed = [augment_trivially(SCENE, seed) for seed in range(100)]
    assert torch.equal(SCENE, before)
    assert sum(not torch.equal(pixels, SCENE) for pixels in changed) > 70
    assert len({pixels.numpy().tobytes() for pixels in changed}) > 60


def test_the_largest_seed_is_taken() -> None:
    assert augment_trivially(SCENE, 2**32 - 1).shape == SCENE.shape


def test_nobody_else_s_random_numbers_change() -> None:
    before = torch.get_rng_state()
    for seed in range(40):
        augment_trivially(SCENE, seed)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_at_one_time_do_not_disturb_each_other() -> None:
    alone = [augment_trivially(SCENE, seed) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: augment_trivially(SCENE, seed), range(200)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
