"""What files and the environment changed, said before the work begins."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from evpcli.commands.options.config_files import describe_unknown_variables, find_origins
from evpcli.commands.output import terminal


def tell_sources(context: typer.Context, taken: Mapping[str, str] | None = None) -> None:
    """Name each file and variable that set an option, and warn of those that set none.

    Args:
        context: of the verb.
        taken: where each option's value came from in the end; a preset goes before files.
    """
    origins = find_origins(context)
    ignored = [name for name in origins if (taken or {}).get(name) == "preset"]
    by_origin: dict[str, list[str]] = {}
    for name, origin in sorted(origins.items()):
        if name not in ignored:
            by_origin.setdefault(origin, []).append(name)
    if by_origin:
        clauses = (f"{origin} sets {', '.join(names)}" for origin, names in by_origin.items())
        terminal.note(f"configured: {'; '.join(sorted(clauses))}")
    if ignored:
        terminal.warn(
            f"--preset keeps its own {', '.join(sorted(ignored))}: what files and the environment "
            "say of them is ignored; a flag goes before the preset"
        )
    for warning in describe_unknown_variables(context):
        terminal.warn(warning)
