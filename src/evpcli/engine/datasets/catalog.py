"""Datasets by name or folder: list, find, load; torch-free until something is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evpcli.domain.errors import EvpError, NotFoundError, UsageError
from evpcli.domain.names import check_name, suggest
from evpcli.engine.datasets.public.catalog import CATALOG
from evpcli.engine.datasets.public.completion import find_state
from evpcli.engine.datasets.public.spec import DatasetSpec, DatasetState
from evpcli.engine.datasets.remembered import list_remembered, recall_folder
from evpcli.engine.files.paths import expand_path

if TYPE_CHECKING:
    from evpcli.engine.datasets.interface import Dataset
    from evpcli.engine.files.download import ProgressCallback

BadImages = Literal["error", "skip"]


@dataclass(frozen=True)
class DatasetListing:
    """A catalog entry and what of it is on this machine."""

    spec: DatasetSpec
    state: DatasetState


def list_datasets(root: Path) -> tuple[DatasetListing, ...]:
    """Every catalog entry with its state below `root`, in catalog order."""
    return tuple(DatasetListing(spec, find_state(spec, root)) for spec in CATALOG.values())


@dataclass(frozen=True)
class OwnFolder:
    """Somebody's own pictures.

    Args:
        path: an absolute path.
        name: that this machine remembers for it; nothing where the folder itself was named.
    """

    path: Path
    name: str | None = None


def find_own_folder(text: str) -> OwnFolder:
    """The folder that a text means which names nothing in the catalog; errors alike."""
    path = _to_path(text)
    if os.path.isdir(path):
        return OwnFolder(path.absolute())
    remembered = recall_folder(text)
    if remembered is None:
        raise _explain_unknown(text, path)
    if not os.path.isdir(remembered):
        raise NotFoundError(
            f"the folder of the dataset {text} is not there any more",
            found=str(remembered),
            hint=f"say where it is now: -d FOLDER --name {text}",
        )
    return OwnFolder(remembered, text)


def find_dataset_spec(text: str) -> DatasetSpec | None:
    """The catalog entry of that short name, or nothing where the text means an own folder.

    Raises:
        NotFoundError: it is neither a name of the catalog, nor a folder, nor the name of one that
            is remembered here.
    """
    if text in CATALOG:
        return CATALOG[text]
    if not text.strip():
        raise UsageError("no dataset is named", hint="`evp datasets list` shows the names")
    find_own_folder(text)
    return None


def _explain_unknown(text: str, path: Path) -> EvpError:
    if os.path.exists(path):
        return UsageError(
            "a dataset is a folder of class folders, not a file",
            found=text,
            hint="unpack it first" if text.endswith((".zip", ".tar", ".gz", ".tgz")) else None,
        )
    near = suggest(text, [*CATALOG, *list_remembered()])
    return NotFoundError(
        "there is no dataset or folder of that name",
        found=repr(text[:200]),
        hint=f"{near + ' ' if near else ''}`evp datasets list` shows the names",
    )


def fetch_by_name(
    name: str,
    *,
    root: Path,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> DatasetSpec:
    """Make a catalog dataset ready on this machine; does nothing if it is.

    Raises:
        NotFoundError: unknown, or to be placed by hand.
        UsageError: `name` is a folder.
        NetworkError: it must be downloaded and cannot be.
    """
    spec = find_dataset_spec(name)
    if spec is None:
        raise UsageError("a folder needs no download", found=name)
    from evpcli.engine.datasets.public.fetching import fetch_dataset

    fetch_dataset(spec, root, offline=offline, on_progress=on_progress)
    return spec


def load_dataset(
    spec: str,
    *,
    root: Path,
    offline: bool = False,
    bad_images: BadImages = "error",
    name: str | None = None,
    on_progress: ProgressCallback | None = None,
    keep_whole: bool = False,
) -> Dataset:
    """The pictures, classes and splits of a catalog name or a folder.

    A catalog dataset that is not ready is downloaded first, unless `offline`.

    Args:
        spec: a short name, else a path, else the name of a folder that is remembered here;
            `./pets` is the folder where `pets` is the name.
        root: the folder of downloaded datasets.
        offline: open no connection.
        bad_images: what happens to pictures of a folder that cannot be decoded.
        name: what the registry files it under; by default the short name, the one that is
            remembered, or the folder's.
        on_progress: told about downloads and checks.
        keep_whole: take no test split out of a folder that has none.

    Raises:
        NotFoundError: there is no such dataset, or it must be placed by hand.
        NetworkError: it must be downloaded and cannot be.
        UsageError: the folder has not the shape of a dataset, or `name` cannot be a name.
        ImageError: a picture of a folder cannot be decoded and `bad_images` is `error`.
        DamagedError: downloaded files are not as they should be.
    """
    found = find_dataset_spec(spec)
    if name is not None:
        _check_new_name(name, found)
    if found is None:
        from evpcli.engine.datasets.folder import load_folder

        own = find_own_folder(spec)
        name = name or own.name
        return load_folder(
            own.path,
            name=name,
            bad_images=bad_images,
            cache=root,
            on_progress=on_progress,
            keep_whole=keep_whole,
        )
    from evpcli.engine.datasets.public.fetching import fetch_dataset, read_dataset, rename_dataset

    if found.layout == "digits":
        from evpcli.engine.datasets.public.digits import load_digits_dataset

        return rename_dataset(load_digits_dataset(found), name)
    fetch_dataset(found, root, offline=offline, on_progress=on_progress)
    return rename_dataset(read_dataset(found, root), name)


def _check_new_name(name: str, spec: DatasetSpec | None) -> None:
    """Refuse a name under which another dataset of the catalog would be looked up."""
    own = spec.name if spec else None
    if check_name(name, "dataset").lower() in CATALOG and name != own:
        raise UsageError(
            "this name belongs to a dataset of the catalog",
            found=name,
            hint=f"choose another, such as --name my-{name}",
        )


def _to_path(text: str) -> Path:
    """The path; one that the system cannot look up at all matches no folder."""
    try:
        path = expand_path(text)
        path.exists()
    except (OSError, ValueError, UsageError) as error:  # too long, a NUL, an unknown ~user
        raise NotFoundError(
            "there is no dataset or folder of that name",
            found=repr(text[:200]),
            hint="`evp datasets list` shows the names",
        ) from error
    return path
