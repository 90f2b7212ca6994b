"""Which backbone a fit takes where none was named: never the toy model for photos."""

from __future__ import annotations

from evpcli.domain.errors import UsageError
from evpcli.engine.backbones.catalog import CATALOG, find_entry
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.published import find_published
from evpcli.engine.datasets.catalog import find_dataset_spec

PACKAGED = "mini"
_SUGGESTED = "ViT-B/32"


def choose_backbone(dataset: str, named: str | None) -> str:
    """The backbone that was named; the packaged one for digits and letters.

    Args:
        dataset: a short name, or a folder.
        named: what the user said.

    Raises:
        UsageError: none was named for pictures that the packaged model cannot know; says which
            are on this machine and what would be downloaded.
    """
    if named:
        return named
    if knows_glyphs(dataset):
        return PACKAGED
    here = [entry.name for entry in CATALOG if _is_here(entry)]
    suggested = find_entry(_SUGGESTED)
    if here:
        hint = f"on this machine: {', '.join(f'-b {name}' for name in here[:4])}"
    else:
        hint = f"-b {suggested.name} downloads {suggested.size}"
    raise UsageError(
        "no backbone was named",
        found=f"{PACKAGED}, which comes with evp, knows digits and letters only",
        hint=f"{hint}; evp backbones list shows all",
    )


def warn_of_toy(dataset: str, backbone: str) -> str | None:
    """What to say where the packaged model is asked about pictures that may be photos."""
    if backbone != PACKAGED or knows_glyphs(dataset):
        return None
    return (
        f"{PACKAGED} is a toy that knows digits and letters: for photos take another backbone, "
        f"such as -b {_SUGGESTED}"
    )


def knows_glyphs(dataset: str) -> bool:
    """Whether these are the digits and letters that the packaged backbone was trained on."""
    spec = find_dataset_spec(dataset)
    return spec is not None and spec.glyphs


def _is_here(entry: BackboneEntry) -> bool:
    return not entry.is_packaged and find_published(entry).find_local() is not None
