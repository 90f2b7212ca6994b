"""What the catalog says about one dataset: torch-free, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlparse

DatasetState = Literal["ready", "partial", "absent", "manual"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class SourceFile:
    """One file to download.

    Args:
        url: https; plain http only with a checksum.
        checksum: `md5:` or `sha256:` and hexadecimal digits, as the source or torchvision states
            it; nothing where neither does.
        inner: archives inside this archive, by their path in it, that are unpacked too.
        mirrors: other addresses of the same bytes, tried in this order.
    """

    url: str
    checksum: str | None
    inner: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlparse(self.url).path).name


@dataclass(frozen=True)
class HubCopy:
    """A dataset on the Hugging Face hub, in WebDataset shards as CLIP_benchmark lays them out.

    Args:
        repository: of datasets on the hub.
        revision: the commit that is fetched, or a branch whose commit is kept with the files.
        sizes: images of each split that it holds.
        split_rule: one sentence on where its splits come from and what it lacks.
        class_names: words in the copy's label order, where its own list has none that fit.
    """

    repository: str
    revision: str
    sizes: Mapping[Split, int]
    split_rule: str
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetSpec:
    """One line of the catalog.

    Args:
        name: short name, only `[a-z0-9]`.
        title: the name people know it by.
        layout: which reader knows its files.
        classes: how many classes it has.
        sizes: pictures a split as the source gives them, checked when it is loaded; without
            `test`, a fixed part of `train` becomes it.
        licence: as the source states it.
        split_rule: one sentence on where the splits come from.
        files: what to download; empty for built-in ones and those with a copy on the hub.
        hub: the copy on the hub that is downloaded, where the source itself gives out nothing
            that a program can fetch; `sizes` and `split_rule` then describe the source's files.
        size: bytes to download as people say them, such as `0.8 GB`; empty where not known.
        flip: whether a mirrored picture keeps its class.
        class_names: words for the text tower where the names on disk are codes or run together,
            in label order.
        templates: sentences with `{}` where the default does not fit.
        homepage: where a person reads about it.
        glyphs: whether its pictures are digits or letters, which the packaged backbone knows.
        needed: files and class folders of the source, for those who have them and place them by
            hand instead of the copy on the hub.
    """

    name: str
    title: str
    layout: str
    classes: int
    sizes: Mapping[Split, int]
    licence: str
    split_rule: str
    files: tuple[SourceFile, ...] = ()
    flip: bool = True
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    homepage: str = ""
    glyphs: bool = False
    needed: tuple[str, ...] = field(default=())
    hub: HubCopy | None = None
    size: str = ""
