"""Values behind the flags: `--config`, ./evp.toml and the user's own file, in this order."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import typer

from evpcli.domain.errors import UsageError
from evpcli.domain.names import suggest

LOCAL_NAME = "evp.toml"


def apply_configuration(context: typer.Context, path: Path | None) -> Path | None:
    """Put the files' values behind the flags and the environment of one verb.

    A file has one table a verb, e.g. `[fit]` with `epochs = 30`; keys are the long options with
    `_` for `-`. Meant as the eager callback of `--config`.

    Raises:
        UsageError: a file cannot be read, is no TOML, or holds a table or key that does not exist.
    """
    verb = context.info_name or ""
    known = {p.name for p in context.command.params if p.name}
    merged: dict[str, Any] = {}
    for file in reversed(_find_files(path)):
        merged.update(_read_table(file, verb, known))
    context.default_map = {**(context.default_map or {}), **merged}
    return path


def _find_files(chosen: Path | None) -> list[Path]:
    """Configuration files, the strongest first; a chosen one must exist."""
    if chosen and not chosen.is_file():
        raise UsageError("there is no such configuration file", found=str(chosen))
    home = os.environ.get("EVP_HOME")
    own = Path(home).expanduser() if home else Path(typer.get_app_dir("evp"))
    candidates = [Path(LOCAL_NAME), own / "config.toml"]
    return ([chosen] if chosen else []) + [file for file in candidates if file.is_file()]


def _read_table(file: Path, verb: str, known: set[str]) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("a configuration file cannot be read", found=f"{file}: {error}") from error
    _check_keys(file, document, {"fit", "evaluate"}, "table")
    table = document.get(verb, {})
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {verb} must be a table", hint=f"write [{verb}] above its keys")
    _check_keys(file, table, known, "key")
    return table


def _check_keys(file: Path, found: dict[str, Any], known: set[str], kind: str) -> None:
    for name in found:
        if name not in known:
            raise UsageError(
                f"{file} has an unknown {kind}",
                found=repr(name[:80]),
                hint=suggest(name, known) or f"known: {', '.join(sorted(known))}",
            )
