from __future__ import annotations

import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.fitting.class_texts import settle_texts


def build_dataset(*names: str, folders: tuple[str, ...] = ()) -> Dataset:
    return Dataset("pets", names, {}, "", "", source_classes=folders)


def test_the_users_texts_come_before_the_datasets() -> None:
    texts = settle_texts(build_dataset("a", "b"), ["cat", "dog"], ["a {}"])
    assert texts.class_names == ("cat", "dog")
    assert texts.templates == ("a {}",)
    assert settle_texts(build_dataset("a", "b")).class_names == ("a", "b")


def test_another_number_of_names_is_refused() -> None:
    with pytest.raises(UsageError, match="has 2 classes"):
        settle_texts(build_dataset("a", "b"), ["cat"])


def test_folders_that_read_the_same_are_both_named() -> None:
    with pytest.raises(UsageError, match="same name in words") as caught:
        settle_texts(build_dataset("a b", "c", "a b", folders=("a_b", "c", "a-b")))
    assert caught.value.found == "'a_b' and 'a-b' both read 'a b'"
    assert "--classnames" in str(caught.value.hint)


def test_the_users_names_that_read_the_same_name_the_datasets_classes() -> None:
    with pytest.raises(UsageError) as caught:
        settle_texts(build_dataset("x", "y"), ["A  a", "a a"])
    assert caught.value.found == "'x' and 'y' both read 'a a'"


@pytest.mark.parametrize("empty", ["", " "])
def test_a_class_without_a_name_is_refused(empty: str) -> None:
    with pytest.raises(UsageError, match="no name in words") as caught:
        settle_texts(build_dataset(empty, "b", folders=("___", "b")))
    assert caught.value.found == "'___'"


@pytest.mark.parametrize(
    ("names", "templates", "found"),
    [
        (["a" * 201, "b"], [], "number 1"),
        (["b", "\ud800"], [], "number 2"),
        (["a", "b"], ["{}" + "x" * 2_000], "number 1"),
        (["a", "b"], ["{} \ud800"], "number 1"),
        (["a", "b"], ["{}"] * 1_001, "1001"),
    ],
)
def test_texts_beyond_the_manifests_limits_are_refused(
    names: list[str], templates: list[str], found: str
) -> None:
    with pytest.raises(UsageError, match="a prompt file cannot keep") as caught:
        settle_texts(build_dataset("x", "y"), names, templates)
    assert str(caught.value.found).startswith(found)
    str(caught.value.found).encode()


def test_the_largest_texts_pass() -> None:
    texts = settle_texts(build_dataset("x", "y"), ["a" * 200, "b"], ["{}" + "x" * 1_998] * 1_000)
    assert texts.class_names == ("a" * 200, "b")
    assert len(texts.templates) == 1_000
