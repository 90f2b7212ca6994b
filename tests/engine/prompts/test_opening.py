"""A reference on the command line to a prompt in memory."""

import pytest
import torch

from evpcli.domain.errors import DamagedError, NotFoundError, UsageError
from evpcli.engine.prompts.opening import open_prompt
from evpcli.engine.prompts.prompt_file import encode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.builders import build_manifest, build_pixels

PIXELS = build_pixels()
MANIFEST = build_manifest()
DATA = encode_prompt(PIXELS, MANIFEST)


@pytest.fixture
def registry(tmp_path):
    """A registry with one tagged prompt."""
    registry = Registry(tmp_path / "registry")
    registry.tag(registry.publish(DATA, MANIFEST), "prod")
    return registry


def test_every_kind_of_reference_opens_the_same_prompt(registry, tmp_path):
    path = tmp_path / "prompt.pt"
    path.write_bytes(DATA)
    digest = registry.entries()[0].digest
    texts = ("digits/mini", "digits/mini:v1", "digits/mini:prod", "digits/mini:best", digest[:8])
    for text in (*texts, str(path)):
        prompt = open_prompt(text, registry)
        assert torch.equal(prompt.pixels, PIXELS)
        assert prompt.digest == digest


@pytest.mark.parametrize("text", ["digits/nano", "digits/mini:v2", "digits/mini:x", "./absent.pt"])
def test_what_is_not_there_is_not_found(registry, text):
    with pytest.raises(NotFoundError):
        open_prompt(text, registry)


@pytest.mark.parametrize("text", ["digits", "", "digits/", "digits/mini:../x", "digits/mini:"])
def test_what_addresses_nothing_is_refused(registry, text):
    with pytest.raises(UsageError):
        open_prompt(text, registry)


def test_an_entry_with_another_prompts_bytes_is_damage(registry):
    registry.publish(DATA, build_manifest(correct=200))
    with pytest.raises(DamagedError, match="disagree"):
        open_prompt("digits/mini", registry)


def test_bytes_that_were_no_prompt_when_filed_are_damage(registry):
    registry.publish(b"not a prompt", MANIFEST)
    with pytest.raises(DamagedError, match="digits/mini:v2"):
        open_prompt("digits/mini", registry)
