"""Every catalog entry keeps its promises; each real layout goes from download to pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.errors import DamagedError, NetworkError, NotFoundError, UsageError
from evpcli.engine.datasets.catalog import (
    find_dataset_spec,
    list_datasets,
    load_dataset,
)
from evpcli.engine.datasets.public.catalog import CATALOG
from evpcli.engine.datasets.public.class_words import COUNTRIES
from evpcli.engine.datasets.public.completion import find_state
from evpcli.engine.datasets.public.fetching import fetch_dataset, read_dataset
from evpcli.engine.datasets.public.layouts import READERS
from tests.dataset_builders import TINY, encode_picture, serve_files

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")


@pytest.mark.parametrize("name", CATALOG)
def test_an_entry_keeps_its_promises(name: str) -> None:
    spec = CATALOG[name]
    assert spec.name == name
    assert re.fullmatch(r"[a-z0-9]+", name)
    assert spec.title
    assert spec.licence
    assert spec.split_rule
    assert spec.homepage.startswith("https://")
    assert spec.sizes["train"] > 0
    assert spec.layout == "digits" or spec.layout in READERS
    assert len(spec.class_names) in (0, spec.classes)
    assert len(set(spec.class_names)) == len(spec.class_names)
    assert all(text == text.lower() and "_" not in text for text in spec.class_names)
    assert all("{}" in template for template in spec.templates)
    assert name == "digits" or bool(spec.files) != bool(spec.hub)
    for source in spec.files:
        assert source.url.startswith("https://")
        assert source.checksum is None or CHECKSUM.fullmatch(source.checksum)
    assert len({source.file_name for source in spec.files}) == len(spec.files)


def test_only_aircraft_has_no_checksum() -> None:
    missing = [s.name for s in CATALOG.values() for f in s.files if f.checksum is None]
    assert missing == ["aircraft"]


def test_digits_and_signs_are_never_mirrored() -> None:
    fixed = {name for name, spec in CATALOG.items() if not spec.flip}
    assert {"digits", "svhn", "mnist", "gtsrb"} <= fixed


def test_every_country_has_a_name_of_its_own() -> None:
    assert all(re.fullmatch("[A-Z]{2}", code) for code in COUNTRIES)
    assert len(set(COUNTRIES.values())) == len(COUNTRIES) >= 211


def test_the_catalog_is_torch_free() -> None:
    code = (
        "import sys; from pathlib import Path; from evpcli.engine.datasets import catalog;"
        "catalog.list_datasets(Path('/nowhere'));"
        "print([m for m in ('torch', 'numpy', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", TINY)
def test_a_dataset_goes_from_download_to_pictures(name: str, tmp_path: Path) -> None:
    tiny = TINY[name]()
    with serve_files() as served:
        spec = tiny.to_spec(name, served.address)
        served.files = tiny.downloads
        assert find_state(spec, tmp_path) == "absent"
        fetch_dataset(spec, tmp_path)
        assert find_state(spec, tmp_path) == "ready"
        asked = list(served.asked)
        fetch_dataset(spec, tmp_path)
        assert served.asked == asked
    dataset = read_dataset(spec, tmp_path)
    assert len(dataset.class_names) == len(dataset.source_classes) == tiny.classes
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint)
    for part in dataset.splits.values():
        assert len(part) == len(part.labels)
        assert set(part.labels) <= set(range(tiny.classes))
        assert part.describe(0)
        for index in range(len(part)):
            image = part.open_image(index)
            assert (image.mode, type(image.size)) == ("RGB", tuple)
    assert not any(
        path.name.startswith((".unpacking", "images.tar")) for path in tmp_path.iterdir()
    )


def load_tiny(name: str, root: Path):
    tiny = TINY[name]()
    with serve_files() as served:
        served.files = tiny.downloads
        spec = tiny.to_spec(name, served.address)
        fetch_dataset(spec, root)
    return read_dataset(spec, root)


def test_pets_are_named_and_split_as_their_lists_say(tmp_path: Path) -> None:
    dataset = load_tiny("pets", tmp_path)
    assert dataset.class_names == ("abyssinian", "great pyrenees")
    assert dataset.splits["test"].names == (
        "images/Abyssinian_2.jpg",
        "images/great_pyrenees_2.jpg",
    )
    assert dataset.splits["test"].labels == (0, 1)


def test_cifar_planes_become_pixels(tmp_path: Path) -> None:
    dataset = load_tiny("cifar10", tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3072), dtype=np.uint8)
    image = np.asarray(dataset.splits["train"].open_image(0))
    assert image[3, 7].tolist() == [pixels[0, plane * 1024 + 3 * 32 + 7] for plane in range(3)]
    assert dataset.splits["train"].labels == (1, 9, 2, 9, 3, 9, 4, 9, 5, 9)


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    dataset = load_tiny("cifar100", tmp_path)
    assert dataset.splits["train"].labels == (99, 0)
    assert dataset.class_names[0] == "aquarium fish0"


def test_svhn_calls_ten_zero_and_keeps_upright_pictures(tmp_path: Path) -> None:
    dataset = load_tiny("svhn", tmp_path)
    assert dataset.splits["train"].labels == (1, 0, 9)
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(dataset.splits["train"].open_image(2)), values[..., 2])


def test_stl10_columns_become_rows(tmp_path: Path) -> None:
    dataset = load_tiny("stl10", tmp_path)
    values = np.random.default_rng(0).integers(0, 256, 2 * 3 * 96 * 96, dtype=np.uint8)
    image = np.asarray(dataset.splits["train"].open_image(1))
    assert image[5, 9, 2] == values.reshape(2, 3, 96, 96)[1, 2, 9, 5]
    assert dataset.splits["train"].labels == (0, 9)


def test_nested_scene_names_and_country_codes_become_words(tmp_path: Path) -> None:
    assert load_tiny("sun397", tmp_path).class_names == ("abbey", "apartment building outdoor")
    assert load_tiny("country211", tmp_path).class_names == ("andorra", "kosovo")


def test_sets_without_splits_are_divided_the_same_way_each_time(tmp_path: Path) -> None:
    first, second = (load_tiny("eurosat", tmp_path / place) for place in "ab")
    assert first.splits["test"].indices == second.splits["test"].indices
    assert [len(part) for part in first.splits.values()] == [8, 2]
    assert first.fingerprint == second.fingerprint


def test_clevr_counts_objects_and_tests_on_val(tmp_path: Path) -> None:
    dataset = load_tiny("clevr", tmp_path)
    assert [dataset.class_names[n] for n in dataset.splits["train"].labels] == [
        "three objects",
        "ten objects",
    ]
    assert dataset.splits["test"].describe(0) == "CLEVR_v1.0/images/val/CLEVR_val_0.png"


def test_wrong_counts_are_damage(tmp_path: Path) -> None:
    tiny = TINY["dtd"]()
    with serve_files() as served:
        served.files = tiny.downloads
        spec = tiny.to_spec("dtd", served.address)
        fetch_dataset(spec, tmp_path)
    with pytest.raises(DamagedError, match="not what its source"):
        read_dataset(replace(spec, classes=3), tmp_path)
    (tmp_path / "dtd" / "dtd" / "labels" / "val1.txt").unlink()
    with pytest.raises(DamagedError) as caught:
        read_dataset(spec, tmp_path)
    assert "evp datasets download dtd" in str(caught.value.hint)


def test_fer2013_is_read_where_somebody_put_it(tmp_path: Path) -> None:
    spec = replace(CATALOG["fer2013"], hub=None, sizes={"train": 1, "val": 1, "test": 1})
    assert find_state(spec, tmp_path) == "manual"
    with pytest.raises(NotFoundError, match="cannot be downloaded"):
        fetch_dataset(spec, tmp_path)
    pixels = " ".join(["128"] * 48 * 48)
    rows = [
        f"{n},{pixels},{use}" for n, use in enumerate(("Training", "PublicTest", "PrivateTest"))
    ]
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    fetch_dataset(spec, tmp_path)
    dataset = read_dataset(spec, tmp_path)
    assert dataset.splits["test"].labels == (2,)
    assert dataset.splits["val"].open_image(0).getpixel((3, 3)) == (128, 128, 128)


def test_pcam_says_what_it_needs_or_reads_it(tmp_path: Path) -> None:
    spec = replace(CATALOG["pcam"], hub=None, sizes={"train": 1, "val": 1, "test": 1})
    (tmp_path / "pcam").mkdir()
    try:
        import h5py
    except ImportError:
        for name in spec.needed:
            (tmp_path / "pcam" / name).touch()
        with pytest.raises(UsageError) as caught:
            read_dataset(spec, tmp_path)
        assert caught.value.hint == "pip install h5py"
        return
    for name in spec.needed:
        with h5py.File(tmp_path / "pcam" / name, "w") as file:
            if name.endswith("x.h5"):
                file["x"] = np.full((1, 96, 96, 3), 7, dtype=np.uint8)
            else:
                file["y"] = np.ones((1, 1, 1, 1), dtype=np.uint8)
    dataset = read_dataset(spec, tmp_path)
    assert dataset.splits["val"].open_image(0).getpixel((0, 0)) == (7, 7, 7)
    assert dataset.splits["train"].labels == (1,)


def test_an_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_dataset_spec("pet")
    assert "did you mean pets?" in str(caught.value.hint)
    assert "evp datasets list" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["../x", "nul\0", "a" * 5000, "~nobody-at-all/x", "cifar11"])
def test_what_is_neither_name_nor_folder_is_not_found(text: str) -> None:
    with pytest.raises(NotFoundError):
        find_dataset_spec(text)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_name_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        find_dataset_spec(text)


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"x")
    with pytest.raises(UsageError) as caught:
        find_dataset_spec(str(tmp_path / "set.zip"))
    assert caught.value.hint == "unpack it first"


def test_a_catalog_name_wins_over_a_folder_unless_it_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "digits" / name / f"{number}.jpg").write_bytes(encode_picture(number))
    monkeypatch.chdir(tmp_path)
    assert load_dataset("digits", root=tmp_path / "root").class_names[0] == "zero"
    assert load_dataset("./digits", root=tmp_path / "root").name == "digits-folder"


def test_a_given_name_is_used_and_checked(tmp_path: Path) -> None:
    assert load_dataset("digits", root=tmp_path, name="mine").name == "mine"
    for name in ("../x", "", "-rf", "a/b"):
        with pytest.raises(UsageError):
            load_dataset("digits", root=tmp_path, name=name)


def test_offline_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        load_dataset("pets", root=tmp_path, offline=True)
    assert "images.tar.gz" in str(caught.value.found)
    assert "evp datasets download pets" in str(caught.value.hint)


def test_listing_tells_every_state(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    states = {entry.spec.name: entry.state for entry in list_datasets(tmp_path)}
    assert (states["digits"], states["pets"], states["dtd"], states["fer2013"]) == (
        "ready",
        "partial",
        "absent",
        "absent",
    )


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset("digits", root=Path("unused"))
    source = load_digits()
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert (len(train), len(test)) == (1437, 360)
    assert (*train.labels, *test.labels) == tuple(source.target.tolist())
    image = test.open_image(5)
    expected = np.rint(source.images[1437 + 5] * 255 / 16).astype(np.uint8)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    assert all(np.array_equal(np.asarray(image)[..., c], expected) for c in range(3))
    assert (dataset.flip, dataset.licence) == (False, "CC BY 4.0")
    assert isinstance(image, Image.Image)


def write_pictures(folder: Path, count: int, ending: str) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        kind = "PNG" if ending == ".png" else "JPEG"
        (folder / f"{number}{ending}").write_bytes(encode_picture(number, kind))


def test_resisc45_is_read_where_somebody_put_it(tmp_path: Path) -> None:
    spec = replace(CATALOG["resisc45"], hub=None, sizes={"train": 5 * 45})
    with pytest.raises(NotFoundError, match="cannot be downloaded") as caught:
        fetch_dataset(spec, tmp_path)
    assert "NWPU-RESISC45/airplane" in str(caught.value.found)
    assert "and 37 more" in str(caught.value.found)
    assert str(tmp_path / "resisc45") in str(caught.value.hint)
    for name in spec.needed:
        write_pictures(tmp_path / "resisc45" / name, 5, ".jpg")
    fetch_dataset(spec, tmp_path)
    dataset = read_dataset(spec, tmp_path)
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 180,
        "test": 45,
    }
    assert (dataset.class_names[2], len(dataset.class_names)) == ("baseball diamond", 45)
    with pytest.raises(DamagedError, match="not what its source"):
        read_dataset(CATALOG["resisc45"], tmp_path)


def test_dmlab_is_read_where_somebody_put_it(tmp_path: Path) -> None:
    spec = replace(CATALOG["dmlab"], hub=None, sizes={"train": 12, "val": 12, "test": 12})
    for name in spec.needed[:-1]:
        write_pictures(tmp_path / "dmlab" / name, 2, ".png")
    with pytest.raises(NotFoundError, match="cannot be downloaded") as caught:
        fetch_dataset(spec, tmp_path)
    assert caught.value.found == "missing dmlab/test/5"
    write_pictures(tmp_path / "dmlab" / "dmlab/test/5", 2, ".png")
    dataset = read_dataset(spec, tmp_path)
    assert dataset.splits["test"].labels == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
    assert dataset.class_names[4] == "a lemon far away"
