from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evpcli.domain.errors import ImageError
from evpcli.domain.events import ReadingEvent, Trouble, WorkProgress
from evpcli.engine.datasets import cache_filling as store_filling
from evpcli.engine.datasets import pixel_cache as pixel_store
from evpcli.engine.datasets.crops import Cut, DevicePixels, EpochPlan
from evpcli.engine.datasets.loader import UNREADABLE, PixelSource, Reading
from evpcli.engine.datasets.pixel_cache import PixelCache, PixelStore
from evpcli.engine.datasets.stored import ArrayPictures, FilePictures
from evpcli.engine.images.decoder import shrink_image

SIDE = 8


@dataclass
class Noise:
    """Pictures of noise in many shapes, which counts how often each was decoded."""

    n: int = 12
    broken: tuple[int, ...] = ()
    decoded: list[int] = field(default_factory=list)

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(index % 3 for index in range(self.n))

    def __len__(self) -> int:
        return self.n

    def open_image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        if index in self.broken:
            raise ImageError(f"picture {index} cannot be decoded", found="noise")
        values = np.random.default_rng(index).integers(0, 256, (9 + index, 20 - index % 12, 3))
        return Image.fromarray(values.astype(np.uint8))

    def describe(self, index: int) -> str:
        return f"noise/{index}"

    def identify(self, index: int) -> bytes:
        return index.to_bytes(16, "little")


@pytest.fixture
def cache(tmp_path: Path) -> PixelCache:
    return PixelCache(tmp_path / "pixels", "f" * 64)


def read_all(source: PixelSource, epoch: int = 0) -> torch.Tensor:
    plan = EpochPlan.draw(len(source), seed=0, epoch=epoch, flip=True, crop=True)
    return torch.cat([batch.images for batch in source.random_batches(plan, 5)])


def list_segments(cache: PixelCache) -> list[Path]:
    return sorted(cache.root.rglob("*.safetensors"))


def open_store(cache: PixelCache) -> PixelStore:
    store = cache.open_store(SIDE, "bicubic")
    store.refresh()
    return store


def test_a_store_changes_no_pixel_and_decodes_each_picture_once(cache: PixelCache) -> None:
    pictures = Noise()
    source = PixelSource(pictures, SIDE, Reading(cache=cache))
    for epoch in range(3):
        assert torch.equal(read_all(source, epoch), read_all(PixelSource(Noise(), SIDE), epoch))
    again = PixelSource(pictures, SIDE, Reading(cache=cache))
    assert torch.equal(read_all(again), read_all(source))
    assert sorted(pictures.decoded) == list(range(12))


def test_subsets_and_transforms_use_the_same_store(cache: PixelCache) -> None:
    read_all(PixelSource(Noise(), SIDE, Reading(cache=cache)))
    pictures = Noise(n=7)
    source = PixelSource(pictures, 4, Reading(cache=cache), working_px=SIDE)
    plain = PixelSource(Noise(n=7), 4, working_px=SIDE)
    for stored, own in zip(source.center_batches(3), plain.center_batches(3), strict=True):
        assert torch.equal(stored.images, own.images)
    assert pictures.decoded == []


def test_sizes_filters_and_datasets_have_stores_of_their_own(cache: PixelCache) -> None:
    other = PixelCache(cache.root, "e" * 64)
    stores = [
        cache.open_store(8, "bicubic"),
        cache.open_store(9, "bicubic"),
        cache.open_store(8, "bilinear"),
        other.open_store(8, "bicubic"),
    ]
    assert len({store.folder for store in stores}) == 4


def cut_short(data: bytearray) -> bytes:
    return bytes(data[: len(data) // 2])


def flip_pixel(data: bytearray) -> bytes:
    data[-1 if len(data) % 2 else len(data) // 2] ^= 1
    return bytes(data)


def replace_all(data: bytearray) -> bytes:
    return b"not a segment"


@pytest.mark.parametrize("damage", [cut_short, flip_pixel, replace_all, lambda data: b""])
def test_a_damaged_segment_is_rebuilt(
    cache: PixelCache, damage: Callable[[bytearray], bytes]
) -> None:
    sound = read_all(PixelSource(Noise(), SIDE, Reading(cache=cache)))
    (segment,) = list_segments(cache)
    segment.write_bytes(damage(bytearray(segment.read_bytes())))
    pictures, told = Noise(), list[object]()
    reading = Reading(cache=cache, on_event=told.append)
    assert torch.equal(read_all(PixelSource(pictures, SIDE, reading)), sound)
    assert [event for event in told if isinstance(event, Trouble)] == [
        Trouble("1 file of the pixel store damaged: decoding again")
    ]
    assert len(pictures.decoded) == 12
    assert not segment.exists() and len(list_segments(cache)) == 1
    assert torch.equal(read_all(PixelSource(pictures, SIDE, Reading(cache=cache))), sound)
    assert len(pictures.decoded) == 12  # all of them are kept again


def test_a_segment_that_cannot_be_read_now_is_left(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = read_all(PixelSource(Noise(), SIDE, Reading(cache=cache)))
    (segment,) = list_segments(cache)

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("evpcli.engine.datasets.pixel_cache._load_segment", refuse)
    assert torch.equal(read_all(PixelSource(Noise(), SIDE, Reading(cache=cache))), sound)
    assert segment.exists()


def test_every_flipped_bit_of_the_table_is_survived(cache: PixelCache) -> None:
    sound = read_all(PixelSource(Noise(), SIDE, Reading(cache=cache)))
    (segment,) = list_segments(cache)
    data = segment.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(0, min(len(data), 2000), 60).tolist():
        for path in list_segments(cache):
            path.unlink()
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(generator.integers(8))
        segment.write_bytes(damaged)
        assert torch.equal(read_all(PixelSource(Noise(), SIDE, Reading(cache=cache))), sound)


def test_a_stopped_build_goes_on_where_it_was(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_filling, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(store_filling, "_AT_A_TIME", 2)

    def stop(event: ReadingEvent) -> None:
        if isinstance(event, WorkProgress) and event.doing and event.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PixelSource(Noise(), SIDE, Reading(cache=cache, on_event=stop)).fill()
    kept = len(list_segments(cache))
    assert kept == 2
    pictures = Noise()
    read_all(PixelSource(pictures, SIDE, Reading(cache=cache)))
    assert 0 < len(pictures.decoded) < 12
    assert len(list_segments(cache)) > kept


def test_without_room_everything_is_decoded_and_told_once(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_store, "LEAVE_FREE_BYTES", 1 << 62)
    events: list[ReadingEvent] = []
    source = PixelSource(Noise(), SIDE, Reading(cache=cache, on_event=events.append))
    for epoch in range(2):
        assert torch.equal(read_all(source, epoch), read_all(PixelSource(Noise(), SIDE), epoch))
    (trouble,) = [event for event in events if isinstance(event, Trouble)]
    assert "no room" in trouble.text
    assert list_segments(cache) == []


def test_a_folder_that_cannot_be_written_is_done_without(cache: PixelCache) -> None:
    cache.root.write_text("a file where the folder should be")
    events: list[ReadingEvent] = []
    source = PixelSource(Noise(), SIDE, Reading(cache=cache, on_event=events.append))
    assert torch.equal(read_all(source), read_all(PixelSource(Noise(), SIDE)))
    assert len([event for event in events if isinstance(event, Trouble)]) == 1


@pytest.mark.parametrize("is_stored", [True, False])
def test_broken_pictures_are_named_once_and_marked(cache: PixelCache, is_stored: bool) -> None:
    events: list[ReadingEvent] = []
    reading = Reading(cache=cache if is_stored else None, on_event=events.append)
    source = PixelSource(Noise(broken=(2, 5)), SIDE, reading)
    for _ in range(2):
        batches = list(source.center_batches(4))
    labels = torch.cat([batch.labels for batch in batches])
    assert (labels == UNREADABLE).nonzero().flatten().tolist() == [2, 5]
    assert [batch.readable for batch in batches] == [3, 3, 4]
    assert source.labels.tolist() == list(Noise().labels)
    assert source.broken == ("noise/2", "noise/5")
    told = [event.text for event in events if isinstance(event, Trouble)]
    assert len(told) == 2 and "picture 2" in told[0] and "picture 5" in told[1]


def build_at_once(root: str, gate: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    read_all(PixelSource(Noise(n=40), SIDE, Reading(cache=PixelCache(Path(root), "f" * 64))))


def test_two_builders_do_not_harm_each_other(cache: PixelCache) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(2)
    workers = [
        context.Process(target=build_at_once, args=(str(cache.root), gate)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    pictures = Noise(n=40)
    stored = read_all(PixelSource(pictures, SIDE, Reading(cache=cache)))
    assert torch.equal(stored, read_all(PixelSource(Noise(n=40), SIDE)))
    assert pictures.decoded == []


def test_what_two_wrote_twice_is_read_once(cache: PixelCache) -> None:
    first, second = cache.open_store(SIDE, "bicubic"), cache.open_store(SIDE, "bicubic")
    pixels = shrink_image(Noise().open_image(0), SIDE)
    for store in (first, second):
        store.add({bytes(16): pixels})
    assert len(list_segments(cache)) == 2
    found = open_store(cache).find(bytes(16))
    assert found is not None and torch.equal(found, pixels)


def test_a_file_s_identity_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(path)
    pictures = FilePictures(tmp_path, ("a.png", "gone.png"), (0, 1))
    before = pictures.identify(0)
    assert len(before) == 16 and before == pictures.identify(0) != pictures.identify(1)
    size = path.stat().st_size
    Image.new("RGB", (4, 4), "blue").save(path)
    os.truncate(path, size)
    assert pictures.identify(0) != before


def test_an_array_s_identity_is_its_content() -> None:
    values = np.zeros((3, 4, 5, 3), dtype=np.uint8)
    values[2, 0, 0, 0] = 1
    pictures = ArrayPictures(values, (0, 1, 2), "train")
    assert pictures.identify(0) == pictures.identify(1) != pictures.identify(2)


@pytest.mark.parametrize("crop", [True, False])
def test_pixels_cut_on_a_device_are_those_cut_on_the_host(crop: bool) -> None:
    shrunk = [shrink_image(Noise().open_image(index), SIDE) for index in range(12)]
    pixels = DevicePixels(shrunk, torch.device("cpu"))
    plan = EpochPlan.draw(12, seed=1, epoch=2, flip=True, crop=crop)
    for part in (slice(0, 5), slice(5, 12), slice(3, 4)):
        cut = Cut.of_plan(plan, part)
        rows = [cut.take(row, shrunk[n], SIDE) for row, n in enumerate(cut.indices)]
        assert torch.equal(pixels.take(cut, SIDE), torch.stack(rows))


def test_no_row_cut_on_a_device_is_no_row() -> None:
    shrunk = [shrink_image(Noise().open_image(index), SIDE) for index in range(3)]
    plan = EpochPlan.draw(3, seed=1, epoch=2, flip=True, crop=True)
    found = DevicePixels(shrunk, torch.device("cpu")).take(Cut.of_plan(plan, slice(3, 3)), SIDE)
    assert found.shape == (0, 3, SIDE, SIDE)


def test_places_of_all_rows_are_those_of_each() -> None:
    generator = np.random.default_rng(0)
    heights, widths = generator.integers(SIDE, 50, (2, 300))
    plan = EpochPlan.draw(300, seed=1, epoch=2, flip=False, crop=True)
    for cut in (Cut.of_plan(plan, slice(0, 300)), Cut(plan.order, plan.order)):
        tops, lefts = cut.place_all(heights, widths, SIDE)
        sizes = zip(heights.tolist(), widths.tolist(), strict=True)
        each = [cut.place(row, height, width, SIDE) for row, (height, width) in enumerate(sizes)]
        assert list(zip(tops.tolist(), lefts.tolist(), strict=True)) == each


def test_several_sources_tell_once_that_nothing_can_be_kept(cache: PixelCache) -> None:
    cache.root.parent.mkdir(parents=True, exist_ok=True)
    cache.root.write_bytes(b"no folder")
    told: list[object] = []
    reading = Reading(cache=cache, on_event=told.append)
    for side in (SIDE, SIDE + 1):
        read_all(PixelSource(Noise(), side, reading))
    (trouble,) = [event for event in told if isinstance(event, Trouble)]
    assert "as with --no-store" in trouble.text
