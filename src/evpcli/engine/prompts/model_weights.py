"""Files of a network's weights, told from prompts, for those who give one in place of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError
from evpcli.engine.files.regular_file import (
    MAX_PROMPT_BYTES,
    read_regular_file,
    read_regular_start,
)

_LOOKED_AT = 4 << 20
"""Bytes at a file's start, where both safetensors and torch keep the tensors' names."""

_FEWEST = 4
_NAME = re.compile(
    rb"[A-Za-z0-9_.]{1,200}\.(?:(?:in_proj_)?weight|(?:in_proj_)?bias|running_mean|running_var)"
)


@contextmanager
def explained_weights(path: Path) -> Iterator[None]:
    """Where the block finds no prompt in a file, say so if it holds a network's weights.

    Raises:
        DamagedError: what the block raised, or that these are model weights.
    """
    try:
        yield
    except DamagedError as error:
        if not _holds_weights(path):
            raise
        raise _describe(str(path)) from error


def explain_weights(data: bytes, error: DamagedError) -> DamagedError:
    """The same for bytes in memory: what to raise in place of an error."""
    return _describe(f"{len(data)} bytes") if _look_like_weights(data, data) else error


def _describe(found: str) -> DamagedError:
    return DamagedError(
        "this is no prompt but model weights",
        found=found,
        hint="evp list shows the prompts; a backbone's own weights go with --weights FILE",
    )


def _holds_weights(path: Path) -> bool:
    start = read_regular_start(path, _LOOKED_AT)
    try:
        data = read_regular_file(path, MAX_PROMPT_BYTES, follow=True)
    except EvpError:  # larger than any prompt, most often
        data = None
    return _look_like_weights(start, data)


def _look_like_weights(start: bytes, data: bytes | None) -> bool:
    """Whether tensors are named as modules name theirs, and it is no checkpoint of a prompt.

    Args:
        start: of the file.
        data: the whole file, where it is no larger than a prompt can be.
    """
    if len(set(_NAME.findall(start[:_LOOKED_AT]))) < _FEWEST:
        return False
    return data is None or not _is_foreign_prompt(data)


def _is_foreign_prompt(data: bytes) -> bool:
    from evpcli.engine.guard.pickle_rules import PLAIN
    from evpcli.engine.guard.tensor_file import read_tensors
    from evpcli.engine.prompts.importers.foreign_layouts import find_layout

    try:
        return find_layout(read_tensors(data, PLAIN).values) is not None
    except EvpError:
        return False
