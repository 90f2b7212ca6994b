"""JSON of strangers: bounded, without duplicate keys, NaN or lone surrogates."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from evpcli.domain.errors import DamagedError

MAX_JSON_BYTES = 4 << 20
MAX_JSON_VALUES = 500_000
"""Bound on brackets and commas: parsed values take some 30 times the room of their text."""


def parse_strict_json(text: str | bytes, what: str) -> Any:
    """The value of a JSON text without duplicate keys, NaN, infinities or lone surrogates.

    Args:
        text: at most `MAX_JSON_BYTES` long.
        what: names the text in errors, such as "the manifest".

    Raises:
        DamagedError: it is anything else.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_JSON_BYTES or sum(map(raw.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise refuse_size(what, len(raw))
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{what} is no sound JSON", found=str(error)[:120]) from error


def refuse_size(what: str, size_bytes: int) -> DamagedError:
    """The error for a text beyond the limits."""
    limits = f"at most {MAX_JSON_BYTES} with {MAX_JSON_VALUES} values are read"
    return DamagedError(f"{what} is too large", found=f"{size_bytes} bytes, {limits}")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number here")
