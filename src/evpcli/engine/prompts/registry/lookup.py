"""From a reference to one version: by number, tag, digest, or the best measured."""

from __future__ import annotations

from contextlib import suppress

from evpcli.domain.errors import NotFoundError, StorageError, UsageError
from evpcli.domain.names import suggest
from evpcli.domain.reference import DigestRef, KeyRef, PromptKey
from evpcli.engine.prompts.registry.layout import ENTRY_NAME, RegistryLayout
from evpcli.engine.prompts.registry.reading import load_version, read_tag
from evpcli.engine.prompts.registry.record import Entry
from evpcli.engine.prompts.registry.survey import survey_entries

_TRIES = 100


def find_entry(layout: RegistryLayout, ref: KeyRef | DigestRef) -> Entry:
    """The version that a reference means.

    A key alone means its newest version. `:best` is the version with the highest lower bound
    of the 95 % interval of its prompted accuracy: on validation where any version has that,
    else on test; the newer one of equals.

    Raises:
        NotFoundError: there is none; the error suggests the nearest name.
        UsageError: several prompts start with these digits.
        DamagedError: it is there but damaged; the error names a sound version to use.
        StorageError: what would tell cannot be read.
    """
    if isinstance(ref, DigestRef):
        return _find_digest(layout, ref)
    for _ in range(_TRIES):
        numbers = layout.list_numbers(ref.key, ENTRY_NAME)
        if not numbers:
            raise _name_known_keys(layout, ref)
        if ref.tag == "best":
            return _find_best(layout, ref.key, numbers)
        if ref.version and ref.version not in numbers:
            hint = f"the newest is {ref.key}:v{numbers[-1]}"
            raise NotFoundError("no such version", found=str(ref), hint=hint)
        version = _read_tag(layout, ref) if ref.tag else ref.version or numbers[-1]
        with suppress(NotFoundError):  # removed since it was chosen: choose again
            return load_version(layout, ref.key, version)
    raise StorageError("the registry changes too fast to be read", found=str(ref), hint="try again")


def _name_known_keys(layout: RegistryLayout, ref: KeyRef) -> NotFoundError:
    known = {str(entry.key) for entry in survey_entries(layout).entries}
    hint = suggest(str(ref.key), known) or "see evp list"
    return NotFoundError("no such prompt", found=str(ref), hint=hint)


def _read_tag(layout: RegistryLayout, ref: KeyRef) -> int:
    tag = str(ref.tag)
    try:
        version = read_tag(layout, ref.key, tag)
        if layout.has_entry(ref.key, version) or read_tag(layout, ref.key, tag) != version:
            return version
    except NotFoundError as error:
        folder = layout.tag(ref.key, tag).parent
        known = [name.removesuffix(".json") for name in layout.list_names(folder)]
        hint = suggest(tag, known) or f"{ref.key} has the tags: {', '.join(known) or 'none'}"
        raise NotFoundError("no such tag", found=str(ref), hint=hint) from error
    raise NotFoundError(
        "the version that this tag names was removed",
        found=f"{ref.key}:v{version}",
        hint=f"evp tag {ref.key} {tag} --delete forgets the tag",
    )


def _find_digest(layout: RegistryLayout, ref: DigestRef) -> Entry:
    survey = survey_entries(layout)
    found = [entry for entry in survey.entries if entry.digest.startswith(ref.prefix)]
    if len({entry.digest for entry in found}) > 1:
        names = ", ".join(f"{entry.digest[:16]} ({entry.ref})" for entry in found[:4])
        raise UsageError(f"several prompts start with {ref}", found=names, hint="add digits")
    if found:
        return found[-1]
    for fault in survey.faults:
        if fault.level == "unreadable":
            raise StorageError("no readable prompt has this digest", found=fault.problem)
    hint = "some versions are damaged: see evp verify" if survey.faults else "see evp list"
    raise NotFoundError("no prompt has this digest", found=str(ref), hint=hint)


def _find_best(layout: RegistryLayout, key: PromptKey, numbers: list[int]) -> Entry:
    """The best of the versions that are for the newest one's classes."""
    entries: list[Entry] = []
    for number in numbers:
        with suppress(NotFoundError):  # removed since the numbers were read
            entries.append(load_version(layout, key, number))
    classes = entries[-1].manifest.class_names if entries else ()
    entries = [entry for entry in entries if entry.manifest.class_names == classes]
    for split in ("val", "test"):
        rated = [
            (measured.interval[0], entry.version, entry)
            for entry in entries
            if (measured := entry.manifest.find_measurement("prompted", split))
        ]
        if rated:
            return max(rated, key=lambda item: item[:2])[2]
    raise NotFoundError(
        f"no version of {key} has a measured accuracy", hint=f"name one, such as {key}:v1"
    )
