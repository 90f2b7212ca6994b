"""What the shell offers for a half-typed word: names that this machine knows, and no error ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from evpcli.domain.errors import EvpError
from evpcli.domain.settings import BASELINES
from evpcli.engine.images.corruption_names import CORRUPTION_NAMES


def complete_datasets(incomplete: str) -> list[str]:
    """Short names of the catalog, and names of own folders."""
    from evpcli.engine.datasets.public.catalog import CATALOG
    from evpcli.engine.datasets.remembered import list_remembered

    return _offer(incomplete, lambda: [*CATALOG, *list_remembered()])


def complete_backbones(incomplete: str) -> list[str]:
    """Names of the catalog."""
    from evpcli.engine.backbones.catalog import CATALOG

    return _offer(incomplete, lambda: [entry.name for entry in CATALOG])


def complete_prompts(incomplete: str) -> list[str]:
    """Keys of the registry; behind a colon their versions, tags and `best`."""
    return _offer(incomplete, lambda: _list_prompts(has_colon=":" in incomplete))


def complete_runs(incomplete: str) -> list[str]:
    """`last`, and the training runs, the newest first."""
    return _offer(incomplete, lambda: ["last", *_list_runs()])


def complete_corruptions(incomplete: str) -> list[str]:
    """Names of corruptions with all their severities."""
    return _offer(incomplete, lambda: [f"{name}:1..5" for name in CORRUPTION_NAMES])


def complete_baselines(incomplete: str) -> list[str]:
    """The next name of a comma-separated list."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [
        f"{before}{comma}{name}" for name in _offer(last, lambda: BASELINES) if name not in taken
    ]


def _offer(incomplete: str, list_names: Callable[[], Iterable[str]]) -> list[str]:
    with suppress(EvpError, OSError, ValueError):
        return [name for name in list_names() if name.startswith(incomplete)]
    return []


def _list_prompts(*, has_colon: bool) -> list[str]:
    from evpcli.engine.files.paths import find_registry
    from evpcli.engine.prompts.registry.registry import Registry

    registry = Registry(find_registry())
    entries = registry.survey().entries
    keys = dict.fromkeys(str(entry.key) for entry in entries)
    if not has_colon:
        return list(keys)
    refs = [str(entry.ref) for entry in entries]
    refs += [f"{e.key}:{tag}" for e in entries for tag in registry.tags_of(e.key, e.version)]
    return [*refs, *(f"{key}:best" for key in keys)]


def _list_runs() -> list[str]:
    from evpcli.engine.files.paths import find_runs
    from evpcli.engine.training.run_folder import list_runs

    return [run.id for run in list_runs(find_runs())]
