"""Where a backbone's published weights are, asked of its library where the catalog cannot say."""

from __future__ import annotations

from pathlib import Path

from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.weights import Published, PublishedWeights


def find_published(entry: BackboneEntry) -> Published:
    """Where a backbone's weights are published; asking a library takes seconds.

    Raises:
        NotFoundError: the library knows no such model or tag.
        NetworkError: the weights are not published as files that evp reads.
    """
    known = PublishedWeights.from_entry(entry)
    if known:
        return known
    if entry.kind == "timm":
        from evpcli.engine.backbones.timm_model import find_timm_cfg

        return PublishedWeights.from_timm(entry, find_timm_cfg(entry))
    if entry.kind == "torchvision":
        from evpcli.engine.backbones.torchvision_model import TorchvisionWeights

        return TorchvisionWeights.from_entry(entry)
    from evpcli.engine.backbones.clip import find_tag_config

    return PublishedWeights.from_tag(entry, find_tag_config(entry))


def fetch_published(entry: BackboneEntry, *, offline: bool) -> Path:
    """The published weights of a backbone, downloaded if need be.

    Raises:
        NotFoundError: the library knows no such model or tag.
        NetworkError: they are not here and `offline`, or cannot be fetched.
    """
    return find_published(entry).fetch(entry, offline=offline)
