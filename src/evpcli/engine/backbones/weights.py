"""Files of weights: published ones and how they are fetched, local ones and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evpcli.domain.errors import EvpError, NetworkError
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.file_kinds import find_file_kind, is_whole_safetensors
from evpcli.engine.files.hub import check_hub_reachable, explain_hub_error, find_endpoint
from evpcli.engine.files.offline import is_offline

_SAFE_NAME = "open_clip_model.safetensors"
_TIMM_FILE = "model.safetensors"


class Published(Protocol):
    """Published weights of one backbone: whether they are here, and how they come."""

    def find_local(self) -> Path | None:
        """The file on this machine, if a download was completed."""

    def fetch(self, entry: BackboneEntry, *, offline: bool) -> Path:
        """The file, downloaded if need be."""


@dataclass(frozen=True)
class PublishedWeights:
    """One safetensors file on the Hugging Face hub."""

    repository: str
    filename: str

    @classmethod
    def from_entry(cls, entry: BackboneEntry) -> PublishedWeights | None:
        """The file of a catalog entry, known without any library; nothing for other models."""
        filename = _TIMM_FILE if entry.kind == "timm" else _SAFE_NAME
        return cls(entry.repository, filename) if entry.repository else None

    @classmethod
    def from_tag(cls, entry: BackboneEntry, tag_config: dict[str, Any]) -> PublishedWeights:
        """The safetensors twin of what open_clip's tag names.

        Raises:
            NetworkError: the tag has no file on the hub; older routes run pickled code.
        """
        repository, _, filename = tag_config.get("hf_hub", "").rpartition("/")
        if not repository or (filename and not filename.endswith(".safetensors")):
            raise NetworkError(
                f"the weights of {entry.name} are not published as safetensors",
                hint="fetch them yourself and pass --weights FILE",
            )
        return cls(repository, filename or _SAFE_NAME)

    @classmethod
    def from_timm(cls, entry: BackboneEntry, cfg: Any) -> PublishedWeights:
        """The file that timm's `PretrainedCfg` of a model names.

        Raises:
            NetworkError: it is not published in timm's own layout.
        """
        repository = f"timm/{entry.architecture}.{cfg.tag}"
        if cfg.hf_hub_id != repository or cfg.hf_hub_filename:
            raise NetworkError(
                f"the weights of {entry.name} are not published in timm's own layout",
                hint="fetch them yourself and pass --weights FILE",
            )
        return cls(repository, _TIMM_FILE)

    def find_local(self) -> Path | None:
        """The file in the hub's cache, if a download was completed: as long as its header says."""
        found = self._find_cached()
        return found if found and is_whole_safetensors(found) else None

    def _find_cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.filename)
        return Path(found) if isinstance(found, str) else None

    def fetch(self, entry: BackboneEntry, *, offline: bool) -> Path:
        """The file, downloaded if need be.

        Raises:
            NetworkError: it is not here and `offline`, or the download fails.
        """
        local = self.find_local()
        if local:
            return local
        where = f"{self.filename} of {self.repository}"
        check_online(entry, where, offline=offline)
        check_hub_reachable(
            f"the weights of {entry.name}", "check the connection, or pass --weights FILE"
        )
        from huggingface_hub import hf_hub_download

        again = self._find_cached() is not None  # it is cut off, which the client does not see
        try:
            path = Path(
                hf_hub_download(
                    self.repository,
                    self.filename,
                    force_download=again,
                    endpoint=find_endpoint(),
                )
            )
        except EvpError:  # a signal's, which must stay what it is
            raise
        except Exception as error:  # the hub client raises many unrelated kinds
            raise explain_hub_error(error, f"the weights of {entry.name}", where) from error
        return _check_downloaded(path)


def check_online(entry: BackboneEntry, where: str, *, offline: bool) -> None:
    """Refuse a download where no connection may be opened.

    Raises:
        NetworkError: evp is offline; names the file and the command that fetches it.
    """
    if is_offline(offline):
        raise NetworkError(
            f"the weights of {entry.name} are not on this machine and evp is offline",
            found=f"no {where}",
            hint=f"run `evp backbones download {entry.name}` while online, or pass --weights FILE",
        )


def _check_downloaded(path: Path) -> Path:
    """Give the path back if it is a safetensors file; else remove it.

    Raises:
        NetworkError: something else came, such as the page of a network that wants a login.
    """
    if is_whole_safetensors(path):
        return path
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise NetworkError(
        "what was downloaded is no whole safetensors file",
        hint="check what answers in place of the hub, then try again",
    )


def check_weights_file(path: Path) -> Path:
    """Give a local file of weights back if its first bytes are those of a kind that evp reads.

    Raises:
        NotFoundError: there is no such file.
        IncompatibleError: it is something else.
    """
    find_file_kind(path)
    return path


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
