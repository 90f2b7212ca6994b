"""Names from folders: of a dataset for the registry, of a class for the text tower."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

from evpcli.domain.names import clean_class_name, make_slug, split_camel_case
from evpcli.engine.datasets.public.catalog import CATALOG

_LONGEST_NAME = 200


def name_folder(root: Path) -> str:
    """A safe dataset name from a folder's own; never one that the catalog has.

    Where letters are lost on the way to ASCII, a hash of the name keeps two folders apart.
    """
    exact = unicodedata.normalize("NFC", Path(os.path.abspath(root)).name)
    slug = make_slug(exact).lstrip("_") or "unnamed"
    if slug == "unnamed" or _loses_letters(exact):
        slug = f"{slug}-{hashlib.sha256(os.fsencode(exact)).hexdigest()[:8]}"
    return f"{slug}-folder" if slug.lower() in CATALOG else slug


def _loses_letters(name: str) -> bool:
    """Whether ASCII has no letter for some character, accents apart: `日`, but not `é`."""
    plain = unicodedata.normalize("NFKD", name)
    return any(not c.isascii() and not unicodedata.combining(c) for c in plain)


def printable_name(folder: str) -> str:
    """A folder's name that any file can hold: lone surrogates escaped."""
    return folder.encode("utf-8", "backslashreplace").decode()


def name_class(folder: str) -> str:
    """Words for the text tower; control characters become spaces."""
    plain = "".join(c if c.isprintable() else " " for c in printable_name(folder))
    plain = split_camel_case(plain)
    return (clean_class_name(plain) or plain.strip() or "unnamed")[:_LONGEST_NAME]
