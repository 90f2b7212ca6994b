from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.unprintable import spell_out
from evpcli.engine.images.decoder import load_square
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.canvases import render_prompted, to_picture
from evpcli.engine.rendering.figure import Example
from evpcli.engine.rendering.report import build_curve, render_report
from tests.builders import SMALL, build_manifest, build_pixels
from tests.shelf import draw_image

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"
VOID = {"meta", "img", "line", "polyline", "br"}


class Page(HTMLParser):
    """What a page refers to, which tags it has, and whether they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def list_images(self) -> list[Image.Image]:
        uris = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        heads, bodies = zip(*(uri.split(",", 1) for uri in uris), strict=True)
        assert set(heads) == {"data:image/png;base64"}
        return [Image.open(io.BytesIO(base64.b64decode(body))) for body in bodies]


def render(ref: str = "digits/mini:v1", example: Example | None = None, **changes: Any) -> Page:
    stored = StoredPrompt(build_pixels(), build_manifest(**changes), "ab" * 32)
    page = Page(render_report(stored, ref, example))
    assert page.open == []
    return page


def test_page_is_whole_and_self_contained() -> None:
    page = render()
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert {name for _, name, _ in page.attributes} & {"href", "srcset", "action"} == set()
    assert len(page.list_images()) == 3
    assert [value for tag, _, value in page.attributes if tag == "html"] == ["en"]


def test_every_picture_has_words() -> None:
    page = render()
    described = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(described) == page.tags.count("img")
    assert all(described)


def test_ids_are_unique_and_references_resolve() -> None:
    page = render()
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {"aria-labelledby", "aria-describedby"}
    assert {value for _, name, value in page.attributes if name in wanted} <= set(ids)


def test_hostile_texts_stay_texts() -> None:
    page = render(
        ref=HOSTILE,
        dataset=HOSTILE,
        backbone=HOSTILE,
        class_names=(HOSTILE, "two"),
        templates=(HOSTILE + "{}",),
        created_at=HOSTILE,
        source=HOSTILE,
        settings={HOSTILE: {"value": HOSTILE, "source": "flag"}},
        provenance={"evp": HOSTILE, "device": HOSTILE},
    )
    assert "script" not in page.tags
    assert len(page.list_images()) == 3
    assert "".join(page.words).count(HOSTILE) >= 9


@pytest.mark.parametrize(
    "odd", ["\x1b[31m", "\a", "\u202e", "\u2066", "\u200b", "\x9b", "\0", "\r"]
)
def test_control_and_invisible_characters_are_spelled_out(odd: str) -> None:
    text = f"gnp.{odd}exe"
    page = render(
        ref=text,
        dataset=text,
        class_names=(text, "two"),
        templates=(text + "{}",),
        source=text,
        settings={text: {"value": text, "source": "flag"}},
        provenance={"evp": text},
    )
    words = "".join([*page.words, *(value for _, _, value in page.attributes)])
    assert odd not in words
    assert words.count(spell_out(text)) >= 6


def test_example_shows_before_and_after() -> None:
    original = draw_image()
    square = load_square(original, SMALL.window_px)
    images = render(example=Example(original, square)).list_images()
    prompted = to_picture(render_prompted(square, VisualPrompt(SMALL, build_pixels())))
    np.testing.assert_array_equal(np.asarray(images[-1]), np.asarray(prompted))
    assert len(images) == 6


@pytest.mark.parametrize(
    "changes", [{"history": ()}, {"metrics": ()}, {"selection": None}, {"class_names": ()}]
)
def test_page_manages_without_parts_of_the_manifest(changes: dict[str, Any]) -> None:
    page = render(**changes)
    assert len(page.list_images()) == 3


def test_baselines_are_explained_as_they_are_called() -> None:
    plain = "".join(render().words)
    assert "Zero-shot: the image" in plain and "Mapped" not in plain and "on black" in plain
    label_map = {"kind": "frequency", "source_classes": 9, "indices": (3, 0, 1)}
    mapped = "".join(render(label_map=label_map).words)
    assert "Mapped: the image" in mapped and "Zero-shot" not in mapped
    overlaid = "".join(render(method="vp", composition="overlay").words)
    assert "Blank: the same" in overlaid and "on black" not in overlaid


def test_large_manifests_give_a_bounded_page() -> None:
    point = {"lr": 1.0, "train_loss": 1.0, "train_top1": 0.5, "val_top1": 0.4}
    history = tuple({"epoch": number, **point} for number in range(1, 20_001))
    names = tuple(f"class {number}" for number in range(20_000))
    stored = StoredPrompt(
        build_pixels(), build_manifest(history=history, class_names=names), "ab" * 32
    )
    assert len(render_report(stored, "digits/mini:v1")) < 200_000


def test_curve_runs_from_corner_to_corner() -> None:
    history = tuple(
        {"epoch": epoch, "lr": 1.0, "train_loss": 1.0, "train_top1": share}
        for epoch, share in ((1, 0.5), (3, 0.7), (5, 0.9))
    )
    curve = build_curve(build_manifest(history=history))
    assert curve is not None
    assert [line.path for line in curve.lines] == ["0.0,220.0 260.0,110.0 520.0,0.0"]
    assert [label for label, _ in curve.ticks] == ["50 %", "60 %", "70 %", "80 %", "90 %"]
    assert [height for _, height in curve.ticks] == pytest.approx([220, 165, 110, 55, 0])


def test_curve_stays_inside_its_drawing_and_shows_baselines() -> None:
    metrics = tuple(
        {"what": what, "split": "val", "n": 100, "top1_correct": right}
        for what, right in (("zero-shot", 3), ("blank", 40), ("prompted", 100))
    )
    curve = build_curve(build_manifest(metrics=metrics))
    assert curve is not None
    assert [line.name for line in curve.lines] == ["training", "baseline", "baseline"]
    points = " ".join(line.path for line in curve.lines).split()
    assert all(0 <= float(point.split(",")[1]) <= 220 for point in points)


def test_the_curve_takes_the_width_of_its_card() -> None:
    stored = StoredPrompt(build_pixels(), build_manifest(), "ab" * 32)
    [rule] = [line for line in render_report(stored, "x").splitlines() if "  svg {" in line]
    assert "width: 100%" in rule
    assert "max-width" not in rule


def test_an_imported_prompt_says_why_it_has_no_curve() -> None:
    assert "imported" in " ".join(render(history=(), origin="import").words)
