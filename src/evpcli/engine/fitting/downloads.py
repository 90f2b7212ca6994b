"""What a piece of work needs and this machine lacks, found before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from evpcli.domain.errors import NetworkError
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.published import find_published
from evpcli.engine.datasets.catalog import find_dataset_spec
from evpcli.engine.datasets.public.completion import find_state
from evpcli.engine.datasets.public.spec import DatasetSpec
from evpcli.engine.files.offline import is_offline
from evpcli.engine.files.paths import find_datasets


@dataclass(frozen=True)
class Download:
    """Something to fetch: what it is, roughly how large, and the command that fetches it."""

    what: str
    size: str
    command: str


def list_downloads(
    dataset: str | None, entry: BackboneEntry, *, has_weights: bool = False
) -> tuple[Download, ...]:
    """What must be downloaded before a dataset and a backbone can be used.

    Args:
        dataset: a short name or a folder, or nothing where none is needed.
        entry: the backbone.
        has_weights: whether a local checkpoint takes the place of the published weights.

    Raises:
        NotFoundError: no such dataset.
    """
    found = []
    spec = find_dataset_spec(dataset) if dataset is not None else None
    if spec and find_state(spec, find_datasets()) != "ready":
        command = f"evp datasets download {spec.name}"
        found.append(Download(f"the dataset {spec.name}", _say_size(spec), command))
    if not (has_weights or entry.is_packaged or find_published(entry).find_local()):
        command = f"evp backbones download {entry.name}"
        found.append(Download(f"the weights of {entry.name}", entry.size, command))
    return tuple(found)


def _say_size(spec: DatasetSpec) -> str:
    if not (spec.files or spec.hub):
        return f"to be placed by hand: see evp datasets show {spec.name}"
    return spec.size or "its size is told when it begins"


def check_offline(downloads: tuple[Download, ...], *, offline: bool) -> None:
    """Refuse to go on where something is missing and no connection may be opened.

    Raises:
        NetworkError: names everything that is missing and the commands that fetch it.
    """
    if downloads and is_offline(offline):
        raise NetworkError(
            "evp is offline and this machine lacks " + " and ".join(d.what for d in downloads),
            hint="while online, run: " + "; ".join(d.command for d in downloads),
        )
