"""Manifests as JSON text."""

import pytest

from evpcli.domain.errors import DamagedError
from evpcli.engine.prompts.manifest_json import (
    format_manifest,
    parse_manifest,
    parse_strict_json,
)
from tests.builders import build_manifest


def test_a_manifest_comes_back():
    manifest = build_manifest(source="caf\u00e9 \u2603")
    text = format_manifest(manifest)
    assert text.isascii()
    assert parse_manifest(text) == manifest


def test_a_history_too_long_to_be_read_again_is_not_written():
    epochs = [
        {"epoch": n + 1, "lr": 1.0, "train_loss": 1.0, "train_top1": 0.5} for n in range(99_000)
    ]
    with pytest.raises(DamagedError, match="too large"):
        format_manifest(build_manifest(history=epochs))


def test_twenty_thousand_epochs_fit():
    epochs = [
        {"epoch": n + 1, "lr": 1 / 3, "train_loss": 2 / 3, "train_top1": 1 / 7, "val_top1": 1 / 7}
        for n in range(20_000)
    ]
    manifest = build_manifest(history=epochs)
    assert parse_manifest(format_manifest(manifest)) == manifest


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nul", "[1,]", "{'a':1}", "NaN", "-Infinity", "[1] 2", "\ufeff{}"),
        *('{"a":1,"a":1}', '[{"b":{"a":1,"a":2}}]', "9" * 5_000, "[" * 100_000, b"\xff\xfe"),
    ],
)
def test_anything_but_sound_json_is_refused(text):
    with pytest.raises(DamagedError):
        parse_strict_json(text, "the text")
