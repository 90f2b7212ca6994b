"""Which versions `evp rm` was asked to remove, and the removal of one with its tags."""

from __future__ import annotations

from contextlib import suppress

from evpcli.domain.errors import DamagedError, EvpError, UsageError
from evpcli.domain.reference import DigestRef, FileRef, KeyRef, PromptKey, parse_prompt_ref
from evpcli.engine.storage.registry import Registry
from evpcli.engine.storage.registry_layout import name_folder
from evpcli.engine.storage.registry_survey import read_tag


def parse_registry_ref(text: str) -> KeyRef | DigestRef:
    """A reference to the registry; UsageError when the text names a file."""
    ref = parse_prompt_ref(text)
    if isinstance(ref, FileRef):
        raise UsageError("this is a file, not a prompt in the registry", found=str(ref)[:200])
    return ref


def find_doomed(registry: Registry, text: str, whole_key: bool) -> list[tuple[PromptKey, int]]:
    """Key and number of each version that `evp rm` was asked to remove."""
    ref = parse_registry_ref(text)
    versions = registry.list_versions(ref.key) if isinstance(ref, KeyRef) else []
    if not isinstance(ref, KeyRef) or ref.tag or (ref.version or 0) not in [0, *versions]:
        entry = registry.find(ref)
        return [(entry.key, entry.version)]
    if ref.version:
        return [(ref.key, ref.version)]  # damaged or not
    if not whole_key or not versions:
        newest = registry.find(ref)
        raise UsageError(
            "evp rm removes single versions",
            found=str(ref),
            hint=f"name one, such as {newest.ref}, or add --all-versions",
        )
    return [(ref.key, version) for version in versions]


def remove_version(registry: Registry, key: PromptKey, version: int) -> None:
    """Remove one version, damaged or not, and its tags."""
    try:
        entry = registry.find(KeyRef(key, version))
    except DamagedError:
        registry.discard(key, version)
    else:
        registry.remove(entry)


def list_tags(registry: Registry, key: PromptKey, version: int) -> list[str]:
    """The tags of one version, damaged or not, sorted; damaged tags are left out."""
    found = []
    for name in registry.layout.list_names(registry.layout.tags / name_folder(key)):
        tag = name.removesuffix(".json")
        with suppress(EvpError):
            if read_tag(registry.layout, key, tag) == version:
                found.append(tag)
    return sorted(found)
