"""Whether connections are forbidden."""

from __future__ import annotations

import os

OFFLINE_VARIABLES = ("EVP_OFFLINE", "HF_HUB_OFFLINE")
_TRUE_WORDS = ("1", "true", "yes", "on")


def is_offline(flag: bool = False) -> bool:
    """Whether the flag, EVP_OFFLINE or HF_HUB_OFFLINE forbids connections."""
    return flag or any(
        os.environ.get(name, "").strip().lower() in _TRUE_WORDS for name in OFFLINE_VARIABLES
    )
