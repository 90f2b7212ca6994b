"""Where `evp` keeps things: EVP_HOME, or the platform's own folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from evpcli.domain.errors import UsageError


def find_home() -> Path:
    """The data folder: registry and runs. EVP_HOME moves it."""
    chosen = os.environ.get("EVP_HOME")
    if chosen:
        return expand_path(chosen).absolute()
    return Path(platformdirs.user_data_dir("evp", appauthor=False))


def find_cache() -> Path:
    """The cache folder: datasets and what can be computed again. Below EVP_HOME if that is set."""
    if os.environ.get("EVP_HOME"):
        return find_home() / "cache"
    return Path(platformdirs.user_cache_dir("evp", appauthor=False))


def find_registry() -> Path:
    """The registry's root folder; it need not exist yet."""
    return find_home() / "registry"


def find_runs() -> Path:
    """The folder of training runs; it need not exist yet."""
    return find_home() / "runs"


def find_weights() -> Path:
    """The folder that says where local weights are; it need not exist yet."""
    return find_home() / "weights"


def find_folders() -> Path:
    """The folder that remembers where own pictures lie; it need not exist yet."""
    return find_home() / "folders"


@dataclass(frozen=True)
class Places:
    """Where a fit keeps what it makes.

    Args:
        registry: root folder of the registry.
        runs: folder of training runs.
    """

    registry: Path
    runs: Path

    @classmethod
    def usual(cls) -> Places:
        """The user's own."""
        return cls(find_registry(), find_runs())

    @classmethod
    def below(cls, home: Path) -> Places:
        """As EVP_HOME would place them below a folder."""
        return cls(home / "registry", home / "runs")


def find_datasets() -> Path:
    """The folder of downloaded datasets; it need not exist yet."""
    return find_cache() / "datasets"


def find_pixels() -> Path:
    """The folder of decoded pictures; it need not exist yet, and can be deleted at any time."""
    return find_cache() / "pixels"


def find_texts() -> Path:
    """The folder of encoded class texts; it need not exist yet, and can be deleted at any time."""
    return find_cache() / "texts"


def expand_path(text: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by that home folder.

    Raises:
        UsageError: there is no such user, or no home folder is known.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            "the home folder that the path starts with is not known",
            found=repr(str(text)[:200]),
            hint="write the path in full, or ./~name for a file of that name",
        ) from error
