"""Folders of class folders: every layout that works, and every mistake with its own hint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evpcli.domain.errors import ImageError, UsageError
from evpcli.domain.names import check_name
from evpcli.engine.datasets import preflight
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.folder import load_folder, name_folder
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.preflight import check_pictures
from tests.dataset_builders import encode_picture


def fill(root: Path, *names: str) -> Path:
    """Pictures with these paths below `root`; each has its own contents."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(number))
    return root


def pets(root: Path, *splits: str, count: int = 5) -> Path:
    names = [f"{c}/{n}.jpg" for c in ("cat", "dog") for n in range(count)]
    return fill(root, *(f"{split}/{name}" if split else name for split in splits for name in names))


def test_split_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    dataset = load_folder(pets(tmp_path / "my_pets", "train", "val", "test"))
    assert dataset.name == "my_pets"
    assert dataset.class_names == ("cat", "dog")
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 10,
        "val": 10,
        "test": 10,
    }
    assert dataset.splits["test"].describe(9) == "test/dog/4.jpg"
    assert dataset.splits["test"].labels == (0,) * 5 + (1,) * 5
    assert dataset.splits["train"].open_image(0).mode == "RGB"
    assert dataset.split_rule == "the folders train, val, test"


@pytest.mark.parametrize("word", ["valid", "Validation", "VAL"])
def test_other_words_for_a_split_are_taken_and_said(tmp_path: Path, word: str) -> None:
    dataset = load_folder(pets(tmp_path, "train", word, "testing"))
    assert set(dataset.splits) == {"train", "val", "test"}
    assert f"{word}/ is used as val" in dataset.notes
    assert "testing/ is used as test" in dataset.notes


def test_one_level_gets_a_fixed_test_split(tmp_path: Path) -> None:
    first = load_folder(pets(tmp_path, "", count=10))
    second = load_folder(tmp_path)
    assert {name: len(part) for name, part in first.splits.items()} == {"train": 16, "test": 4}
    assert first.splits["test"].indices == second.splits["test"].indices
    assert set(first.splits["test"].labels) == {0, 1}
    assert "20 % of each class, seed 0" in first.split_rule


def test_a_missing_test_folder_is_carved_out_of_train(tmp_path: Path) -> None:
    dataset = load_folder(pets(tmp_path, "train", "val", count=10))
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 16,
        "val": 20,
        "test": 4,
    }


def test_pictures_may_lie_deeper(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a/1.jpg", "cat/b/2.png", "dog/3.JPEG", "dog/4.jpg")
    dataset = load_folder(tmp_path)
    assert sum(len(part) for part in dataset.splits.values()) == 4


def test_what_is_no_data_is_ignored(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    fill(tmp_path, ".git/x/1.jpg", "__MACOSX/cat/1.jpg", "train/.cache/1.jpg", "train/cat/._1.jpg")
    for name in ("train/cat/.DS_Store", "train/cat/notes.txt", "train/list.csv", "README.md"):
        (tmp_path / name).write_text("no picture")
    dataset = load_folder(tmp_path)
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 10, "test": 10}
    [note] = dataset.notes
    assert note.startswith("3 files are no images of a class and were ignored: README.md, ")


def test_folders_beside_the_splits_are_told(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test", "annotations")
    assert "1 folder beside the splits was ignored: annotations" in load_folder(tmp_path).notes


def make_root_pictures(root: Path) -> None:
    fill(root, "1.jpg", "2.jpg")


def make_text_only(root: Path) -> None:
    (root / "readme.txt").write_text("x")


def make_one_class(root: Path) -> None:
    fill(root, "cat/1.jpg", "cat/2.jpg")


def make_wrapped(root: Path) -> None:
    pets(root / "archive", "")


def make_empty_class(root: Path) -> None:
    pets(root, "")
    (root / "bird").mkdir()


def make_loose_pictures(root: Path) -> None:
    pets(root, "")
    fill(root, "loose.jpg")


def make_only_test(root: Path) -> None:
    pets(root, "test")


def make_strange_class(root: Path) -> None:
    pets(root, "train", "test")
    fill(root, "test/bird/1.jpg")


def make_two_vals(root: Path) -> None:
    pets(root, "train", "val", "valid")


def make_empty_train(root: Path) -> None:
    pets(root, "test")
    (root / "train").mkdir()


def make_single_pictures(root: Path) -> None:
    fill(root, "cat/1.jpg", "dog/1.jpg")


MISTAKES = {
    "the folder is empty": lambda root: None,
    "pictures but no class folders": make_root_pictures,
    "the folder has no class folders": make_text_only,
    "only one class": make_one_class,
    "there is only one class": make_wrapped,
    "class folder has no images": make_empty_class,
    "pictures beside the class folders": make_loose_pictures,
    "no train/": make_only_test,
    "test has classes that train has not": make_strange_class,
    "both the val split": make_two_vals,
    "train/ is empty": make_empty_train,
    "has an image to spare": make_single_pictures,
}


@pytest.mark.parametrize("message", MISTAKES)
def test_each_mistake_has_its_own_message_and_hint(message: str, tmp_path: Path) -> None:
    MISTAKES[message](tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        load_folder(tmp_path)
    assert caught.value.hint


def test_a_wrapping_folder_suggests_the_inner_one(tmp_path: Path) -> None:
    make_wrapped(tmp_path)
    with pytest.raises(UsageError) as caught:
        load_folder(tmp_path)
    assert f"did you mean {tmp_path / 'archive'}?" in str(caught.value.hint)


def test_a_class_may_be_missing_from_test(tmp_path: Path) -> None:
    pets(tmp_path, "train")
    fill(tmp_path, "test/cat/1.jpg")
    dataset = load_folder(tmp_path)
    assert set(dataset.splits["test"].labels) == {0}
    assert "test has no images of 1 class: dog" in dataset.warnings


def test_links_stay_inside_and_loops_end(tmp_path: Path) -> None:
    root = pets(tmp_path / "root", "train", "test")
    fill(tmp_path / "outside", "secret.jpg")
    (root / "train" / "cat" / "up").symlink_to(root)
    (root / "train" / "cat" / "self").symlink_to(".")
    (root / "train" / "cat" / "out").symlink_to(tmp_path / "outside")
    (root / "train" / "dog" / "secret.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (root / "train" / "stolen").symlink_to(tmp_path / "outside")
    (root / "train" / "dog" / "lost.jpg").symlink_to(root / "nowhere.jpg")
    (root / "train" / "dog" / "lost.jpg").unlink()
    dataset = load_folder(root)
    assert len(dataset.class_names) == 2
    names = dataset.splits["train"].names
    assert not any("secret" in name for name in names)
    assert len([name for name in names if name.startswith("train/dog/")]) == 5


def count_pictures(dataset: Dataset) -> int:
    return sum(len(part) for part in dataset.splits.values())


@pytest.mark.parametrize("target", [".", "..", "../dog", "../../train", "../../pool"])
def test_no_link_to_a_folder_brings_pictures_into_a_class(target: str, tmp_path: Path) -> None:
    pets(tmp_path, "train", "test", "pool")
    (tmp_path / "train" / "cat" / "up").symlink_to(target)
    dataset = load_folder(tmp_path)
    assert count_pictures(dataset) == 20
    assert any("1 link was left out" in n and "train/cat/up" in n for n in dataset.notes)


def test_a_link_is_no_class_and_no_split(tmp_path: Path) -> None:
    pets(tmp_path, "train")
    (tmp_path / "train" / "self").symlink_to(".")
    (tmp_path / "test").symlink_to("train")
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert count_pictures(dataset) == 10
    assert any(note.endswith("test, train/self") for note in dataset.notes)


def test_a_link_to_a_picture_of_another_class_is_left_out(tmp_path: Path) -> None:
    pets(tmp_path, "")
    (tmp_path / "cat" / "stolen.jpg").symlink_to("../dog/1.jpg")
    (tmp_path / "cat" / "again.jpg").symlink_to("1.jpg")
    dataset = load_folder(tmp_path)
    assert count_pictures(dataset) == 10
    assert any(note.endswith("cat/again.jpg, cat/stolen.jpg") for note in dataset.notes)


def test_a_link_into_a_pool_stays_unless_two_lead_to_one_picture(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    fill(tmp_path, "pool/1.jpg", "pool/2.jpg")
    (tmp_path / "train" / "cat" / "pool-1.jpg").symlink_to("../../pool/1.jpg")
    (tmp_path / "train" / "cat" / "pool-2.jpg").symlink_to("../../pool/2.jpg")
    (tmp_path / "test" / "dog" / "pool-2.jpg").symlink_to("../../pool/2.jpg")
    dataset = load_folder(tmp_path)
    assert "train/cat/pool-1.jpg" in dataset.splits["train"].names
    assert count_pictures(dataset) == 21
    assert any(n.endswith("test/dog/pool-2.jpg, train/cat/pool-2.jpg") for n in dataset.notes)


def test_classes_that_are_links_only_are_told_so(tmp_path: Path) -> None:
    pets(tmp_path / "elsewhere", "")
    (tmp_path / "root").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(UsageError, match="no class folders") as caught:
        load_folder(tmp_path / "root")
    assert "are not followed, such as cat" in str(caught.value.hint)


def test_links_that_cannot_be_resolved_are_named(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    (tmp_path / "me").symlink_to("me")
    (tmp_path / "train" / "me").symlink_to("me")
    (tmp_path / "train" / "cat" / "x.png").symlink_to("x.png")
    (tmp_path / "train" / "dog" / "lost.png").symlink_to("nowhere.png")
    with pytest.raises(ImageError, match="2 of 22") as caught:
        load_folder(tmp_path)
    assert "train/cat/x.png cannot be read: a link to nothing" in str(caught.value.found)
    dataset = load_folder(tmp_path, bad_images="skip")
    assert dataset.skipped == ("train/cat/x.png", "train/dog/lost.png")
    assert "2 files are no images of a class and were ignored: me, train/me" in dataset.notes


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("Hot-Dog_stand", "hot dog stand"),
        ("\x1b[31mred", "[31mred"),
        ("a\nb", "a b"),
        ("_", "_"),
        ("café", "café"),
        ("cafe\u0301", "café"),
        ("[bold]x", "[bold]x"),
        ("x" * 250, "x" * 200),
    ],
)
def test_hostile_class_names_become_plain_words(folder: str, words: str, tmp_path: Path) -> None:
    fill(tmp_path, f"{folder}/1.jpg", f"{folder}/2.jpg", "zz/1.jpg", "zz/2.jpg")
    assert words in load_folder(tmp_path).class_names


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
    os.rename(os.fsencode(tmp_path / "dog"), os.fsencode(tmp_path) + b"/dog\xff")
    dataset = load_folder(tmp_path, cache=tmp_path.parent / "cache")
    assert dataset.class_names[1] == "dog\\udcff"
    for text in (*dataset.class_names, *dataset.source_classes):
        text.encode()


def test_class_names_that_read_alike_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "hot_dog/1.jpg", "hot_dog/2.jpg", "hot-dog/1.jpg", "hot-dog/2.jpg")
    assert any("read alike" in text for text in load_folder(tmp_path).warnings)


def test_bad_pictures_stop_it_and_are_counted(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(b"")
    (tmp_path / "test" / "dog" / "1.jpg").write_bytes(b"text")
    with pytest.raises(ImageError, match="2 of 20 pictures") as caught:
        load_folder(tmp_path)
    assert "cat/0.jpg" in str(caught.value.found)
    assert "--bad-images skip" in str(caught.value.hint)


def test_bad_pictures_can_be_left_out(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    good = load_folder(tmp_path).fingerprint
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(encode_picture(0)[:60])
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.jpg")
    dataset = load_folder(tmp_path, bad_images="skip")
    assert dataset.skipped == ("train/cat/0.jpg", "train/cat/pipe.jpg")
    assert len(dataset.splits["train"]) == 9
    assert dataset.fingerprint != good
    [warning] = dataset.warnings
    assert warning.startswith("2 images cannot be decoded and were left out: train/cat/0.jpg, ")


def test_a_class_of_bad_pictures_only_is_an_error(tmp_path: Path) -> None:
    pets(tmp_path, "", count=2)
    for number in range(2):
        (tmp_path / "cat" / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="no picture of a class"):
        load_folder(tmp_path, bad_images="skip")


def test_the_check_is_remembered_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = pets(tmp_path / "root", "train", "test"), tmp_path / "cache"
    decoded: list[str] = []
    real = preflight.check_image

    def count(path: Path, *, name: str) -> None:
        decoded.append(name)
        real(path, name=name)

    monkeypatch.setattr(preflight, "check_image", count)
    load_folder(root, cache=cache)
    assert len(decoded) == 20
    load_folder(root, cache=cache)
    assert len(decoded) == 20
    (root / "train" / "cat" / "3.jpg").write_bytes(b"broken now")
    with pytest.raises(ImageError):
        load_folder(root, cache=cache)
    assert decoded[20:] == ["train/cat/3.jpg"]


def test_a_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    root, cache = pets(tmp_path / "root", ""), tmp_path / "cache"
    check_pictures(root, ["cat/0.jpg"], cache=cache)
    [kept] = (cache / ".checks").iterdir()
    for text in ("", "[]", "{", '{"policy": 1, "files": {"cat/0.jpg": 3}}'):
        kept.write_text(text)
        assert check_pictures(root, ["cat/0.jpg"], cache=cache)[0].fault is None


def test_the_fingerprint_follows_labels_sizes_and_classes(tmp_path: Path) -> None:
    pets(tmp_path / "a", "")
    pets(tmp_path / "b", "")
    first = load_folder(tmp_path / "a").fingerprint
    assert load_folder(tmp_path / "b").fingerprint == first
    os.rename(tmp_path / "b" / "dog", tmp_path / "b" / "eel")
    assert load_folder(tmp_path / "b").fingerprint != first


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("pets", "pets-folder"),
        ("My Pets!", "My-Pets"),
        ("日本", "unnamed-cf2abf0c"),
        ("日本 1", "1-85333998"),
        ("Café", "Cafe"),
        ("PETS", "PETS-folder"),
        ("-rf", "rf"),
        ("_x", "x"),
    ],
)
def test_folder_names_become_safe_dataset_names(folder: str, expected: str, tmp_path: Path) -> None:
    assert name_folder(tmp_path / folder) == expected
    assert check_name(name_folder(tmp_path / folder), "dataset")


def test_folders_without_ascii_letters_get_different_names(tmp_path: Path) -> None:
    names = ["猫", "犬", "猫 photos", "犬 photos", "unnamed", "...", os.fsdecode(b"\xff")]
    found = [name_folder(tmp_path / name) for name in names]
    assert len(set(found)) == len(names)
    assert all(check_name(name, "dataset") for name in found)


@pytest.mark.parametrize("name", ["digits", "Digits", "pets", "../x", ""])
def test_a_name_of_the_catalog_or_no_name_is_refused_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"catalog|cannot name"):
        load_dataset(str(tmp_path), root=tmp_path / "cache", name=name)
    if name != "digits":
        with pytest.raises(UsageError, match=r"catalog|cannot name"):
            load_dataset("digits", root=tmp_path / "cache", name=name)


@pytest.mark.shared
def test_real_photographs_load(shared_folder: Path, tmp_path: Path) -> None:
    folder = shared_folder / "data" / "clothing"
    if not folder.is_dir():
        pytest.skip("the clothing photographs are not here")
    dataset = load_dataset(str(folder), root=tmp_path)
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 3068,
        "val": 341,
        "test": 372,
    }
    assert dataset.class_names[-1] == "t shirt"
