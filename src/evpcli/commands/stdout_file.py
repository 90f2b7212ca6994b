"""`-o -`: a verb's result on stdout, for the next program in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from evpcli.commands.output import terminal
from evpcli.domain.errors import UsageError
from evpcli.engine.compute.launcher import is_shared

STDOUT = "-"


def is_stdout(output: str | Path | None) -> bool:
    """Whether `-o` asks for stdout."""
    return output is not None and str(output) == STDOUT


def check_stdout(*, taken_by: str | None = None) -> None:
    """Refuse to write a file's bytes to a terminal, or beside other output.

    Args:
        taken_by: the option that already writes to stdout.

    Raises:
        UsageError: as said.
    """
    if taken_by:
        raise UsageError(f"-o - and {taken_by} both write to stdout", hint="leave one of them away")
    if is_shared():
        raise UsageError("several processes cannot share stdout", hint="give -o a file")
    if terminal.is_live(sys.stdout):
        raise UsageError(
            "-o - would fill the terminal with a binary file",
            hint="add > FILE or a pipe, or give -o a file",
        )


@contextmanager
def passed_to_stdout(suffix: str) -> Iterator[Path]:
    """A file to write inside the block; afterwards its bytes are on stdout and it is gone.

    Args:
        suffix: how the file's name ends.
    """
    with TemporaryDirectory(prefix="evp-") as folder:
        path = Path(folder) / f"stdout{suffix}"
        yield path
        if path.exists():
            terminal.write_bytes(path.read_bytes())
