"""Small text files that people write: templates and class names, one a line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from evpcli.domain.errors import UsageError
from evpcli.domain.names import clean_class_name
from evpcli.engine.storage.regular_file import read_regular_file

_MAX_BYTES = 4 << 20
_MAX_NAME = 200
"""What a manifest keeps of a class name."""


def read_lines(path: Path) -> tuple[str, ...]:
    """The lines of a UTF-8 file, stripped, without empty ones.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no UTF-8 text, or has no line.
    """
    try:
        text = read_regular_file(path, _MAX_BYTES, follow=True).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("this file is no UTF-8 text", found=str(path)) from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise UsageError("this file holds no line of text", found=str(path))
    return lines


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line in label order, cleaned as a dataset's own are.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no UTF-8 text, or a name is empty, too long, or there twice.
    """
    names = tuple(clean_class_name(line) for line in read_lines(path))
    times = Counter(names)
    for name in names:
        if not 0 < len(name) <= _MAX_NAME or times[name] > 1:
            raise UsageError(
                f"class names must differ and have 1 to {_MAX_NAME} characters",
                found=f"{path}: {name[:80]!r}",
            )
    return names
