"""Where `evp` keeps things: EVP_HOME, or the platform's own folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def find_home() -> Path:
    """The data folder: registry and runs. EVP_HOME moves it."""
    chosen = os.environ.get("EVP_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
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


def find_datasets() -> Path:
    """The folder of downloaded datasets; it need not exist yet."""
    return find_cache() / "datasets"
