"""What a stranger's pickle may say: plain dicts of text, whole numbers and float32 tensors.

The pickle is never run. A few opcodes are followed on paper; every other one is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from evpcli.domain.errors import DamagedError

MAX_PICKLE_BYTES = (4 << 20) + (64 << 10)
_MAX_OPCODES = 2_000
_MAX_DEPTH = 64
_TENSOR = "torch._utils _rebuild_tensor_v2"
_STORAGE = "torch FloatStorage"
_ORDERED = "collections OrderedDict"
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class TensorPlan:
    """A dense float32 tensor that a pickle asks for.

    Args:
        shape: sizes of its axes.
        storage: name of the zip entry below `data/` that holds its values and nothing else.
    """

    shape: tuple[int, ...]
    storage: str


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    entry: str
    values: int


_MARK = object()


def plan_unpickling(pickle: bytes, storage_sizes: Mapping[str, int]) -> Any:
    """What unpickling would build: dicts, text, whole numbers and `TensorPlan`s.

    Args:
        pickle: a protocol 2 pickle as `torch.save` writes it.
        storage_sizes: bytes of each zip entry below `data/`.

    Raises:
        DamagedError: the pickle could do or build anything else.
    """
    if len(pickle) > MAX_PICKLE_BYTES:
        _refuse(f"{len(pickle)} bytes of pickle")
    reader = _Reader(storage_sizes)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(pickle)):
            if count > _MAX_OPCODES or len(reader.stack) > _MAX_DEPTH:
                _refuse("its pickle is too long or too deep")
            if opcode.name == "STOP":
                return reader.finish(position == len(pickle) - 1)
            reader.follow(opcode.name, argument)
    except (ValueError, TypeError, KeyError, IndexError, UnicodeError, OverflowError) as error:
        raise _refusal(f"its pickle is torn ({type(error).__name__})") from error
    return _refuse("its pickle has no end")


class _Reader:
    """The stack of an unpickler that builds plans instead of objects."""

    def __init__(self, storage_sizes: Mapping[str, int]) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._sizes = storage_sizes
        self._used: set[str] = set()
        self._actions: dict[str, Callable[[Any], None]] = {
            "PROTO": self._check_protocol,
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "MARK": lambda _: self.stack.append(_MARK),
            "BINUNICODE": self.stack.append,
            "BININT": self.stack.append,
            "BININT1": self.stack.append,
            "BININT2": self.stack.append,
            "NEWFALSE": lambda _: self.stack.append(False),
            "NEWTRUE": lambda _: self.stack.append(True),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "BINGET": lambda slot: self.stack.append(self._memo[slot]),
            "LONG_BINGET": lambda slot: self.stack.append(self._memo[slot]),
            "TUPLE1": lambda _: self._gather(1),
            "TUPLE2": lambda _: self._gather(2),
            "TUPLE3": lambda _: self._gather(3),
            "TUPLE": lambda _: self.stack.append(tuple(self._pop_to_mark())),
            "SETITEM": lambda _: self._set_items([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "GLOBAL": self._name_global,
            "BINPERSID": lambda _: self._find_storage(self.stack.pop()),
            "REDUCE": lambda _: self._build(self.stack.pop(), self.stack.pop()),
        }

    def follow(self, name: str, argument: Any) -> None:
        """Do on paper what one opcode does."""
        action = self._actions.get(name)
        if action is None:
            _refuse(f"its pickle uses {name}")
        action(argument)

    def finish(self, at_end: bool) -> Any:
        """The value that the pickle built, if it built exactly one and used every storage."""
        if not at_end or len(self.stack) != 1:
            _refuse("its pickle goes on after its end")
        if self._used != set(self._sizes):
            _refuse("it holds values that no tensor uses")
        return self.stack[0]

    def _check_protocol(self, version: int) -> None:
        if version != 2:
            _refuse(f"its pickle has protocol {version}")

    def _remember(self, slot: int) -> None:
        self._memo[slot] = self.stack[-1]

    def _gather(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            _refuse("its pickle fills something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) or key in target:
                _refuse("a key is no text or appears twice")
            if not isinstance(value, (dict, str, int, TensorPlan)) or value is target:
                _refuse(f"the value of {key[:40]!r} is of a kind that prompts do not hold")
            target[key] = value

    def _name_global(self, name: str) -> None:
        if name not in (_TENSOR, _STORAGE, _ORDERED):
            raise DamagedError(
                "the file asks to run code, which evp never does",
                found=name.replace(" ", ".")[:80],
                hint="ask its author for a file of plain tensors, or a .safetensors",
            )
        self.stack.append(_Global(name))

    def _find_storage(self, told: Any) -> None:
        kind, storage_type, entry, device, values = told
        if (kind, storage_type, device) != ("storage", _Global(_STORAGE), "cpu"):
            _refuse("a tensor is not float32 on the CPU")
        if not _is_count(values) or self._sizes[entry] != values * _FLOAT_BYTES:
            _refuse("a tensor's storage has another size than it claims")
        self._used.add(entry)
        self.stack.append(_Storage(entry, values))

    def _build(self, arguments: Any, function: Any) -> None:
        if function == _Global(_ORDERED) and arguments == ():
            self.stack.append(_Global("hooks"))
            return
        if function != _Global(_TENSOR):
            _refuse("its pickle calls something that is no tensor")
        storage, offset, shape, strides, needs_gradient, hooks = arguments
        if not (isinstance(storage, _Storage) and hooks == _Global("hooks")):
            _refuse("a tensor is not dense float32")
        if not isinstance(needs_gradient, bool) or not all(map(_is_count, (*shape, *strides))):
            _refuse("a tensor is not dense float32")
        if offset != 0 or math.prod(shape) != storage.values or strides != _dense(shape):
            _refuse("a tensor is a view of another size than its storage")
        self.stack.append(TensorPlan(shape, storage.entry))


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _refusal(problem: str) -> DamagedError:
    return DamagedError("the file holds more than plain float32 tensors", found=problem)


def _refuse(problem: str) -> NoReturn:
    raise _refusal(problem)
