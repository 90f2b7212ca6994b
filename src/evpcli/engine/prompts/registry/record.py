"""What the registry writes beside the prompts: entries and tags, sealed with their own SHA-256."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import SCHEMA_VERSION, Manifest, canonical_json
from evpcli.domain.reference import KeyRef, PromptKey
from evpcli.engine.files.strict_json import parse_strict_json
from evpcli.engine.prompts.manifest_json import check_manifest, check_schema

_ENTRY_PARTS = {"key", "version", "digest", "size_bytes", "published_at", "manifest"}
_TAG_PARTS = {"key", "tag", "version"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One version of a prompt in the registry.

    Args:
        key: dataset and backbone it is filed under.
        version: from 1, never given twice under one key.
        digest: SHA-256 of the prompt file's bytes.
        size_bytes: size of the prompt file.
        published_at: when it was filed, UTC, ISO 8601.
        manifest: what the prompt is for and how it came to be.
    """

    key: PromptKey
    version: int
    digest: str
    size_bytes: int
    published_at: str
    manifest: Manifest

    @property
    def ref(self) -> KeyRef:
        """How this very version is addressed."""
        return KeyRef(self.key, self.version)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of an entry's file."""
    document = {
        "key": _name_key(entry.key),
        "version": entry.version,
        "digest": entry.digest,
        "size_bytes": entry.size_bytes,
        "published_at": entry.published_at,
        "manifest": entry.manifest.model_dump(mode="json"),
    }
    return _seal("evp-entry", document)


def decode_entry(data: bytes, key: PromptKey | None, version: int) -> Entry:
    """The entry in a file.

    Args:
        data: the file's bytes.
        key: the key it was looked up by, if one was.
        version: the number in the file's name.

    Raises:
        DamagedError: a bit was flipped, or the file belongs elsewhere.
    """
    found = _unseal(data, "evp-entry", _ENTRY_PARTS)
    manifest = check_manifest(found["manifest"])
    if type(found["size_bytes"]) is not int or not isinstance(found["published_at"], str):
        raise DamagedError("the registry's record breaks its rules")
    entry = Entry(
        manifest.key, version, found["digest"], found["size_bytes"], found["published_at"], manifest
    )
    misfiled = found["version"] != version or found["key"] != _name_key(manifest.key)
    if misfiled or key not in (None, manifest.key) or not _DIGEST.fullmatch(str(entry.digest)):
        raise DamagedError("the entry belongs elsewhere", found=f"{manifest.key}:v{version}"[:200])
    return entry


def encode_tag(key: PromptKey, tag: str, version: int) -> bytes:
    """The bytes of a tag's file."""
    return _seal("evp-tag", {"key": _name_key(key), "tag": tag, "version": version})


def decode_tag(data: bytes, tag: str) -> tuple[PromptKey, int]:
    """The key that a tag belongs to and the version that it names; raises as `decode_entry`."""
    found = _unseal(data, "evp-tag", _TAG_PARTS)
    names, version = found["key"], found["version"]
    sound = isinstance(names, dict) and set(names) == {"dataset", "backbone"}
    if not sound or not all(isinstance(name, str) for name in names.values()):
        raise DamagedError("the registry's record breaks its rules")
    if found["tag"] != tag or type(version) is not int or version < 1:
        raise DamagedError("the tag belongs elsewhere", found=str(found["tag"])[:200])
    return PromptKey(**names), version


def hash_key(key: PromptKey) -> str:
    """SHA-256 over the exact key, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(_name_key(key)).encode()).hexdigest()


def _name_key(key: PromptKey) -> dict[str, str]:
    return {"dataset": key.dataset, "backbone": key.backbone}


def _seal(kind: str, document: dict[str, Any]) -> bytes:
    body = {"format": kind, "schema_version": SCHEMA_VERSION, **document}
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    return (canonical_json(body | {"sha256": digest}) + "\n").encode()


def _unseal(data: bytes, kind: str, parts: set[str]) -> dict[str, Any]:
    """The document of a sealed file, after each byte of it was checked."""
    body = parse_strict_json(data, "the registry's record")
    if not isinstance(body, dict) or body.get("format") != kind:
        raise DamagedError("the registry's record is of another kind")
    document = {k: v for k, v in body.items() if k not in ("format", "schema_version", "sha256")}
    schema = body.get("schema_version")
    check_schema(schema, "the registry's record")
    as_written = set(document) == parts and _seal(kind, document) == data
    if type(schema) is not int or schema != SCHEMA_VERSION or not as_written:
        raise DamagedError("the registry's record is damaged", found="its checksum is wrong")
    return document
