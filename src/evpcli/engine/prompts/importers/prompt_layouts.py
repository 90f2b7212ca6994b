"""A stranger's file made a prompt: evp's own layout and those of other projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.engine.guard.pickle_rules import PLAIN
from evpcli.engine.guard.tensor_file import read_tensors
from evpcli.engine.prompts.importers.foreign_layouts import Layout, find_layout
from evpcli.engine.prompts.importers.foreign_names import ImportNames, find_target
from evpcli.engine.prompts.importers.foreign_prompt import ForeignPrompt, describe_reading
from evpcli.engine.prompts.prompt_file import (
    FORMAT,
    StoredPrompt,
    decode_prompt,
    encode_prompt,
)

OWN_LAYOUT = "evp"


@dataclass(frozen=True)
class Imported:
    """A stranger's prompt, ready to be filed.

    Args:
        data: its canonical bytes, encoded again so that only our bytes are kept.
        prompt: what they hold.
        layout: whose layout the file had; `evp` for a prompt file.
        notes: what differs from how its own project would use it, a sentence each.
    """

    data: bytes
    prompt: StoredPrompt
    layout: str = OWN_LAYOUT
    notes: tuple[str, ...] = ()


def import_prompt(data: bytes, names: ImportNames | None = None) -> Imported:
    """A stranger's prompt, ready to be filed.

    Args:
        data: a `.pt` or `.safetensors` of evp, or a checkpoint of another project.
        names: for a checkpoint, which has no manifest; refused for a file that has one.

    Raises:
        UsageError: the names are missing, or given although the file has its own; or the
            checkpoint uses what evp cannot keep.
        NotFoundError: there is no such backbone.
        DamagedError: the bytes are neither; nothing of them was run.
    """
    values = read_tensors(data, PLAIN).values
    layout = find_layout(values)
    if layout is None:
        return _import_own(data, values, names)
    foreign = _read_foreign(layout, values, names)
    encoded = encode_prompt(foreign.pixels, foreign.manifest, foreign.label_map)
    return Imported(encoded, decode_prompt(encoded), foreign.layout, foreign.notes)


def _import_own(data: bytes, values: Mapping[str, Any], names: ImportNames | None) -> Imported:
    told = values.get("format")
    if not isinstance(told, str) or told != FORMAT:
        raise DamagedError(
            "this file holds tensors, but no prompt of a known layout",
            found=f"keys {sorted(map(str, values))[:6]}",
            hint="evp import reads prompts of evp and checkpoints of EVP, VP, ILM-VP, BLM, AttrVR "
            "and AutoVP",
        )
    prompt = decode_prompt(data)
    if names is not None:
        raise UsageError(
            "this prompt file names its own dataset and backbone",
            found=str(prompt.manifest.key)[:200],
            hint="leave out --dataset, --backbone and --classnames",
        )
    encoded = prompt.encode()
    return Imported(encoded, decode_prompt(encoded))


def _read_foreign(
    layout: Layout, values: Mapping[str, Any], names: ImportNames | None
) -> ForeignPrompt:
    if names is None:
        raise UsageError(
            "this checkpoint does not say what it is for",
            hint="add --dataset NAME --backbone NAME, for example --dataset pets --backbone "
            "ViT-B/32",
        )
    target = find_target(names.backbone)
    return describe_reading(layout.read(values, names, target), names, target)
