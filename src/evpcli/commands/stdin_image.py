"""One image on stdin, which `-` stands for."""

from __future__ import annotations

import sys

from evpcli.domain.errors import ImageError

STDIN = "-"


def read_stdin() -> bytes:
    """Everything on stdin.

    Raises:
        ImageError: it is closed, or holds more than an image file may.
    """
    from evpcli.engine.images.image_limits import MAX_FILE_BYTES

    if sys.stdin is None:
        raise ImageError("stdin is closed")
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"stdin holds more than {MAX_FILE_BYTES // 2**20} MiB")
    return data
