from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpcli.domain.errors import UsageError
from evpcli.domain.reference import DigestRef, FileRef, KeyRef, PromptKey, parse_prompt_ref

PETS = PromptKey("pets", "ViT-B/32")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pets/ViT-B/32", KeyRef(PETS)),
        ("pets/ViT-B/32:v3", KeyRef(PETS, version=3)),
        ("pets/ViT-B/32:good", KeyRef(PETS, tag="good")),
        ("abcdef", DigestRef("abcdef")),
        ("0" * 64, DigestRef("0" * 64)),
        ("prompt.pt", FileRef(Path("prompt.pt"))),
        ("pets/ViT-B/32.pth", FileRef(Path("pets/ViT-B/32.pth"))),
        ("./digits/mini", FileRef(Path("./digits/mini"))),
        ("/digits/mini", FileRef(Path("/digits/mini"))),
        ("x.safetensors", FileRef(Path("x.safetensors"))),
    ],
)
def test_shape_alone_decides(text: str, expected: object) -> None:
    assert parse_prompt_ref(text) == expected


@pytest.mark.parametrize("text", ["", "digits", "abcde", "/:", "digits/", "digits/mini:", "abcdeg"])
def test_other_shapes_are_refused(text: str) -> None:
    if text.startswith("/"):
        assert isinstance(parse_prompt_ref(text), FileRef)
        return
    with pytest.raises(UsageError, match="does not address"):
        parse_prompt_ref(text)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        assert parse_prompt_ref(text) is not None
    except UsageError:
        assert not text.startswith("./")


@pytest.mark.parametrize("text", ["pets/ViT-B/32", "pets/ViT-B/32:v3", "pets/ViT-B/32:good"])
def test_references_print_as_they_are_typed(text: str) -> None:
    assert str(parse_prompt_ref(text)) == text
