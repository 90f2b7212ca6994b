from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from evpcli.engine.pictures.pixels import EpochPlan, PixelSource


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
