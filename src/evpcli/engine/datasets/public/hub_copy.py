"""Copies of datasets on the Hugging Face hub: WebDataset shards in CLIP_benchmark's layout.

`classnames.txt` holds one class a line in label order. A split is a folder with `nshards.txt`, the
number of shards, and `0.tar`, `1.tar` ...; a shard holds each image beside a `.cls` file with its
label. A copy with one split holds all images as `test`.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.domain.errors import DamagedError, EvpError, NetworkError
from evpcli.engine.datasets.public.spec import DatasetSpec, HubCopy, Split
from evpcli.engine.files.archives import unpack_archive
from evpcli.engine.files.download import Progress, ProgressCallback, hash_file
from evpcli.engine.files.hub import check_hub_reachable, explain_hub_error, find_endpoint
from evpcli.engine.files.offline import is_offline

if TYPE_CHECKING:
    from evpcli.engine.datasets.stored import Reading

_CLASSES = "classnames.txt"
_SHARDS = "nshards.txt"
_LABELS = "labels.csv"
_LABEL_ENDING = "cls"
_IMAGE_ENDINGS = ("webp", "png", "jpg", "jpeg")
_LOOK_EVERY_S = 1.0


def fetch_copy(
    spec: DatasetSpec,
    copy: HubCopy,
    waiting: Path,
    *,
    offline: bool,
    on_progress: ProgressCallback | None,
) -> str:
    """Download what a copy's splits need, unless it is here; what came earlier is kept.

    Args:
        spec: the dataset.
        copy: its copy on the hub.
        waiting: where the files go, laid out as in the repository.
        offline: open no connection.
        on_progress: told the bytes that are here.

    Returns:
        `repository@commit`, or the repository alone where somebody placed the files by hand.

    Raises:
        NetworkError: something must be downloaded and cannot be.
    """
    if _is_whole(copy, waiting):
        return copy.repository
    what = f"the images of {spec.name}"
    by_hand = f"get the files of {copy.repository} elsewhere and put them into {waiting}"
    if is_offline(offline):
        raise NetworkError(
            f"the dataset {spec.name} is not on this machine, and evp is told to stay offline",
            found=f"missing the shards of {copy.repository}",
            hint=f"run evp datasets download {spec.name} where there is a network",
        )
    check_hub_reachable(what, f"check the connection, or {by_hand}")
    try:
        return _download(spec, copy, waiting, on_progress)
    except EvpError:  # a signal's, which must stay what it is
        raise
    except Exception as error:  # the hub client raises many unrelated kinds
        if isinstance(error, OSError) and error.errno is not None:  # the disk's
            raise
        where = f"shards of {copy.repository}"
        found = explain_hub_error(error, what, where, page="datasets/")
        found.hint = f"{found.hint or 'try again later'}; or {by_hand}"
        raise found from error


def unpack_copy(
    spec: DatasetSpec,
    copy: HubCopy,
    waiting: Path,
    folder: Path,
    on_progress: ProgressCallback | None,
) -> dict[str, str]:
    """Unpack the shards into one folder a split, with one list of labels each.

    Returns:
        The SHA-256 of each shard, by its path in the repository.

    Raises:
        DamagedError: a shard is broken, an image has no label, or a label has no class.
    """
    classes = _read_classes(waiting)
    (folder / _CLASSES).write_text("\n".join(classes) + "\n", encoding="utf-8")
    hashes = {}
    for split, part in _list_parts(copy):
        rows: list[tuple[str, int]] = []
        for number in range(_count_shards(waiting / part)):
            shard = waiting / part / f"{number}.tar"
            if on_progress:
                on_progress(Progress("unpack", f"{spec.name} {part}", len(rows)))
            unpack_archive(shard, folder / split / str(number))
            rows += _collect_labels(folder, f"{split}/{number}", len(classes), shard)
            hashes[f"{part}/{number}.tar"] = hash_file(shard)["sha256"]
        with open(folder / split / _LABELS, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return hashes


def read_copy(folder: Path, copy: HubCopy) -> Reading:
    """The images of an unpacked copy; without a test split, ours is taken out of each class."""
    from evpcli.engine.datasets.public.file_layouts import hold_out
    from evpcli.engine.datasets.stored import FilePictures, Reading

    splits = {}
    for split in copy.sizes:
        with open(folder / split / _LABELS, encoding="utf-8", newline="") as file:
            rows = sorted((name, int(label)) for name, label in csv.reader(file))
        names, labels = zip(*rows, strict=True)
        splits[split] = FilePictures(folder, names, labels)
    reading = Reading(splits, tuple(_read_classes(folder)))
    return reading if "test" in copy.sizes else hold_out(reading)


def describe_sizes(copy: HubCopy, sizes: dict[Split, int]) -> tuple[str, ...]:
    """A warning where the copy holds other numbers of images than evp knows of; else nothing."""
    known = dict(copy.sizes)
    if sizes == known or ("test" not in known and sum(sizes.values()) == sum(known.values())):
        return ()
    return (f"the copy {copy.repository} holds {sizes}, not {known}: it has changed",)


def _list_parts(copy: HubCopy) -> list[tuple[Split, str]]:
    """Our splits and the folders of the repository that hold them."""
    if "test" not in copy.sizes:
        return [("train", "test")]
    return [(split, split) for split in copy.sizes]


def _count_shards(part: Path) -> int:
    return int((part / _SHARDS).read_text(encoding="utf-8"))


def _read_classes(folder: Path) -> list[str]:
    lines = (folder / _CLASSES).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _is_whole(copy: HubCopy, waiting: Path) -> bool:
    """Whether every file that the splits need is here; a file has its name only when whole."""
    try:
        return (waiting / _CLASSES).is_file() and all(
            (waiting / part / f"{number}.tar").is_file()
            for _, part in _list_parts(copy)
            for number in range(_count_shards(waiting / part))
        )
    except (OSError, ValueError):
        return False


def _download(
    spec: DatasetSpec, copy: HubCopy, waiting: Path, on_progress: ProgressCallback | None
) -> str:
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = find_endpoint()
    info = HfApi(endpoint).repo_info(
        copy.repository, repo_type="dataset", revision=copy.revision, files_metadata=True
    )
    folders = tuple(f"{part}/" for _, part in _list_parts(copy))
    sizes = {
        file.rfilename: file.size or 0
        for file in info.siblings or ()
        if file.rfilename == _CLASSES
        or (file.rfilename.startswith(folders) and file.rfilename.endswith((".tar", _SHARDS)))
    }
    waiting.mkdir(parents=True, exist_ok=True)
    with _watching(spec.name, waiting, sum(sizes.values()), on_progress):
        for name in sorted(sizes):  # in this thread, so that a signal ends it at once
            hf_hub_download(
                copy.repository,
                name,
                repo_type="dataset",
                revision=info.sha,
                local_dir=waiting,
                endpoint=endpoint,
            )
    if not _is_whole(copy, waiting):
        raise NetworkError(
            f"the hub's copy of {spec.name} lacks files",
            found=f"{copy.repository}@{info.sha} has {', '.join(sorted(sizes))[:200]}",
            hint=f"the copy has changed; the source is at {spec.homepage}",
        )
    return f"{copy.repository}@{info.sha}"


@contextmanager
def _watching(
    name: str, folder: Path, total: int, on_progress: ProgressCallback | None
) -> Iterator[None]:
    """Tell every second how many bytes lie in a folder, in place of the client's own bars."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    ended = threading.Event()

    def watch() -> None:
        while on_progress and not ended.wait(_LOOK_EVERY_S):
            done = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            on_progress(Progress("download", name, min(done, total), total or None))

    thread = threading.Thread(target=watch, daemon=True)
    had_bars = not are_progress_bars_disabled()
    disable_progress_bars()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if had_bars:
            enable_progress_bars()


def _collect_labels(
    folder: Path, place: str, classes: int, shard: Path
) -> Iterator[tuple[str, int]]:
    """Each image of an unpacked shard and its label; the files that are no images are removed."""
    images, labels = {}, {}
    for path in (folder / place).rglob("*"):
        key, _, ending = path.relative_to(folder).as_posix().partition(".")
        if path.is_dir():
            continue
        if ending.lower() in _IMAGE_ENDINGS:
            images[key] = path.relative_to(folder).as_posix()
            continue
        if ending == _LABEL_ENDING:
            labels[key] = path.read_text(encoding="utf-8", errors="replace").strip()
        path.unlink()
    for key in sorted(images):
        label = labels.get(key, "")
        if not (label.isascii() and label.isdigit() and len(label) < 9 and int(label) < classes):
            raise DamagedError(
                f"the shard {shard.parent.name}/{shard.name} is damaged",
                found=f"the label of {key} is {label[:40]!r}, with {classes} classes",
            )
        yield images[key], int(label)
