"""What a verb must fetch is named before anything is fetched."""

from __future__ import annotations

from evpcli.commands.output import terminal
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.fitting.downloads import check_offline, list_downloads


def announce_downloads(
    dataset: str | None, backbone: str, *, has_weights: bool, offline: bool
) -> None:
    """Name each download on stderr, or refuse where no connection may be opened.

    Args:
        dataset: a short name or a folder; nothing where none is needed.
        backbone: its name, which must be known to the catalog.
        has_weights: whether a local checkpoint takes the place of the published weights.
        offline: whether connections are forbidden.

    Raises:
        NetworkError: something is missing and evp is offline.
        NotFoundError: no such dataset or backbone.
    """
    downloads = list_downloads(dataset, find_entry(backbone), has_weights=has_weights)
    check_offline(downloads, offline=offline)
    for download in downloads:
        terminal.note(f"to download: {download.what} ({download.size})")
