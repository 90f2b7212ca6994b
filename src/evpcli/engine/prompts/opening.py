"""A reference on the command line to a prompt in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError
from evpcli.domain.manifest import Manifest
from evpcli.domain.reference import FileRef, parse_prompt_ref
from evpcli.engine.files.paths import expand_path
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES, read_regular_file
from evpcli.engine.prompts.model_weights import explained_weights
from evpcli.engine.prompts.registry.registry import Registry

if TYPE_CHECKING:
    from evpcli.engine.prompts.prompt_file import StoredPrompt


def open_prompt(text: str, registry: Registry) -> StoredPrompt:
    """The prompt that a reference means, from a file or from the registry.

    What is not there is told before torch is loaded, which takes a second or two.

    Args:
        text: `DATASET/BACKBONE[:vN|:TAG]`, a digest prefix, or a path.
        registry: where names and digests are looked up.

    Raises:
        UsageError: the text addresses nothing, or several prompts.
        NotFoundError: there is no such file or version.
        DamagedError: it is damaged or hostile; nothing of it was run.
    """
    return read_prompt(text, registry)[0]


def read_prompt(text: str, registry: Registry) -> tuple[StoredPrompt, bytes]:
    """The prompt that a reference means, and the bytes of its file; as `open_prompt`."""
    ref = parse_prompt_ref(text)
    if isinstance(ref, FileRef):
        path = expand_path(ref.path)
        with explained_weights(path):
            data = read_regular_file(path, MAX_PROMPT_BYTES, follow=True)
            from evpcli.engine.prompts.prompt_file import decode_named

            return decode_named(data, str(path)), data
    entry = registry.find(ref)
    data = registry.read(entry)
    from evpcli.engine.prompts.prompt_file import decode_prompt

    try:
        prompt = decode_prompt(data)
    except EvpError as error:  # its SHA-256 is right: it was written like this
        what = f"{entry.ref}: {error.what}"
        raise type(error)(what, found=error.found, hint=error.hint) from error
    if prompt.manifest != entry.manifest:
        raise DamagedError(f"{entry.ref}: its entry and its prompt file disagree")
    return prompt, data


def find_manifest(text: str, registry: Registry) -> tuple[str, Manifest]:
    """The exact name of what a reference means, and its manifest; errors as `open_prompt`.

    For a prompt in the registry neither its bytes nor torch are needed.
    """
    ref = parse_prompt_ref(text)
    if isinstance(ref, FileRef):
        path = expand_path(ref.path).absolute()
        return str(path), open_prompt(str(path), registry).manifest
    entry = registry.find(ref)
    return str(entry.ref), entry.manifest


def find_newest(registry: Registry) -> str:
    """The reference of the version that was published last.

    Raises:
        NotFoundError: the registry holds no sound version.
    """
    entries = registry.entries()
    if not entries:
        raise NotFoundError(
            "the registry holds no prompt yet", hint="make one with evp fit -d digits -b mini"
        )
    return str(max(entries, key=lambda entry: (entry.published_at, entry.version)).ref)
