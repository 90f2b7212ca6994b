"""What must hold in a registry whatever happened to those who changed it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evpcli.domain.errors import EvpError
from evpcli.domain.reference import KeyRef
from evpcli.engine.files.temporaries import TEMPORARY_PREFIX
from evpcli.engine.prompts.prompt_file import decode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.faults.actions import FIRST, KEY, SECOND, Ended, make_prompt, type_evp


def find_broken(home: Path, ended: Sequence[Ended]) -> list[str]:
    """The promises that a registry from `make_home` breaks after these actions.

    Args:
        home: with the registry.
        ended: the actions, in any order; those that died too.
    """
    registry = Registry(home / "registry")
    broken = find_unsound(registry)
    kept = {entry.ref: registry.read(entry) for entry in registry.entries()}
    by_name = {one.action: one for one in ended}
    if kept.get(FIRST) != make_prompt(1) or registry.tags_of(KEY, 1) != ("kept",):
        broken.append("the version that nobody touched is lost")
    broken += _check_second(registry, kept, by_name)
    for name, number in (("publish", 3), ("import", 3), ("import again", 2)):
        broken += _check_filed(kept, by_name.get(name), number, "rm" in by_name)
    exported = home / "out" / "2.pt"
    if exported.exists() and exported.read_bytes() != make_prompt(2):
        broken.append("an exported file is torn")
    if by_name.get("export") and by_name["export"].code == 0 and not exported.exists():
        broken.append("an acknowledged export is lost")
    return broken + _check_healing(home, registry)


def find_unsound(registry: Registry) -> list[str]:
    """Damage, dangling tags and doubles; prompt files that nobody uses are allowed."""
    broken = [f"{f.level}: {f.problem}" for f in registry.verify() if f.level != "unused"]
    counted = Counter((entry.key, entry.digest) for entry in registry.entries())
    return broken + [f"{key} twice" for (key, _), count in counted.items() if count > 1]


def _check_second(
    registry: Registry, kept: dict[KeyRef, bytes], by_name: dict[str, Ended]
) -> list[str]:
    removal, tags = by_name.get("rm"), registry.tags_of(KEY, 2)
    if removal and removal.code == 0:
        return ["a removed version is there"] * (SECOND in kept)
    broken = []
    if not removal and kept.get(SECOND) != make_prompt(2):
        broken.append("the second version is lost")
    untag, tag = by_name.get("untag"), by_name.get("tag")
    if untag and untag.code == 0 and "doomed" in tags:
        broken.append("a forgotten tag is there")
    if not untag and not removal and "doomed" not in tags:
        broken.append("a tag is lost")
    if tag and tag.code == 0 and not removal and "fresh" not in tags:
        broken.append("an acknowledged tag is lost")
    return broken


def _check_filed(
    kept: dict[KeyRef, bytes], one: Ended | None, number: int, removing: bool
) -> list[str]:
    if not one or not one.told:
        return []
    found = {str(ref): data for ref, data in kept.items()}
    if removing and one.told == str(SECOND):
        return []  # filed before it was removed
    return [f"acknowledged {one.told} is lost"] * (found.get(one.told) != make_prompt(number))


def _check_healing(home: Path, registry: Registry) -> list[str]:
    """The next writer finds nothing in its way, and clears up after the dead."""
    data = make_prompt(4)
    try:
        entry = registry.publish(data, decode_prompt(data).manifest)
    except EvpError as error:
        return [f"the next publish fails: {error.what}: {error.found}"]
    (home / "out" / "2.pt").unlink(missing_ok=True)
    broken = [] if registry.read(entry) == data else ["the next version is not what was filed"]
    type_evp(home, "export", str(FIRST), "-o", str(home / "out" / "1.pt"))
    for folder in (registry.layout.scratch, home / "out"):
        left = [name for name in os.listdir(folder) if name.startswith(TEMPORARY_PREFIX)]
        broken += [f"left over: {name}" for name in left]
    return broken
