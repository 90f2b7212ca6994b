"""The only image decoder, against every hostile picture that can be thought of."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, v2

from evpcli.domain.errors import ImageError, NotFoundError, UsageError
from evpcli.engine.images.decoder import (
    check_image,
    crop_center,
    decode_image,
    decode_picture,
    list_image_files,
    load_square,
    shrink_image,
)


def random_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A tiny PNG file that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_come_back_as_they_were(image_format: str) -> None:
    image = random_image(7, 5)
    assert decode_image(encode(image, image_format)).tobytes() == image.tobytes()


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_are_read(image_format: str) -> None:
    found = decode_image(encode(random_image(9, 6), image_format))
    assert (found.mode, found.size) == ("RGB", (9, 6))


def test_one_pixel_is_a_picture() -> None:
    image = decode_image(encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"))
    square = load_square(image, 5)
    assert torch.equal(square[:, 2, 3], torch.tensor([9, 8, 7], dtype=torch.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    image = random_image(24, 16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(image, image_format, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    found = decode_image(data)
    assert found.size == ((24, 16) if orientation < 5 else (16, 24))
    assert found.tobytes() == expected.tobytes()


def test_a_senseless_orientation_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode_image(encode(random_image(4, 2), "PNG", exif=exif)).size == (4, 2)


def test_damaged_exif_data_do_not_cost_the_picture() -> None:
    data = encode(random_image(8, 4), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    assert decode_image(data).size == (8, 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = Image.new(mode, (2, 2), (0,) * len(mode))
    assert decode_image(encode(image, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_a_half_transparent_pixel_is_mixed_with_white() -> None:
    data = encode(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG")
    assert decode_image(data).getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_palette_with_transparency_is_laid_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([200, 10, 10, 10, 200, 10])
    image.putpixel((1, 0), 1)
    found = decode_image(encode(image, "PNG", transparency=transparency))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (10, 200, 10)]


def test_16_bit_gray_is_scaled_not_saturated() -> None:
    values = np.array([[0, 129, 32896, 65535]], dtype=np.uint16)
    found = np.asarray(decode_image(encode(Image.fromarray(values), "PNG")))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_portable_gray_is_scaled() -> None:
    data = b"P5 2 1 65535\n" + struct.pack(">HH", 65535, 32896)
    assert np.asarray(decode_image(data))[0, :, 1].tolist() == [255, 128]


def test_32_bit_gray_beyond_16_bits_is_refused() -> None:
    values = np.array([[0, 70_000]], dtype=np.int32)
    with pytest.raises(ImageError, match="outside 16 bits"):
        decode_image(encode(Image.fromarray(values), "TIFF"))


def test_cmyk_is_converted() -> None:
    found = decode_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = found.getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("check", [decode_image, check_image])
def test_floating_point_is_refused(check: object) -> None:
    data = encode(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point"):
        check(data)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_said(image_format: str) -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encode(first, image_format, save_all=True, append_images=[second])
    found = decode_picture(data, name="moving")
    assert found.note is not None
    assert found.note.startswith("moving has several frames")
    red, _, blue = found.image.getpixel((0, 0))
    assert red > 200 > 60 > blue
    assert decode_picture(encode(first, image_format)).note is None


HOSTILE = {
    "empty.jpg": b"",
    "text.jpg": b"this is no picture at all\n",
    "page.png": b"<!DOCTYPE html><html></html>",
    "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "header.png": b"\x89PNG\r\n\x1a\n",
    "cut.jpg": encode(random_image(200, 200), "JPEG")[:4000],
    "cut.png": encode(random_image(200, 200), "PNG")[:4000],
    "cut.webp": encode(random_image(200, 200), "WEBP")[:1000],
    "cut.gif": encode(random_image(200, 200), "GIF")[:4000],
    "cut.tiff": encode(random_image(200, 200), "TIFF")[:4000],
    "cut.bmp": encode(random_image(200, 200), "BMP")[:4000],
    "cut.ppm": encode(random_image(200, 200), "PPM")[:4000],
    "bomb.png": png_of_size(20_000, 20_000),
    "large.png": png_of_size(7_100, 7_100),
    "wide.png": png_of_size(60_000_000, 1),
    "huge.bmp": b"BM"
    + struct.pack("<IHHIIiiHH", 0, 0, 0, 54, 40, 60_000, 60_000, 1, 24)
    + bytes(99),
    "icon.jpg": encode(random_image(16, 16), "ICO"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("check", [decode_image, check_image])
def test_hostile_files_get_one_error_that_names_them(
    name: str, check: object, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    before = time.monotonic()
    with pytest.raises(ImageError, match=name):
        check(path)
    assert time.monotonic() - before < 1


@pytest.mark.parametrize("check", [decode_image, check_image])
def test_a_sound_picture_of_more_than_50_megapixels_is_refused(check: object) -> None:
    data = encode(Image.new("1", (7_100, 7_100)), "PNG")
    assert len(data) < 20_000
    before = time.monotonic()
    with pytest.raises(ImageError, match="50 megapixels"):
        check(data)
    assert time.monotonic() - before < 0.2


def test_a_git_lfs_pointer_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(HOSTILE["pointer.jpg"])
    assert "git-lfs" in str(caught.value.found)


@pytest.mark.timeout(5)
def test_pipes_devices_folders_and_lost_links_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "zero.jpg", "loop.jpg", "folder.jpg", "missing.jpg", "nul\0.jpg"):
        with pytest.raises(ImageError):
            decode_image(tmp_path / name)


def test_a_sparse_giant_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ImageError, match=r"sparse\.png"):
        decode_image(path)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_mutants_never_raise_anything_else(image_format: str) -> None:
    whole = encode(random_image(24, 24), image_format)
    generator = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(0, min(len(data), 200), 4):
            data[place] = generator.integers(0, 256)
        try:
            assert decode_image(bytes(data)).mode == "RGB"
        except ImageError:
            continue


def test_warnings_of_pillow_do_not_escape_on_any_thread() -> None:
    data = encode(random_image(40, 30), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    failures: list[Exception] = []

    def decode_many() -> None:
        try:
            for _ in range(30):
                decode_image(data)
        except Exception as error:
            failures.append(error)

    before = list(warnings.filters)
    threads = [threading.Thread(target=decode_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side_px", [164, 48, 7, 1])
@pytest.mark.parametrize(
    "size", [(1, 1), (3, 5), (101, 64), (64, 101), (333, 500), (164, 164), (165, 164), (16, 1)]
)
def test_squares_equal_torchvisions(
    size: tuple[int, int], side_px: int, interpolation: str
) -> None:
    image = random_image(*size)
    oracle = v2.Compose(
        [
            v2.Resize(side_px, InterpolationMode(interpolation)),
            v2.CenterCrop(side_px),
            v2.PILToTensor(),
        ]
    )
    assert torch.equal(load_square(image, side_px, interpolation), oracle(image))


def test_the_shorter_side_is_exact_and_the_longer_one_is_kept() -> None:
    pixels = shrink_image(random_image(100, 37), 16)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, 16, 43))


def test_a_strip_is_cropped_before_it_grows() -> None:
    assert tuple(shrink_image(Image.new("RGB", (20_000, 1)), 64).shape) == (3, 64, 1024)
    assert tuple(shrink_image(Image.new("RGB", (1, 20_000)), 64).shape) == (3, 1024, 64)


def test_crop_center_keeps_leading_axes() -> None:
    pixels = torch.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4)
    assert torch.equal(crop_center(pixels, 2), v2.CenterCrop(2)(pixels))


def test_files_folders_and_patterns_are_listed_once(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "readme.txt", ".hidden.jpg", ".git/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = list_image_files([tmp_path, str(tmp_path / "*.jpg"), tmp_path / "b.jpg"])
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [
        "a.PNG",
        "b.jpg",
        "deep/er/c.webp",
    ]
    assert [path.name for path in found.ignored] == ["readme.txt"]


def test_a_named_file_is_taken_whatever_its_ending(tmp_path: Path) -> None:
    (tmp_path / "photo.dat").write_bytes(b"x")
    assert list_image_files([tmp_path / "photo.dat"]).files == (tmp_path / "photo.dat",)


def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path: Path) -> None:
    (tmp_path / "a[1].jpg").write_bytes(b"x")
    assert list_image_files([str(tmp_path / "a[1].jpg")]).files == (tmp_path / "a[1].jpg",)


def test_words_that_match_nothing_are_told(tmp_path: Path) -> None:
    for word in ("missing.jpg", "*.jpg", "a**.jpg", "x" * 5000, "x" * 5000 + "*"):
        with pytest.raises(NotFoundError):
            list_image_files([tmp_path / word])


def test_links_out_of_a_folder_and_loops_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"x")
    inside = tmp_path / "inside"
    (inside / "real").mkdir(parents=True)
    (inside / "real" / "a.jpg").write_bytes(b"x")
    (inside / "out").symlink_to(tmp_path / "outside")
    (inside / "secret.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (inside / "real" / "up").symlink_to(inside)
    (inside / "again").symlink_to(inside / "real")
    assert [path.name for path in list_image_files([inside]).files] == ["a.jpg"]


def test_an_unknown_home_folder_is_told() -> None:
    with pytest.raises(UsageError, match="home folder"):
        list_image_files(["~nobody-at-all/x.jpg"])


@pytest.mark.timeout(10)
def test_patterns_end_where_links_loop_and_pass_over_hidden_names(tmp_path: Path) -> None:
    for name in ("a/b/1.jpg", "a/2.jpg", ".git/3.jpg", "a/.4.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for name in ("one", "two", "a/three"):
        (tmp_path / name).symlink_to(tmp_path)
    found = list_image_files([str(tmp_path / "**" / "*.jpg")])
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [
        "a/2.jpg",
        "a/b/1.jpg",
    ]
    assert len(list_image_files([str(tmp_path / "a" / ".*.jpg")]).files) == 1


def test_links_that_cannot_be_resolved_are_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "me").symlink_to("me")
    (tmp_path / "x.png").symlink_to("x.png")
    (tmp_path / "deep").symlink_to("me/below")
    found = list_image_files([tmp_path])
    assert [path.name for path in found.files] == ["x.png"]
    assert {path.name for path in found.ignored} == {"me", "deep"}
    assert list_image_files([tmp_path / "me"]).files == (tmp_path / "me",)
    with pytest.raises(ImageError, match=r"x\.png"):
        decode_image(found.files[0])
