"""What `evp export` and `evp import` settle before torch is loaded: formats, names, classes."""

from __future__ import annotations

from pathlib import Path

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.names import check_name, make_slug
from evpcli.domain.reference import KeyRef, parse_prompt_ref

_FORMAT_OF_SUFFIX = {
    ".pt": "pt",
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".png": "png",
    ".pth": "reference",
}
_SUFFIX_OF_FORMAT = {name: suffix for suffix, name in _FORMAT_OF_SUFFIX.items()}


def choose_format(output: Path | None, format_name: str | None) -> str:
    """The format that `--format` or the file's name asks for.

    Raises:
        UsageError: neither tells, or they contradict each other.
    """
    ending = output.suffix.lower() if output else ".pt"
    chosen = format_name or _FORMAT_OF_SUFFIX.get(ending)
    if chosen not in _SUFFIX_OF_FORMAT:
        raise UsageError(
            "the format is not clear",
            found=format_name or str(output)[:200],
            hint=f"choose --format from: {', '.join(_SUFFIX_OF_FORMAT)}",
        )
    told = ending in _FORMAT_OF_SUFFIX or (ending and chosen == "png")
    if output and told and ending != _SUFFIX_OF_FORMAT[chosen]:
        raise UsageError(
            f"the file's name contradicts --format {chosen}",
            found=str(output)[:200],
            hint=f"let the name end in {_SUFFIX_OF_FORMAT[chosen]}, or leave --format away",
        )
    return chosen


def name_file(manifest: Manifest, format_name: str, version: int | None) -> str:
    """A file name for an exported prompt, from its dataset, its backbone and its version."""
    number = f"-v{version}" if version else ""
    return make_slug(str(manifest.key)) + number + _SUFFIX_OF_FORMAT[format_name]


def check_addressable(manifest: Manifest) -> None:
    """Refuse a stranger's prompt that no reference on the command line could name."""
    key = manifest.key
    try:
        check_name(key.dataset, "dataset")
        sound = str(key).isprintable() and parse_prompt_ref(str(key)) == KeyRef(key)
    except UsageError:
        sound = False
    if not sound:
        raise DamagedError(
            "the prompt file names a dataset or backbone that cannot be", found=repr(str(key)[:200])
        )
