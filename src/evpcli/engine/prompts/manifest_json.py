"""Manifests as JSON text: strict when reading, canonical when writing; torch-free."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import SCHEMA_VERSION, Manifest, canonical_json
from evpcli.engine.files.strict_json import (
    MAX_JSON_BYTES,
    MAX_JSON_VALUES,
    parse_strict_json,
    refuse_size,
)

_ROOM = 64 << 10  # what a registry record may add to a manifest


def parse_manifest(text: str | bytes) -> Manifest:
    """The manifest that a JSON text holds.

    Raises:
        DamagedError: the text is no manifest, or one of a newer schema.
    """
    return check_manifest(parse_strict_json(text, "the manifest"))


def check_manifest(value: Any) -> Manifest:
    """The manifest that a parsed JSON value holds; raises as `parse_manifest`."""
    if isinstance(value, dict):
        check_schema(value.get("schema_version"), "the prompt")
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:80] or "the manifest"
        problem = f"{place}: {first['msg'][:120]}"
        raise DamagedError("the manifest breaks its rules", found=problem) from error
    except ValueError as error:  # a lone surrogate, a number beyond every limit
        raise DamagedError("the manifest breaks its rules", found=str(error)[:120]) from error


def check_schema(version: Any, what: str) -> None:
    """Refuse what a later program wrote; anything else is left to the caller's own rules.

    Raises:
        DamagedError: `version` is a whole number above ours.
    """
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DamagedError(
            f"{what} was made by a newer evp",
            found=f"schema {str(version)[:20]}, this evp reads up to {SCHEMA_VERSION}",
            hint="upgrade with: pip install --upgrade evpcli",
        )


def format_manifest(manifest: Manifest) -> str:
    """Canonical JSON text: equal manifests give equal text.

    Raises:
        DamagedError: it is larger than a reader would accept.
    """
    text = canonical_json(manifest.model_dump(mode="json"))
    if len(text) > MAX_JSON_BYTES - _ROOM or sum(map(text.count, ",[{")) > MAX_JSON_VALUES - _ROOM:
        raise refuse_size("the manifest", len(text))
    return text
