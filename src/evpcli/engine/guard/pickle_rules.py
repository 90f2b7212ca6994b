"""How much a pickle may say: a prompt of evp nearly nothing, a checkpoint of others plain data."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_PICKLE_BYTES = (4 << 20) + (64 << 10)
_MAX_AXES = 8
_MAX_NESTING = 8
_MAX_CHARACTERS = 16 << 20
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
ORDERED_DICT = "collections OrderedDict"
_DEVICES = re.compile(r"cpu|cuda(?::[0-9]{1,3})?")


@dataclass(frozen=True)
class TensorPlan:
    """A dense tensor that a pickle asks for.

    Args:
        shape: sizes of its axes.
        storage: name of the zip entry below `data/` that holds its values and nothing else.
        dtype: torch's name of its number format.
        strides: of its axes, in values, where they do not lie densely in their own order.
    """

    shape: tuple[int, ...]
    storage: str
    dtype: str = "float32"
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PickleRules:
    """What is let through.

    Args:
        storages: torch's storage classes, each with its dtype and the bytes of one value.
        plain: whether lists, floats, `None`, ordered dicts, whole numbers as keys, tensors whose
            axes lie in another order, and tensors that were saved from a GPU are let through.
        max_opcodes: length of the pickle in opcodes, and number of values it may build.
        max_stack: how many values may wait at once.
        max_pickle_bytes: length of the pickle in bytes.
        max_entries: how many entries the zip around it may have.
    """

    storages: Mapping[str, tuple[str, int]]
    plain: bool
    max_opcodes: int
    max_stack: int
    max_pickle_bytes: int = MAX_PICKLE_BYTES
    max_entries: int = 32

    @property
    def globals(self) -> frozenset[str]:
        """Every name that a pickle may mention, as `module name`; none of them is imported."""
        return frozenset((REBUILD_TENSOR, ORDERED_DICT, *self.storages))


STRICT = PickleRules({"torch FloatStorage": ("float32", 4)}, False, 2_000, 64)
"""For evp's own prompt files."""

PLAIN = PickleRules(
    {
        "torch FloatStorage": ("float32", 4),
        "torch DoubleStorage": ("float64", 8),
        "torch HalfStorage": ("float16", 2),
        "torch LongStorage": ("int64", 8),
        "torch IntStorage": ("int32", 4),
        "torch ByteStorage": ("uint8", 1),
        "torch BoolStorage": ("bool", 1),
    },
    True,
    20_000,
    4_200,  # pickle hands over the items of dicts and lists by the thousand
)
"""For other projects' checkpoints, which carry their optimiser's state and settings along."""

MODEL = PickleRules(
    {**PLAIN.storages, "torch BFloat16Storage": ("bfloat16", 2)},
    True,
    400_000,
    PLAIN.max_stack,
    max_pickle_bytes=8 << 20,
    max_entries=8_192,
)
"""For weights of whole models. ViT-B/32 alone is 308 entries, 53 kB of pickle and 11,224 opcodes;
with AdamW's state, as open_clip saves an epoch, 1,214 entries, 113 kB and 36,667 opcodes.
"""


def is_known_device(device: object, rules: PickleRules) -> bool:
    """Whether a tensor of that device is read; whatever it is, it is read into main memory."""
    return device == "cpu" or (
        rules.plain and isinstance(device, str) and _DEVICES.fullmatch(device) is not None
    )


def fills_storage(shape: Any, strides: Any, values: int, rules: PickleRules) -> bool:
    """Whether a tensor covers each of a storage's values exactly once."""
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        return False
    if not len(shape) == len(strides) <= _MAX_AXES or not all(map(is_count, (*shape, *strides))):
        return False
    if math.prod(shape) != values:
        return False
    return strides == lay_densely(shape) or (rules.plain and _is_permuted(shape, strides))


def lay_densely(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose last axis changes fastest."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _is_permuted(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the axes would lie densely in another order, as those of a transposed matrix."""
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return step > 0


def is_count(value: Any) -> bool:
    """Whether this is a whole number that may be a size."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def find_oddity(root: Any, rules: PickleRules) -> str | None:
    """What is wrong with a plan as a whole, or nothing.

    Values that stand in many places are counted in each, so that no short pickle can unfold into
    a huge tree, and none can hold itself.
    """
    waiting: list[tuple[Any, int]] = [(root, 0)]
    count = characters = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        characters += _count_characters(value)
        items = list_items(value)
        if items is None and not isinstance(value, (str, int, float, TensorPlan, type(None))):
            return "a value is of a kind that checkpoints do not need"
        if items and depth >= _MAX_NESTING:
            return f"its values are nested more than {_MAX_NESTING} deep"
        if count + len(waiting) + len(items or ()) > rules.max_opcodes:
            return f"it holds more than {rules.max_opcodes} values"
        if characters > _MAX_CHARACTERS:
            return f"it holds more than {_MAX_CHARACTERS} characters of text"
        waiting.extend((item, depth + 1) for item in items or ())
    return None


def _count_characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    keys = value if isinstance(value, dict) else ()
    return sum(len(key) for key in keys if isinstance(key, str))


def list_items(value: Any) -> list[Any] | None:
    """What a dict, list or tuple holds; `None` for anything else."""
    if type(value) in (dict, OrderedDict):
        return list(value.values())
    if type(value) in (list, tuple):
        return list(value)
    return None
