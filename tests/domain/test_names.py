from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpcli.domain.errors import UsageError
from evpcli.domain.names import check_name, check_tag, clean_class_name, make_slug, suggest

BAD = ["", ".", "..", "../x", "a/b", "C:\\x", "-rf", "a b", "a\0", "\u212a", "x" * 65, "é", "a\n"]


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_paths_or_odd_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name, "tag")


@pytest.mark.parametrize("name", ["v1", "v000012", "best"])
def test_tags_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_tag(name)


@given(st.text())
def test_any_text_makes_a_safe_file_name(text: str) -> None:
    slug = make_slug(text)
    assert check_name(slug.replace("_", "a") or "a", "file")
    assert slug not in (".", "..")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [("American_Bulldog", "american bulldog"), ("t-shirt", "t shirt"), ("  A__b ", "a b")],
)
def test_class_names_are_cleaned_as_the_reference_does(raw: str, clean: str) -> None:
    assert clean_class_name(raw) == clean


def test_near_names_are_suggested_and_far_ones_not() -> None:
    assert suggest("digts", ["digits", "pets"]) == "did you mean digits?"
    assert suggest("vit-b/32", ["ViT-B/32"]) == "did you mean ViT-B/32?"
    assert suggest("zzz", ["digits", "pets"]) is None
