"""A registry, prompt files and tags that the first version of evp wrote."""

import json
import shutil
from pathlib import Path

import pytest

from evpcli.cli import main
from evpcli.domain.reference import KeyRef, PromptKey
from evpcli.engine.prompts.prompt_file import read_prompt_file
from evpcli.engine.prompts.registry.registry import Registry

KEPT = Path(__file__).parents[3] / "fixtures" / "first_version"
DIGITS, PETS = PromptKey("digits", "mini"), PromptKey("pets", "ViT-B/32")


@pytest.fixture
def registry(evp_home):
    shutil.copytree(KEPT / "registry", evp_home / "registry")
    return Registry(evp_home / "registry")


def test_every_version_opens(registry):
    found = {str(entry.ref): registry.read(entry) for entry in registry.entries()}
    assert list(found) == [
        *("digits/mini:v1", "digits/mini:v2", "pets/ViT-B/32:v1", "pets/ViT-B/32:v2")
    ]
    assert registry.tags_of(DIGITS, 1) == ("prod",)
    assert registry.tags_of(DIGITS, 2) == ("latest",)
    assert registry.find(KeyRef(PETS, tag="cafe")).version == 1


def test_it_verifies_and_the_dangling_tag_is_a_note(registry, capsys):
    assert main(["verify", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["level"] == "dangling"
    assert main(["tag", "digits/mini", "gone", "--delete"]) == 0
    assert registry.verify() == []


def test_it_goes_on_where_it_was(registry):
    entry = registry.find(KeyRef(DIGITS, 1))
    assert registry.publish(registry.read(entry), entry.manifest) == entry
    assert registry.publish(b"new", entry.manifest).version == 4  # v3 was removed


def test_two_versions_of_one_prompt_stay_two_and_one_can_go(registry):
    first, second = (registry.find(KeyRef(PETS, number)) for number in (1, 2))
    assert first.digest == second.digest
    registry.remove(PETS, 1)
    assert registry.read(second)
    assert [found.level for found in registry.verify()] == ["dangling"]


@pytest.mark.parametrize("name", ["prompt.pt", "prompt.safetensors"])
def test_its_prompt_files_open(registry, name):
    stored = read_prompt_file(KEPT / name)
    assert stored.manifest.key == PETS
    assert stored.digest == registry.find(KeyRef(PETS, 1)).digest
