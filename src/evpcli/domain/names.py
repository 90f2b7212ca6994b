"""Names that people give: which are allowed, and how close a wrong one came."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from evpcli.domain.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RUN_TOGETHER = re.compile(r"(?<=[A-Za-z][a-z]{2})(?=[A-Z][a-z])")
_DIGITS = re.compile(r"([0-9]+)")
_VERSION_LIKE = re.compile(r"v[0-9]+")


def check_name(name: str, kind: str) -> str:
    """Give `name` back if it may name a `kind` (a tag, a dataset), else raise.

    Raises:
        UsageError: it is empty, longer than 64 characters, starts with a dot or dash, or holds
            anything but ASCII letters, digits, dot, underscore and dash.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"this cannot name a {kind}",
            found=repr(name[:80]),
            hint="use 1 to 64 of the characters A-Z a-z 0-9 . _ -, a letter or digit first",
        )
    return name


def check_tag(name: str) -> str:
    """Give `name` back if it may be a tag: a name that is no version number and not `best`."""
    check_name(name, "tag")
    if _VERSION_LIKE.fullmatch(name) or name == "best":
        raise UsageError(
            f"the tag {name!r} is taken", hint="v1, v2, ... are versions and best is computed"
        )
    return name


def make_slug(text: str) -> str:
    """A readable file-name part: at most 40 safe ASCII characters. Not unique by itself."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")
    return slug[:40] or "unnamed"


def suggest(wrong: str, known: Iterable[str]) -> str | None:
    """The nearest known name as a question, or nothing when none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]}?" if near else None


def split_camel_case(name: str) -> str:
    """A name with spaces where words were run together: `AnnualCrop` becomes `Annual Crop`.

    Only after three letters, so that `iPhone` and `McDonald` stay whole.
    """
    return _RUN_TOGETHER.sub(" ", name)


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Names in the order in which people count: 2 before 10."""
    return sorted(
        names,
        key=lambda name: [
            (int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)
        ],
    )


def clean_class_name(name: str) -> str:
    """A class name as the text tower reads it: lower case, `_` and `-` as spaces (EVP code)."""
    return re.sub(r"[_\-\s]+", " ", name).strip().lower()
