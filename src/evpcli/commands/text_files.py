"""Small text files that people write: templates, class names, descriptions of classes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError

from evpcli.domain.errors import UsageError
from evpcli.domain.names import clean_class_name
from evpcli.engine.files.regular_file import read_regular_file

_MAX_BYTES = 4 << 20
_MAX_NAME = 200
"""What a manifest keeps of a class name."""
_Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_SENTENCES = TypeAdapter(dict[str, tuple[_Sentence, ...]])


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


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Sentences by class name, from a JSON object of lists.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no JSON object whose values are lists of sentences.
    """
    data = read_regular_file(path, _MAX_BYTES, follow=True)
    try:
        return _SENTENCES.validate_python(json.loads(data, object_pairs_hook=_refuse_repeats))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "descriptions must be a JSON object: class name to a list of sentences",
            found=f"{path}: {_say_first(error)[:200]}",
            hint='for example {"cat": ["a small animal with whiskers"]}',
        ) from error


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a class is there twice")
    return found


def _say_first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        return f"{place + ': ' if place else ''}{first['msg'][:120]}"
    return str(error)
