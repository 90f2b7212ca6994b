"""The digest over a whole `.safetensors` prompt, kept inside it: one changed byte shows."""

from __future__ import annotations

import hashlib
import re

from evpcli.domain.errors import DamagedError

SEAL_KEY = "sha256"
BLANK_SEAL = 64 * "0"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def seal(data: bytes) -> bytes:
    """A safetensors file with its SHA-256 in the place that was kept for it.

    The digest is taken over the file with 64 zeros in that place.

    Args:
        data: the file, whose metadata hold `BLANK_SEAL` under `SEAL_KEY`.
    """
    place = _find_place(data, BLANK_SEAL)
    assert place is not None, "the metadata have no place for the digest"
    digest = hashlib.sha256(data).hexdigest()
    return data[:place] + digest.encode() + data[place + len(digest) :]


def check_seal(data: bytes, told: object) -> None:
    """Raise unless a file is byte for byte what was sealed.

    Args:
        data: the whole file.
        told: what its metadata hold under `SEAL_KEY`; `None` in files made before there was one,
            whose pixels and label map have digests in the manifest, and the manifest none.

    Raises:
        DamagedError: a byte was changed.
    """
    if told is None:
        return
    place = _find_place(data, told) if isinstance(told, str) and _DIGEST.fullmatch(told) else None
    if place is not None:
        blank = data[:place] + BLANK_SEAL.encode() + data[place + len(BLANK_SEAL) :]
        if hashlib.sha256(blank).hexdigest() == told:
            return
    raise DamagedError(
        "the prompt file was changed since it was written",
        found="its checksum is wrong",
        hint="fetch or export the file again",
    )


def _find_place(data: bytes, digest: str) -> int | None:
    """Where the digest stands: manifests are texts within the header, so their quotes differ."""
    start = f'"{SEAL_KEY}":"'.encode()
    end = 8 + int.from_bytes(data[:8], "little")
    found = data.find(start + digest.encode() + b'"', 8, end)
    return found + len(start) if found >= 0 else None
