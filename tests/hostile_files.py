"""Files in torch's zip layout with any content, to attack the reader with."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping

import torch

from evpcli.domain.manifest import Manifest, canonical_json

HEAD = b"\x80\x02"
STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def build_zip(records: Mapping[str, bytes]) -> bytes:
    """What torch's own zip writer makes of these records."""
    memory = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(memory)
    for name, content in records.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return memory.getvalue()


def build_pickle_zip(data_pkl: bytes, storage: bytes = b"") -> bytes:
    """A torch file with this pickle and, if given, one storage."""
    records = {"data.pkl": data_pkl, "byteorder": b"little"}
    return build_zip(records | ({"data/0": storage} if storage else {}))


def build_tensor_pickle(
    values: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    storage_type: bytes = b"FloatStorage",
    key: bytes = b"pixels",
) -> bytes:
    """A pickle of `{key: tensor}` with every number of the tensor free to lie."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def numbers(items: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, items)) + b"t"

    storage = STORAGE.replace(b"FloatStorage", storage_type) + number(values) + b"tQ"
    return (
        HEAD
        + b"}X"
        + struct.pack("<I", len(key))
        + key
        + b"ctorch._utils\n_rebuild_tensor_v2\n"
        + storage
        + number(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


def save(document: object) -> bytes:
    """What `torch.save` makes of it."""
    memory = io.BytesIO()
    torch.save(document, memory)
    return memory.getvalue()


def save_prompt(pixels: object, manifest: Manifest | str | object, **changes: object) -> bytes:
    """A prompt file whose parts need not be right; `None` leaves a part out."""
    text = canonical_json(manifest.model_dump(mode="json")) if isinstance(manifest, Manifest) else 0
    document = {
        "format": "evp-prompt",
        "schema_version": 1,
        "manifest": text or manifest,
        "tensors": {"pixels": pixels},
    }
    return save({k: v for k, v in (document | changes).items() if v is not None})


class Command:
    """Pickled, this runs a shell command when it is loaded by an ordinary unpickler."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        import os

        return os.system, (self.command,)


def build_code_pickles(command: str) -> dict[str, bytes]:
    """One pickle for each way in which pickles call functions, by the opcode's name."""
    text = command.encode()
    size = struct.pack("<I", len(text))
    argument = b"X" + size + text
    return {
        "reduce": pickle.dumps({"pixels": Command(command)}, protocol=2),
        "stack-global": pickle.dumps({"pixels": Command(command)}, protocol=4),
        "inst": HEAD + b"(" + argument + b"ios\nsystem\n.",
        "obj": HEAD + b"(cos\nsystem\n" + argument + b"o.",
        "newobj": HEAD + b"cos\nsystem\n" + argument + b"\x85\x81.",
        "build": HEAD + b"ccollections\nOrderedDict\n)R" + argument + b"b.",
        "extension": HEAD + b"\x82\x01" + argument + b"\x85R.",
        "getattr": HEAD + b"c__builtin__\ngetattr\n(cos\nX\x06\x00\x00\x00systemtR.",
        "eval": HEAD + b"cbuiltins\neval\n" + argument + b"\x85R.",
    }
