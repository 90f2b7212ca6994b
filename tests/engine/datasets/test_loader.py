from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evpcli.engine.datasets.augment import augment_trivially
from evpcli.engine.datasets.crops import EpochPlan
from evpcli.engine.datasets.loader import PixelSource, Reading, to_image, to_pixels
from evpcli.engine.images.decoder import crop_center, load_square, shrink_image


@dataclass(frozen=True)
class Gradients:
    """Pictures of different shapes whose pixels tell number, row and column."""

    labels: tuple[int, ...] = (0, 1, 2, 0, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def open_image(self, index: int) -> Image.Image:
        height, width = 8, 8 + 2 * index
        red = np.full((height, width), index)
        rows, columns = np.mgrid[:height, :width]
        return Image.fromarray(np.stack([red, rows, columns], -1).astype(np.uint8))

    def describe(self, index: int) -> str:
        return str(index)

    def identify(self, index: int) -> bytes:
        return index.to_bytes(16, "little")


def test_centre_batches_hold_every_picture_in_order() -> None:
    batches = list(PixelSource(Gradients(), 8).center_batches(2))
    assert [len(b.labels) for b in batches] == [2, 2, 1]
    images = torch.cat([b.images for b in batches])
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert images[:, 2, 0, 0].tolist() == [0, 1, 2, 3, 4]  # the centre of ever wider pictures


def test_a_plan_is_equal_for_equal_seeds_and_different_for_others() -> None:
    def draw(seed: int, epoch: int) -> EpochPlan:
        return EpochPlan.draw(50, seed=seed, epoch=epoch, flip=True, crop=True)

    assert np.array_equal(draw(1, 2).order, draw(1, 2).order)
    assert not np.array_equal(draw(1, 2).order, draw(1, 3).order)
    assert not np.array_equal(draw(1, 2).order, draw(2, 2).order)
    assert sorted(draw(1, 2).order) == list(range(50))


def test_pictures_are_mirrored_only_where_it_is_allowed() -> None:
    assert EpochPlan.draw(1000, seed=0, epoch=0, flip=True, crop=False).mirrored.mean() > 0.4
    assert not EpochPlan.draw(1000, seed=0, epoch=0, flip=False, crop=False).mirrored.any()


def test_random_batches_crop_within_the_picture_and_mirror() -> None:
    source = PixelSource(Gradients(), 8)
    seen = set()
    for epoch in range(20):
        plan = EpochPlan.draw(5, seed=0, epoch=epoch, flip=True, crop=True)
        for batch in source.random_batches(plan, 3):
            for image, label in zip(batch.images, batch.labels, strict=True):
                number = int(image[0, 0, 0])
                assert int(label) == Gradients().labels[number]
                row = image[2, 0].tolist()
                assert row in (sorted(row), sorted(row, reverse=True))
                assert min(row) >= 0
                assert max(row) < 8 + 2 * number
                seen.add((number, min(row), row[0] < row[-1]))
    assert len({s for s in seen if s[0] == 4}) > 8  # many places, both directions


def test_an_epoch_can_be_entered_at_any_step() -> None:
    source = PixelSource(Gradients(), 8)
    plan = EpochPlan.draw(5, seed=0, epoch=0, flip=True, crop=True)
    whole = list(source.random_batches(plan, 2))
    for start in range(4):
        rest = list(source.random_batches(plan, 2, start))
        assert len(rest) == len(whole) - start
        assert all(
            torch.equal(a.images, b.images) for a, b in zip(rest, whole[start:], strict=True)
        )


def test_little_room_changes_no_pixel() -> None:
    plan = EpochPlan.draw(5, seed=0, epoch=0, flip=True, crop=True)
    roomy, tight = PixelSource(Gradients(), 8), PixelSource(Gradients(), 8, keep_bytes=500)
    for _ in range(2):
        for a, b in zip(roomy.random_batches(plan, 2), tight.random_batches(plan, 2), strict=True):
            assert torch.equal(a.images, b.images)
    assert 0 < sum(p.nbytes for p in tight._kept.values()) <= 500


def stamp_seed(pixels: Tensor, seed: int) -> Tensor:
    """A picture of nothing but its seed."""
    return torch.full_like(pixels, seed % 251)


def read_images(source: PixelSource, plan: EpochPlan, start: int = 0, **more: object) -> Tensor:
    batches = source.random_batches(plan, 2, start, **more)  # type: ignore[arg-type]
    return torch.cat([batch.images for batch in batches])


def test_a_plan_draws_seeds_after_everything_else() -> None:
    for crop in (False, True):
        plan = EpochPlan.draw(50, seed=3, epoch=4, flip=True, crop=crop)
        generator = np.random.default_rng([3, 4])
        assert np.array_equal(plan.order, generator.permutation(50))
        assert np.array_equal(plan.mirrored, generator.random(50) < 0.5)
        assert (plan.offsets is not None) == crop
        if plan.offsets is not None:
            assert np.array_equal(plan.offsets, generator.random((50, 2)))
        assert np.array_equal(plan.seeds, generator.integers(2**32, size=50))
        assert len(set(plan.seeds.tolist())) == 50


def test_without_a_transform_a_crop_is_cut_straight_from_the_shrunk_picture() -> None:
    plan = EpochPlan.draw(5, seed=0, epoch=0, flip=True, crop=True)
    images = read_images(PixelSource(Gradients(), 6), plan)
    for position, image in enumerate(images):
        pixels = shrink_image(Gradients().open_image(int(plan.order[position])), 6)
        assert plan.offsets is not None
        top, left = (
            int(share * (side - 5))
            for share, side in zip(plan.offsets[position], pixels.shape[1:], strict=True)
        )
        cut = pixels[:, top : top + 6, left : left + 6]
        assert torch.equal(image, cut.flip(2) if plan.mirrored[position] else cut)


def test_pictures_are_transformed_at_working_size_before_the_shrink() -> None:
    shapes = []

    def halve(pixels: Tensor, seed: int) -> Tensor:
        shapes.append(tuple(pixels.shape))
        return pixels // 2

    source = PixelSource(Gradients(), 4, working_px=8)
    for position, batch in enumerate(source.center_batches(1, halve)):
        pixels = shrink_image(Gradients().open_image(position), 8) // 2
        assert torch.equal(batch.images[0], load_square(to_image(pixels), 4))
    assert shapes == [(3, 8, 8 + 2 * index) for index in range(5)]


def test_working_size_alone_shrinks_twice() -> None:
    source = PixelSource(Gradients(), 4, Reading("bilinear"), working_px=7)
    for position, batch in enumerate(source.center_batches(1)):
        once = to_image(shrink_image(Gradients().open_image(position), 7, "bilinear"))
        assert torch.equal(batch.images[0], crop_center(shrink_image(once, 4, "bilinear"), 4))


def test_seeds_are_the_plan_s_by_position_and_numbers_in_centre_batches() -> None:
    plan = EpochPlan.draw(5, seed=0, epoch=0, flip=True, crop=True)
    source = PixelSource(Gradients(), 8)
    images = read_images(source, plan, transform=stamp_seed)
    assert images[:, 0, 0, 0].tolist() == [seed % 251 for seed in plan.seeds.tolist()]
    centred = torch.cat([batch.images for batch in source.center_batches(2, stamp_seed)])
    assert centred[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_transformed_epoch_can_be_entered_at_any_step_with_any_threads() -> None:
    plan = EpochPlan.draw(5, seed=0, epoch=0, flip=True, crop=True)
    whole = read_images(
        PixelSource(Gradients(), 4, working_px=8), plan, transform=augment_trivially
    )
    assert not torch.equal(whole, read_images(PixelSource(Gradients(), 4, working_px=8), plan))
    for start in range(3):
        source = PixelSource(Gradients(), 4, Reading(threads=1 + start), working_px=8, keep_bytes=0)
        rest = read_images(source, plan, start, transform=augment_trivially)
        assert torch.equal(rest, whole[2 * start :])


def test_kept_pictures_are_not_those_that_a_transform_changed() -> None:
    source = PixelSource(Gradients(), 8)
    before = next(source.center_batches(5)).images
    next(source.center_batches(5, lambda pixels, seed: pixels + 1))
    assert torch.equal(next(source.center_batches(5)).images, before)


def test_pixels_become_an_image_and_pixels_again() -> None:
    pixels = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    assert to_image(pixels).getpixel((2, 1)) == tuple(pixels[:, 1, 2].tolist())
    assert torch.equal(to_pixels(to_image(pixels)), pixels)
