"""Values behind the flags: `--config`, ./evp.toml and the user's own file, in this order."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import typer

from evpcli.domain.errors import UsageError
from evpcli.domain.names import suggest
from evpcli.engine.files.paths import expand_path

_ORIGINS = "evp.configuration"
LOCAL_NAME = "evp.toml"
_MAX_BYTES = 1 << 20
_NOT_FROM_FILES = {"config", "dry_run", "force", "json", "output", "parent", "resume", "tag"}
"""What only a person may ask for, not a file that lies in some folder."""


def apply_configuration(context: typer.Context, path: Path | None) -> Path | None:
    """Put the files' values behind the flags and the environment of one verb.

    A file has one table a verb, e.g. `[fit]` with `epochs = 30`; keys are the long options with
    `_` for `-`. Meant as the eager callback of `--config`.

    Raises:
        UsageError: a file cannot be read, is no TOML, or holds a table or key that does not exist.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for file in reversed(_find_files(path)):
        table = _read_table(file, context)
        merged.update(table)
        origins.update(dict.fromkeys(table, str(file)))
    context.default_map = {**(context.default_map or {}), **merged}
    context.meta[_ORIGINS] = origins
    return path


def find_origins(context: typer.Context) -> dict[str, str]:
    """The file or the environment variable of each option that one of them set."""
    found = {}
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        kind = source.name if source else ""
        if kind == "DEFAULT_MAP":
            found[name] = context.meta[_ORIGINS][name]
        elif kind == "ENVIRONMENT":
            read = [v for v in _name_variables(context, option) if v in os.environ]
            found[name] = read[0] if read else "the environment"
    return found


def describe_unknown_variables(context: typer.Context) -> list[str]:
    """A sentence for each `EVP_FIT_...` variable that sets nothing, with the nearest one."""
    known = {name for p in context.command.params for name in _name_variables(context, p)}
    prefix = f"{context.auto_envvar_prefix}_"
    unknown = [name for name in sorted(os.environ) if name.startswith(prefix) and name not in known]
    return [
        f"{name} is no setting of evp {context.info_name} and is ignored"
        + (f"; {near}" if (near := suggest(name, known)) else "")
        for name in unknown
    ]


def _name_variables(context: typer.Context, option: Any) -> list[str]:
    """The environment variables that an option is read from."""
    given = option.envvar or []
    names = [given] if isinstance(given, str) else list(given)
    return [*names, f"{context.auto_envvar_prefix}_{option.name}".upper()]


def _find_files(chosen: Path | None) -> list[Path]:
    """Configuration files, the strongest first; a chosen one must exist."""
    if chosen and not os.path.isfile(chosen):
        raise UsageError("there is no such configuration file", found=str(chosen))
    home = os.environ.get("EVP_HOME")
    own = expand_path(home) if home else Path(typer.get_app_dir("evp"))
    candidates = [Path(LOCAL_NAME), own / "config.toml"]
    return ([chosen] if chosen else []) + [file for file in candidates if file.is_file()]


def _read_table(file: Path, context: typer.Context) -> dict[str, Any]:
    """One file's table for the verb, every key and value checked."""
    document = _parse(file)
    _check_keys(file, document, {"fit", "evaluate"}, "table")
    table = document.get(context.info_name or "", {})
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {context.info_name} must be a table", hint="put [ ] around it")
    options = {p.name: p for p in context.command.params if p.name not in _NOT_FROM_FILES}
    _check_keys(file, table, {name for name in options if name}, "key")
    for name, value in table.items():
        _check_value(file, name, value, options[name])
    return table


def _parse(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError("a configuration file is too large", found=str(file))
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("a configuration file cannot be read", found=f"{file}: {error}") from error


def _check_keys(file: Path, found: dict[str, Any], known: set[str], kind: str) -> None:
    for name in found:
        if name not in known:
            raise UsageError(
                f"{file} has an unknown {kind}",
                found=repr(name[:80]),
                hint=suggest(name, known) or f"known: {', '.join(sorted(known))}",
            )


def _check_value(file: Path, name: str, value: Any, option: Any) -> None:
    """TOML's types must be the option's: true and false for a flag, a list for a repeated one."""
    many = getattr(option, "multiple", False)
    items = value if many and isinstance(value, list) else [value]
    flag = bool(getattr(option, "is_flag", False))
    if any(isinstance(i, bool) != flag or isinstance(i, dict | list) for i in items) or (
        many and not isinstance(value, list)
    ):
        kind = "true or false" if flag else "a list of texts" if many else "one number or text"
        raise UsageError(f"{file}: {name} must be {kind}", found=repr(value)[:80])
