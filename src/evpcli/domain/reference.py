"""How a prompt is addressed on the command line; decided by shape alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import UsageError

PROMPT_SUFFIXES = (".pt", ".pth", ".safetensors")
_PATH_STARTS = ("./", "../", "/", "~")
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_VERSION = re.compile(r"v([1-9][0-9]{0,5})")


@dataclass(frozen=True)
class PromptKey:
    """What the registry files a prompt under: exact dataset and backbone names."""

    dataset: str
    backbone: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.backbone}"


@dataclass(frozen=True)
class KeyRef:
    """`DATASET/BACKBONE[:vN|:TAG]`; without a suffix the newest version is meant."""

    key: PromptKey
    version: int | None = None
    tag: str | None = None

    def __str__(self) -> str:
        suffix = f"v{self.version}" if self.version else self.tag
        return f"{self.key}:{suffix}" if suffix else str(self.key)


@dataclass(frozen=True)
class DigestRef:
    """At least six leading hexadecimal digits of a prompt's SHA-256."""

    prefix: str

    def __str__(self) -> str:
        return self.prefix


@dataclass(frozen=True)
class FileRef:
    """A prompt file somewhere on disk; a leading `~` is not yet resolved."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


PromptRef = KeyRef | DigestRef | FileRef


def parse_prompt_ref(text: str) -> PromptRef:
    """Read `DATASET/BACKBONE[:vN|:TAG]`, a digest prefix, or a path.

    Raises:
        UsageError: the text has none of these shapes.
    """
    if text.startswith(_PATH_STARTS) or text.endswith(PROMPT_SUFFIXES):
        return FileRef(Path(text))
    if _DIGEST.fullmatch(text):
        return DigestRef(text)
    name, _, suffix = text.partition(":")
    dataset, slash, backbone = name.partition("/")
    if not (slash and dataset and backbone) or (":" in text and not suffix):
        raise UsageError(
            "this does not address a prompt",
            found=repr(text[:120]),
            hint="use DATASET/BACKBONE[:vN|:TAG], a digest of 6 or more digits, or a path to a .pt "
            "file; `evp list` shows what there is",
        )
    version = _VERSION.fullmatch(suffix)
    key = PromptKey(dataset, backbone)
    return KeyRef(key, int(version[1])) if version else KeyRef(key, tag=suffix or None)
