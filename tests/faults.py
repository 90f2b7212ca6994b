"""Failing and dying at the n-th call to the file system, and what must hold afterwards."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evpcli.domain.errors import EvpError
from evpcli.domain.reference import KeyRef
from evpcli.engine.storage.registry import Registry

CALLS = (
    *("open", "read", "write", "fsync", "close", "fchmod", "link", "rename", "unlink"),
    *("mkdir", "stat", "fstat", "listdir", "statvfs"),
)
DEATH = 77
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR}
WAYS = (*ERRORS, "ctrl-c", "short write", "dies before", "dies after")


@contextmanager
def break_call(number: int, way: str) -> Iterator[list[str]]:
    """Let the `number`-th call of the block fail in one of `WAYS`; the list names each call."""
    made: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) != number:
                return real[name](*args, **kwargs)
            return fail(name, *args, **kwargs)

        return call

    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if way == "dies before":
            os._exit(DEATH)
        if way == "short write":
            return real[name](args[0], args[1][:7]) if name == "write" else real[name](*args)
        try:
            if way == "dies after" or name == "close":
                real[name](*args, **kwargs)
        finally:
            if way == "dies after":
                os._exit(DEATH)
        if way == "ctrl-c":
            raise KeyboardInterrupt
        raise OSError(ERRORS[way], os.strerror(ERRORS[way]))

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield made
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def act_with_fault(action: Callable[[], Any], number: int, way: str) -> tuple[str, int]:
    """How an action ended (done, refused, stopped, died or broke) and how many calls it made.

    A dying action is run in a forked child.
    """
    if way.startswith("dies"):
        child = os.fork()
        if child == 0:
            try:
                with break_call(number, way):
                    action()
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return ("died", number) if status == DEATH else ("done", 0)
    with break_call(number, way) as made:
        try:
            action()
        except EvpError:
            return "refused", len(made)
        except KeyboardInterrupt:
            return "stopped", len(made)
        except Exception:
            return "broke", len(made)
    return "done", len(made)


def find_violations(
    make_root: Callable[[], Path],
    prepare: Callable[[Registry], Any],
    action: Callable[[Registry], Any],
    check: Callable[[Registry, str], list[str]],
    way: str,
) -> tuple[int, list[str]]:
    """Fail at each call of an action in turn, until one run ends untouched.

    Args:
        make_root: a fresh folder.
        prepare: fills the registry before the fault.
        action: what is broken.
        check: violations, given the registry and how the action ended.
        way: one of `WAYS`.

    Returns:
        Points tried, and every violation with its place.
    """
    violations: list[str] = []
    number = 0
    while True:
        number += 1
        registry = Registry(make_root())
        prepare(registry)
        ended, calls = act_with_fault(lambda: action(registry), number, way)  # noqa: B023
        if ended == "broke":
            violations.append(f"call {number}: another error escaped")
        violations += [f"call {number}: {text}" for text in check(registry, ended)]
        if calls < number:
            return number, violations


def check_readable(registry: Registry, expected: dict[KeyRef, bytes]) -> list[str]:
    """What is wrong with a registry: damage, or versions that do not give their bytes."""
    wrong = [f"damaged: {found.problem}" for found in registry.verify() if found.level != "unused"]
    for entry in registry.entries():
        try:
            data = registry.read(entry)
        except EvpError as error:
            wrong.append(f"{entry.ref}: {error.what}")
        else:
            if expected.get(entry.ref, data) != data:
                wrong.append(f"{entry.ref} has other bytes")
    missing = expected.keys() - {entry.ref for entry in registry.entries()}
    return wrong + [f"{ref} is lost" for ref in missing]
