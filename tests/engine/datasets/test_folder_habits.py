"""Folders and names as people have them: each is taken as meant, or the message says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.errors import UsageError
from evpcli.domain.names import sort_naturally, split_camel_case
from evpcli.domain.settings import FitSettings
from evpcli.engine.datasets.division import divide_dataset
from evpcli.engine.datasets.folder import load_folder
from evpcli.engine.datasets.folder_scan import name_class_folders
from evpcli.engine.datasets.mirroring import explain_no_mirroring
from evpcli.engine.datasets.shared import share_classes
from evpcli.engine.fitting.class_texts import describe_unreadable_names, settle_texts


def fill(root: Path, *folders: str, count: int = 6, ending: str = "png") -> Path:
    """Images in each folder, no two alike."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            color = (number * 40 + 10, index * 9, len(str(root)) % 200)
            Image.new("RGB", (8, 8), color).save(root / folder / f"{index}.{ending}")
    return root


@pytest.mark.parametrize("name", ["train", "test", "val", "valid", "Training"])
def test_a_class_may_be_called_like_a_split(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "bus", "car", name)
    assert set(load_folder(tmp_path).source_classes) == {"bus", "car", name}
    assert set(name_class_folders(tmp_path)) == {"bus", "car", name}


def test_splits_beside_other_folders_stay_splits(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "raw")
    assert load_folder(tmp_path).source_classes == ("cat", "dog")
    assert name_class_folders(tmp_path) == ["cat", "dog"]


def test_a_missing_train_folder_names_its_neighbours(tmp_path: Path) -> None:
    fill(tmp_path, "test/cat", "test/dog", "bus10", "bus9")
    with pytest.raises(UsageError) as caught:
        load_folder(tmp_path)
    assert str(caught.value.found).endswith("beside bus9, bus10")


def test_files_without_a_known_ending_are_shown(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    for path in list((tmp_path / "cat").iterdir()):
        path.rename(path.with_suffix(""))
    with pytest.raises(UsageError) as caught:
        load_folder(tmp_path)
    assert "cat holds 6 files, such as '0', whose name has no ending" in str(caught.value.found)
    assert ".jpg" in str(caught.value.hint)


def test_images_in_formats_that_are_not_read_are_listed(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    for index in (4, 5):
        (tmp_path / f"dog/{index}.png").rename(tmp_path / f"dog/{index}.HEIC")
    dataset = load_folder(tmp_path)
    assert dataset.skipped == ("dog/4.HEIC", "dog/5.HEIC")
    [warning] = dataset.warnings
    assert "2 images are in a format that evp does not read" in warning
    assert "dog/4.HEIC, dog/5.HEIC" in warning and dataset.notes == ()


def test_linked_folders_say_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path / "pool", "red", "green")
    (tmp_path / "data").mkdir()
    for name in ("red", "green"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "pool" / name)
    with pytest.raises(UsageError) as caught:
        load_folder(tmp_path / "data")
    assert "cp -rL" in str(caught.value.hint)


def test_two_images_a_class_are_one_too_few(tmp_path: Path) -> None:
    dataset = load_folder(fill(tmp_path, "red", "green", count=2))
    settings = FitSettings(lr=1, epochs=1, batch_size=1)
    with pytest.raises(UsageError) as caught:
        divide_dataset(dataset, settings)
    assert caught.value.found == "4 images in 2 classes, 2 of them held out for test"
    assert "at least three images" in str(caught.value.hint)
    shutil.rmtree(tmp_path / "red")
    shutil.rmtree(tmp_path / "green")
    divided = divide_dataset(load_folder(fill(tmp_path, "red", "green", count=3)), settings)
    assert {name: len(part) for name, part in divided.splits.items()} == {
        **{"train": 2, "val": 2},
        "test": 2,
    }


def test_copies_across_splits_are_told_and_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "data", "train/red", "train/green", "test/red", "test/green")
    shutil.copy(root / "train/red/3.png", root / "test/red/copy.png")
    shutil.copy(root / "train/green/1.png", root / "test/green/5.png")
    for _ in range(2):
        dataset = load_folder(root, cache=tmp_path / "cache")
        [warning] = dataset.warnings
        assert warning.startswith("2 images of test are in train as well, such as test/green/5.png")
        assert "train/green/1.png" in warning
        monkeypatch.setattr("hashlib.file_digest", None)  # the second time nothing is read


def test_a_16_bit_image_of_12_bits_is_told(tmp_path: Path) -> None:
    fill(tmp_path, "red", "green")
    values = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
    for name in ("red/a.png", "green/b.png"):
        Image.fromarray(values).save(tmp_path / name)
    warning = next(text for text in load_folder(tmp_path).warnings if "65535" in text)
    assert "up to 4095 of 65535" in warning and "12-bit" in warning
    assert warning.endswith("(2 such images)")
    for name in ("red/a.png", "green/b.png"):
        Image.fromarray(values * 16).save(tmp_path / name)
    assert not any("65535" in text for text in load_folder(tmp_path).warnings)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("left", "right"), "a mirror exchanges 'left' and 'right'"),
        (("turn_left", "turn_right", "stop"), "exchanges 'turn left' and 'turn right'"),
        (("clockwise", "Counterclockwise"), "exchanges"),
        (("1", "2", "10"), "numbers or letters"),
        (("zero", "one", "two"), "numbers or letters"),
        (("A", "B", "c", "7"), "numbers or letters"),
        (("cat", "dog"), None),
        (("right whale", "blue whale"), None),
        (("a", "cat"), None),
    ],
)
def test_classes_that_a_mirror_confuses_are_not_mirrored(
    names: tuple[str, ...], said: str | None, tmp_path: Path
) -> None:
    reason = explain_no_mirroring(names)
    assert (said in reason) if said and reason else reason is said
    dataset = load_folder(fill(tmp_path, *names))
    assert dataset.flip is (said is None)
    assert any("--flip" in note for note in dataset.notes) is (said is not None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AnnualCrop", "Annual Crop"),
        ("SeaLake", "Sea Lake"),
        ("HerbaceousVegetation", "Herbaceous Vegetation"),
        ("iPhone", "iPhone"),
        ("McDonald", "McDonald"),
        ("BMW", "BMW"),
        ("annual_crop", "annual_crop"),
    ],
)
def test_words_that_were_run_together_are_told_apart(name: str, words: str) -> None:
    assert split_camel_case(name) == words


def test_names_are_sorted_as_people_count() -> None:
    assert sort_naturally(["10", "2", "1", "a10", "a9"]) == ["1", "2", "10", "a9", "a10"]


def test_the_folders_own_names_in_another_order_are_refused(tmp_path: Path) -> None:
    dataset = load_folder(fill(tmp_path, "1", "2", "10"))
    with pytest.raises(UsageError, match="in another order") as caught:
        settle_texts(dataset, class_names=("1", "2", "10"))
    assert caught.value.found == "line 2 says '2', the folder is '10'"
    assert settle_texts(dataset, class_names=("1", "10", "2")).class_names == ("1", "10", "2")
    assert settle_texts(dataset, class_names=("one", "ten", "two"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("n01440764", "n01443537"), "n01440764, n01443537 are WordNet ids"),
        (("1", "2", "3", "4"), "1, 2, 3, ... are numbers"),
        (("cat", "dog"), None),
    ],
)
def test_names_that_are_no_words_are_told(names: tuple[str, ...], said: str | None) -> None:
    found = describe_unreadable_names(names)
    assert (said in found and "--classnames" in found) if said and found else found is said


def test_names_written_as_one_word_are_shared(tmp_path: Path) -> None:
    dataset = load_folder(fill(tmp_path, "AnnualCrop", "SeaLake"))
    assert dataset.class_names == ("annual crop", "sea lake")
    assert share_classes(dataset, ("sealake", "annualcrop")).kept == (0, 1)
