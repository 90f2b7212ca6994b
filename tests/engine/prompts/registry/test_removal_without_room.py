"""A removal that cannot be written changes nothing."""

from __future__ import annotations

import pytest

from evpcli.cli import main
from evpcli.domain.errors import StorageError
from evpcli.domain.reference import PromptKey
from evpcli.engine.files.paths import find_registry
from evpcli.engine.prompts.registry import registry as module
from tests.shelf import build_mini_manifest, store_prompt


def test_tags_stay_where_there_is_no_room_to_keep_the_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("cannot write", found="No space left on device")

    store_prompt(build_mini_manifest())
    assert main(["tag", "digits/mini", "prod"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(module, "publish_new", fail)
        assert main(["rm", "digits/mini:v1", "--yes"]) == 8
    registry = module.Registry(find_registry())
    assert registry.tags_of(PromptKey("digits", "mini"), 1) == ("prod",)
    assert main(["verify"]) == 0
    assert main(["rm", "digits/mini:v1", "--yes"]) == 0


def test_a_home_that_nobody_has_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt(build_mini_manifest())
    assert main(["export", "digits/mini", "-o", "~nobody-of-this-name/x.pt"]) == 2
    assert "Traceback" not in capsys.readouterr().err
