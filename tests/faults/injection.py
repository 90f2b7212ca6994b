"""Coming between evp and the file system: failing, dying, pausing at the n-th call, or watching."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CALLS = (
    *("open", "read", "pread", "write", "pwrite", "fsync", "ftruncate", "close", "fchmod"),
    *("link", "rename", "unlink", "mkdir", "stat", "fstat", "listdir", "statvfs"),
)
DEATH = 77
ERRORS = {
    "EIO": errno.EIO,
    "EACCES": errno.EACCES,
    "ENOSPC": errno.ENOSPC,
    "EINTR": errno.EINTR,
}
WAYS = (*ERRORS, "ctrl-c", "short write", "dies before", "dies after")
_OURS = ("evpcli", "pathlib", "tests.faults")

Hook = Callable[[int, str, Callable[..., Any], tuple[Any, ...]], Any]
"""Number from 1, name of the call, the real call, its arguments; gives what the call gives."""


@contextmanager
def between(hook: Hook) -> Iterator[list[str]]:
    """Let `hook` make every call of evp to the file system; the list names each."""
    made: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}
    flock = fcntl.flock

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not sys._getframe(1).f_globals.get("__name__", "").startswith(_OURS):
                return function(*args, **kwargs)
            made.append(name)
            return hook(len(made), name, lambda *a: function(*(a or args), **kwargs), args)

        return call

    for name, function in real.items():
        setattr(os, name, wrap(name, function))
    fcntl.flock = wrap("flock", flock)
    try:
        yield made
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        fcntl.flock = flock


def fail_at(number: int, way: str) -> Hook:
    """Let one call fail in one of `WAYS`."""

    def hook(count: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if count != number:
            return real()
        if way == "dies before":
            os._exit(DEATH)
        if way == "short write":
            return real(args[0], args[1][:7]) if name == "write" else real()
        try:
            if way == "dies after" or name == "close":
                real()
        finally:
            if way == "dies after":
                os._exit(DEATH)
        if way == "ctrl-c":
            raise KeyboardInterrupt
        raise OSError(ERRORS[way], os.strerror(ERRORS[way]))

    return hook


def stop_at(number: int) -> Hook:
    """Let the process stop itself before one call, as Ctrl-Z does."""

    def hook(count: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if count == number:
            os.kill(os.getpid(), signal.SIGSTOP)
        return real()

    return hook


class Child:
    """A forked process that does one thing.

    Args:
        action: what it does; its text is kept.
    """

    def __init__(self, action: Callable[[], str]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
            return
        code = 99
        try:
            os.write(writing, action().encode())
            code = 0
        finally:
            os._exit(code)

    def wait_until_stopped(self) -> bool:
        """Whether it has stopped itself, rather than come to its end."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._status = status
        return False

    def go_on(self) -> None:
        """Let a stopped process continue."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self, after_s: float = 0) -> None:
        """End it, and wait until it is gone and its locks with it."""
        time.sleep(after_s)
        os.kill(self.pid, signal.SIGKILL)
        self._status = os.waitpid(self.pid, 0)[1]

    def join(self) -> str | None:
        """Its text, once it has ended; nothing when it was killed or died on the way."""
        if not hasattr(self, "_status"):
            self._status = os.waitpid(self.pid, 0)[1]
        with os.fdopen(self._reading, "rb") as told:
            text = told.read().decode()
        code = os.waitstatus_to_exitcode(self._status)
        assert code in (0, DEATH, -signal.SIGKILL), f"the child ended with {code}"
        return text if code == 0 else None
