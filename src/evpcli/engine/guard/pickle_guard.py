"""What a stranger's pickle may say: dicts of text, numbers and tensors, as the rules allow.

The pickle is never run. A few opcodes are followed on paper; every other one is refused.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from evpcli.domain.errors import DamagedError
from evpcli.engine.guard.pickle_rules import (
    ORDERED_DICT,
    REBUILD_TENSOR,
    STRICT,
    PickleRules,
    TensorPlan,
    fills_storage,
    find_oddity,
    is_count,
    is_known_device,
    lay_densely,
)


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    entry: str
    values: int
    dtype: str


_MARK = object()


def plan_unpickling(
    pickle: bytes, storage_sizes: Mapping[str, int], rules: PickleRules = STRICT
) -> Any:
    """What unpickling would build: dicts, text, numbers and `TensorPlan`s.

    Args:
        pickle: a protocol 2 pickle as `torch.save` writes it.
        storage_sizes: bytes of each zip entry below `data/`.
        rules: how much it may say.

    Raises:
        DamagedError: the pickle could do or build anything else.
    """
    if len(pickle) > rules.max_pickle_bytes:
        _refuse(f"{len(pickle)} bytes of pickle, at most {rules.max_pickle_bytes} are read")
    reader = _Reader(storage_sizes, rules)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(pickle)):
            if count > rules.max_opcodes or len(reader.stack) > rules.max_stack:
                limits = f"at most {rules.max_opcodes} opcodes, {rules.max_stack} values at once"
                _refuse(f"its pickle is too long or too deep ({limits})")
            if opcode.name == "STOP":
                return reader.finish(position == len(pickle) - 1)
            reader.follow(opcode.name, argument)
    except (ValueError, TypeError, KeyError, IndexError, UnicodeError, OverflowError) as error:
        raise _refusal(f"its pickle is torn ({type(error).__name__})") from error
    return _refuse("its pickle has no end")


class _Reader:
    """The stack of an unpickler that builds plans instead of objects."""

    def __init__(self, storage_sizes: Mapping[str, int], rules: PickleRules) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._sizes = storage_sizes
        self._rules = rules
        self._used: set[str] = set()
        self._sealed: dict[int, Any] = {}  # hooks of tensors, by identity: they stay empty
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
            "REDUCE": lambda _: self._call(self.stack.pop(), self.stack.pop()),
        }
        if rules.plain:
            self._actions |= self._list_plain_actions()

    def _list_plain_actions(self) -> dict[str, Callable[[Any], None]]:
        return {
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "APPEND": lambda _: self._append_items([self.stack.pop()]),
            "APPENDS": lambda _: self._append_items(self._pop_to_mark()),
            "BINFLOAT": self.stack.append,
            "LONG1": self.stack.append,
            "NONE": lambda _: self.stack.append(None),
            "BUILD": lambda _: self._check_attributes(self.stack.pop()),
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
        oddity = find_oddity(self.stack[0], self._rules)
        if oddity:
            _refuse(oddity)
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
        if not self._is_fillable(target) or len(items) % 2:
            _refuse("its pickle fills something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not self._is_key(key) or key in target:
                _refuse("a key is no text or appears twice")
            if not self._is_value(value) or value is target:
                _refuse(f"the value of {str(key)[:40]!r} is of a kind that prompts do not hold")
            target[key] = value

    def _append_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list or not all(map(self._is_value, items)):
            _refuse("its pickle lengthens something that is no list")
        target.extend(items)

    def _check_attributes(self, state: Any) -> None:
        """Let a module's `state_dict` carry the version numbers that torch hangs onto it."""
        known = type(state) is dict and set(state) == {"_metadata"}
        if (
            not known
            or type(self.stack[-1]) is not OrderedDict
            or id(self.stack[-1]) in self._sealed
        ):
            _refuse("its pickle changes the attributes of an object")
        if find_oddity(state, self._rules):
            _refuse("its pickle changes the attributes of an object")

    def _is_fillable(self, target: Any) -> bool:
        if type(target) is OrderedDict:
            return self._rules.plain and id(target) not in self._sealed
        return type(target) is dict

    def _is_key(self, key: Any) -> bool:
        return isinstance(key, str) or (self._rules.plain and type(key) is int)

    def _is_value(self, value: Any) -> bool:
        if self._rules.plain:
            return not isinstance(value, (_Global, _Storage)) and id(value) not in self._sealed
        return type(value) is dict or isinstance(value, (str, int, TensorPlan))

    def _name_global(self, name: str) -> None:
        if name.startswith(("numpy.", "numpy ")):
            raise DamagedError(
                "the file holds NumPy values, which evp never reads",
                found=name.replace(" ", ".")[:80],
                hint="where you trust it, load it, make tensors or plain numbers of them, "
                "and save it again",
            )
        if name not in self._rules.globals:
            raise DamagedError(
                "the file asks to run code, which evp never does",
                found=name.replace(" ", ".")[:80],
                hint="ask its author for a file of plain tensors, or a .safetensors",
            )
        self.stack.append(_Global(name))

    def _find_storage(self, told: Any) -> None:
        kind, storage_type, entry, device, values = told
        if not isinstance(storage_type, _Global) or storage_type.name not in self._rules.storages:
            _refuse("a tensor's values are of no known kind")
        if kind != "storage" or not is_known_device(device, self._rules):
            _refuse("a tensor is not on the CPU")
        dtype, value_bytes = self._rules.storages[storage_type.name]
        if not isinstance(entry, str) or not is_count(values):
            _refuse("a tensor's storage has another size than it claims")
        if self._sizes[entry] != values * value_bytes:
            _refuse("a tensor's storage has another size than it claims")
        self._used.add(entry)
        self.stack.append(_Storage(entry, values, dtype))

    def _call(self, arguments: Any, function: Any) -> None:
        if function == _Global(ORDERED_DICT) and arguments == ():
            self.stack.append(OrderedDict())
        elif function == _Global(REBUILD_TENSOR):
            self.stack.append(self._plan_tensor(*arguments))
        else:
            _refuse("its pickle calls something that is no tensor")

    def _plan_tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any, hooks: Any
    ) -> TensorPlan:
        if not isinstance(storage, _Storage) or not isinstance(gradient, bool):
            _refuse("a tensor is not dense")
        if type(hooks) is not OrderedDict or hooks:
            _refuse("a tensor has hooks, which are code")
        self._sealed[id(hooks)] = hooks
        if offset != 0 or not fills_storage(shape, strides, storage.values, self._rules):
            _refuse("a tensor is a view of another size than its storage")
        other_order = None if strides == lay_densely(shape) else strides
        return TensorPlan(shape, storage.entry, storage.dtype, other_order)


def _refusal(problem: str) -> DamagedError:
    return DamagedError("the file holds more than plain values and tensors", found=problem)


def _refuse(problem: str) -> NoReturn:
    raise _refusal(problem)
