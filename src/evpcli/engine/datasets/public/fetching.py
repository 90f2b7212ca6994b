"""A published dataset: fetched, unpacked, checked, and read."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evpcli.domain.errors import DamagedError, NetworkError, NotFoundError, StorageError
from evpcli.domain.names import clean_class_name
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.public.completion import (
    dataset_folder,
    download_folder,
    find_state,
    leftovers,
    missing_files,
    read_completion,
    uses_hub_copy,
    write_completion,
)
from evpcli.engine.datasets.public.hub_copy import (
    describe_sizes,
    fetch_copy,
    read_copy,
    unpack_copy,
)
from evpcli.engine.datasets.public.spec import DatasetSpec, HubCopy, SourceFile, Split
from evpcli.engine.files.archives import is_archive, unpack_archive
from evpcli.engine.files.download import (
    Progress,
    ProgressCallback,
    fetch_file,
    hash_file,
    matches_checksum,
)
from evpcli.engine.files.offline import is_offline

_SHOWN = 8
"""How many missing files an error names."""


def fetch_dataset(
    spec: DatasetSpec,
    root: Path,
    *,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Make a dataset ready: download what is missing, unpack what is not whole.

    Raises:
        NetworkError: something must be downloaded and cannot be, or what came is wrong.
        NotFoundError: it must be placed by hand.
        DamagedError: an archive is broken or hostile.
        StorageError: the disk is full or closed.
    """
    state = find_state(spec, root)
    if state == "ready":
        return
    if state == "manual":
        raise _explain_manual(spec, root)
    try:
        with _alone(root, spec):
            if find_state(spec, root) == "ready":  # another process was at it
                return
            if spec.hub:
                _fetch_copy(spec, spec.hub, root, offline, on_progress)
            else:
                _fetch_files(spec, root, offline, on_progress)
            shutil.rmtree(download_folder(root, spec), ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"cannot prepare {spec.name}", found=f"{error.strerror or error} in {root}"
        ) from error


def read_dataset(spec: DatasetSpec, root: Path) -> Dataset:
    """A dataset whose files are ready.

    Raises:
        DamagedError: its files are not as the source lays them out, or not as many.
    """
    from evpcli.engine.datasets.public.layouts import READERS
    from evpcli.engine.datasets.stored import hash_listing

    folder = dataset_folder(root, spec)
    copy = spec.hub if uses_hub_copy(root, spec) else None
    try:
        reading = read_copy(folder, copy) if copy else READERS[spec.layout](folder, spec)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise _explain_damage(spec, folder, str(error) or type(error).__name__) from error
    sizes = {split: len(part) for split, part in reading.splits.items()}
    is_right = copy is not None or _has_sizes(spec, sizes)
    if not is_right or len(reading.source_classes) != spec.classes:
        found = f"{len(reading.source_classes)} classes, {sizes}"
        raise _explain_damage(spec, folder, f"{found} instead of {dict(spec.sizes)}")
    completion = read_completion(folder)
    sources = sorted(completion.sources.values()) if completion else []
    return Dataset(
        name=spec.name,
        class_names=_name_classes(spec, copy, reading.source_classes),
        splits=reading.splits,
        fingerprint=hash_listing(reading.splits, reading.source_classes, [spec.name, *sources]),
        split_rule=copy.split_rule if copy else spec.split_rule,
        templates=spec.templates,
        flip=spec.flip,
        licence=spec.licence,
        source_classes=reading.source_classes,
        warnings=describe_sizes(copy, sizes) if copy else (),
    )


def _name_classes(
    spec: DatasetSpec, copy: HubCopy | None, source_classes: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes in words; a copy on the hub has its own label order."""
    if copy:
        return copy.class_names or tuple(map(clean_class_name, source_classes))
    return spec.class_names or _read_names(spec, source_classes)


def _has_sizes(spec: DatasetSpec, sizes: dict[Split, int]) -> bool:
    if "test" in spec.sizes:
        return sizes == dict(spec.sizes)
    return sum(sizes.values()) == sum(spec.sizes.values())


@contextmanager
def _alone(root: Path, spec: DatasetSpec) -> Iterator[None]:
    """Wait until no other process prepares the same dataset; the lock dies with its process."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f".lock-{spec.name}", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_names(spec: DatasetSpec, source_classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names on disk as words; Country211 has codes there."""
    from evpcli.engine.datasets.public.class_words import COUNTRIES

    if spec.layout == "country211":
        source_classes = tuple(COUNTRIES.get(code, code) for code in source_classes)
    return tuple(clean_class_name(name.replace("/", " ")) for name in source_classes)


def _fetch_files(
    spec: DatasetSpec, root: Path, offline: bool, on_progress: ProgressCallback | None
) -> None:
    """Download a source's own files and unpack them."""
    waiting = download_folder(root, spec)
    hashes = {
        source.file_name: _fetch_source(spec, source, waiting, offline, on_progress)
        for source in spec.files
    }
    with _fresh_folder(spec, root) as fresh:
        left_out = sum(
            _unpack_source(source, waiting / source.file_name, fresh, on_progress)
            for source in spec.files
        )
        write_completion(fresh, hashes, left_out)
        _put_in_place(fresh, dataset_folder(root, spec))


def _fetch_copy(
    spec: DatasetSpec,
    copy: HubCopy,
    root: Path,
    offline: bool,
    on_progress: ProgressCallback | None,
) -> None:
    """Download a copy from the hub and unpack its shards."""
    waiting = download_folder(root, spec)
    origin = fetch_copy(spec, copy, waiting, offline=offline, on_progress=on_progress)
    with _fresh_folder(spec, root) as fresh:
        hashes = unpack_copy(spec, copy, waiting, fresh, on_progress)
        write_completion(fresh, hashes, 0, origin)
        _put_in_place(fresh, dataset_folder(root, spec))


def _fetch_source(
    spec: DatasetSpec,
    source: SourceFile,
    waiting: Path,
    offline: bool,
    on_progress: ProgressCallback | None,
) -> str:
    """One archive in the waiting folder, kept from an earlier try if it is right; its SHA-256."""
    target = waiting / source.file_name
    if target.is_file():  # whole: a download is renamed last, and people put whole files here
        hashes = hash_file(target)
        if matches_checksum(source.checksum, hashes):
            return hashes["sha256"]
    if is_offline(offline):
        raise NetworkError(
            f"the dataset {spec.name} is not on this machine, and evp is told to stay offline",
            found=f"missing {source.file_name} from {source.url}",
            hint=f"run evp datasets download {spec.name} where there is a network",
        )
    try:
        return fetch_file(
            source.url,
            target,
            checksum=source.checksum,
            mirrors=source.mirrors,
            on_progress=on_progress,
        )
    except NetworkError as error:
        error.hint = (
            f"{error.hint or 'try again later'}; or get {source.file_name} elsewhere "
            f"({spec.homepage}) and put it into {waiting}"
        )
        raise


@contextmanager
def _fresh_folder(spec: DatasetSpec, root: Path) -> Iterator[Path]:
    """An empty folder to unpack into; what an earlier try left goes away before and after."""
    for old in leftovers(root, spec):
        shutil.rmtree(old, ignore_errors=True)
    fresh = root / f".unpacking-{spec.name}-{os.getpid()}"
    fresh.mkdir(parents=True)
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unpack_source(
    source: SourceFile, path: Path, fresh: Path, on_progress: ProgressCallback | None
) -> int:
    """Unpack one download, then the archives inside it; how many members were left out."""

    def tell(files: int) -> None:
        if on_progress and files % 100 == 0:
            on_progress(Progress("unpack", path.name, files))

    if not is_archive(path.name) and not path.name.endswith(".gz"):
        shutil.copyfile(path, fresh / path.name)
        return 0
    left_out = unpack_archive(path, fresh, on_file=tell).left_out
    for name in source.inner:
        inner = fresh / name
        left_out += unpack_archive(inner, fresh, on_file=tell).left_out
        inner.unlink()
    return left_out


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Swap the complete folder in; a half one that was there goes away."""
    aside = folder.with_name(f".unpacking-{folder.name}-old-{os.getpid()}")
    if folder.exists():
        os.rename(folder, aside)
    os.rename(fresh, folder)
    shutil.rmtree(aside, ignore_errors=True)


def _explain_manual(spec: DatasetSpec, root: Path) -> NotFoundError:
    missing = missing_files(spec, root)
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return NotFoundError(
        f"the dataset {spec.name} cannot be downloaded by a program",
        found=f"missing {', '.join(missing[:_SHOWN])}{more}",
        hint=f"get it from {spec.homepage} and put the files into {dataset_folder(root, spec)}",
    )


def _explain_damage(spec: DatasetSpec, folder: Path, found: str) -> DamagedError:
    hint = f"delete {folder} and run evp datasets download {spec.name}"
    if spec.needed and folder.name == spec.name:
        hint = f"replace the files in {folder}; they come from {spec.homepage}"
    return DamagedError(
        f"the files of {spec.name} are not what its source gives out", found=found[:300], hint=hint
    )


def rename_dataset(dataset: Dataset, name: str | None) -> Dataset:
    """The same dataset filed under another name."""
    return dataset if name is None else replace(dataset, name=name)
