"""What files and the environment changed, said before the work begins."""

from __future__ import annotations

import typer

from evpcli.commands import terminal
from evpcli.commands.configuration import describe_sources, describe_unknown_variables


def tell_sources(context: typer.Context) -> None:
    """Name each file and variable that set an option, and warn of variables that set none."""
    if clauses := describe_sources(context):
        terminal.note(f"configured: {'; '.join(clauses)}")
    for warning in describe_unknown_variables(context):
        terminal.warn(warning)
