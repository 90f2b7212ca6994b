"""Everything a user can mend, each kind with its exit code."""

from __future__ import annotations

from typing import ClassVar


class EvpError(Exception):
    """Something the user can mend: what was wrong, what was found, what to try.

    Args:
        what: one sentence without a final stop, saying what was wrong.
        found: the offending value or state, if it helps.
        hint: the next command or step to try.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, found: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.found = found
        self.hint = hint

    @property
    def summary(self) -> str:
        """What was wrong, and what was found if that is known; the hint left out."""
        return f"{self.what}: {self.found}" if self.found else self.what


class UsageError(EvpError):
    """The command line or a configuration file asks for something that cannot be."""

    exit_code = 2


class NotFoundError(EvpError):
    """A dataset, backbone, prompt or file of that name does not exist."""

    exit_code = 4


class DamagedError(EvpError):
    """Bytes are not what they claim to be: damaged, hostile, or from another program."""

    exit_code = 5


class IncompatibleError(DamagedError):
    """A sound prompt that is meant for another backbone, canvas or set of classes."""


class ImageError(EvpError):
    """A picture cannot be decoded or is refused by the decoding policy."""


class NetworkError(EvpError):
    """Something must be downloaded and cannot be, or what came is wrong."""

    exit_code = 6


class CheckFailedError(EvpError):
    """A check that the user asked for said no."""

    exit_code = 7


class StorageError(EvpError):
    """A disk is full, read-only, or closed to this user."""

    exit_code = 8


class ReaderGoneError(EvpError):
    """Whoever read stdout closed it; there is nobody left to be told."""

    exit_code = 141


class OutOfMemoryError(EvpError):
    """The device or the machine has too little memory for the request."""

    exit_code = 9


class DivergedError(EvpError):
    """Training produced values that are not finite."""

    exit_code = 10


class WorkerLostError(EvpError):
    """Another process of the same run is gone."""

    exit_code = 11


class StoppedError(EvpError):
    """A signal ended the work after its state was saved.

    Args:
        signal_number: 1 (HUP), 2 (INT) or 15 (TERM); the exit code is 128 more.
    """

    def __init__(self, signal_number: int, what: str, *, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.signal_number = signal_number
