"""What `evp rm` and `evp tag --delete` were asked to remove."""

from __future__ import annotations

from dataclasses import dataclass

from evpcli.domain.errors import UsageError
from evpcli.domain.reference import DigestRef, FileRef, KeyRef, PromptKey, parse_prompt_ref
from evpcli.engine.prompts.registry.registry import Registry


def parse_registry_ref(text: str) -> KeyRef | DigestRef:
    """A reference to the registry; UsageError when the text names a file."""
    ref = parse_prompt_ref(text)
    if isinstance(ref, FileRef):
        raise UsageError("this is a file, not a prompt in the registry", found=str(ref)[:200])
    return ref


@dataclass(frozen=True)
class Doomed:
    """A version that is to be removed, and the tag by which it was meant, if it was one."""

    key: PromptKey
    version: int
    named: str | None = None

    def __str__(self) -> str:
        return str(KeyRef(self.key, self.version))


def find_doomed(registry: Registry, text: str, whole_key: bool) -> list[Doomed]:
    """Each version that `evp rm` was asked to remove."""
    ref = parse_registry_ref(text)
    versions = registry.list_versions(ref.key) if isinstance(ref, KeyRef) else []
    if not isinstance(ref, KeyRef) or ref.tag or (ref.version or 0) not in [0, *versions]:
        entry = registry.find(ref)
        tag = ref.tag if isinstance(ref, KeyRef) and ref.tag != "best" else None
        return [Doomed(entry.key, entry.version, tag)]
    if ref.version:
        return [Doomed(ref.key, ref.version)]  # damaged or not
    if not whole_key or not versions:
        newest = registry.find(ref)
        raise UsageError(
            "evp rm removes single versions",
            found=str(ref),
            hint=f"name one, such as {newest.ref}, or add --all-versions",
        )
    return [Doomed(ref.key, version) for version in versions]


def forget_tag(registry: Registry, ref: KeyRef | DigestRef, tag: str) -> PromptKey:
    """Forget a tag, also one whose version was removed.

    Args:
        registry: where it is.
        ref: the key alone, the same tag, or the version that the tag must mean.
        tag: its name.

    Returns:
        The key that had it.

    Raises:
        NotFoundError: there is no such tag, or it means another version.
    """
    if isinstance(ref, KeyRef) and ref.tag in (None, tag):
        registry.untag(ref.key, tag, ref.version)
        return ref.key
    entry = registry.find(ref)
    registry.untag(entry.key, tag, entry.version)
    return entry.key
