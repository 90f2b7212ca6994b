"""What torchrun, or another launcher, tells a process about itself. Torch-free."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

_GRACE_S = 8.0
_LOOK_EVERY_S = 1.0


def is_launched() -> bool:
    """Whether torchrun, or something that sets its variables, started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def is_shared() -> bool:
    """Whether there are several processes."""
    return is_launched() and os.environ["WORLD_SIZE"] != "1"


def read_rank() -> int:
    """This process's number, also before it has joined the others."""
    try:
        return int(os.environ.get("RANK", "0")) if is_launched() else 0
    except ValueError:
        return 0


def read_local_rank() -> int:
    """This process's number on its machine, also before it has joined the others."""
    try:
        return int(os.environ.get("LOCAL_RANK", "0")) if is_launched() else 0
    except ValueError:
        return 0


def name_launch() -> str | None:
    """A name of this call of torchrun, the same after its restarts; nothing without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        began = "0"
    return f"{socket.gethostname()}:{parent}:{began}:{os.environ['TORCHELASTIC_RUN_ID']}"


def count_restarts() -> int:
    """How often torchrun started its workers again."""
    text = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() else 0


def watch_launcher() -> None:
    """End this process when torchrun is gone, so that no worker is left behind."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()
