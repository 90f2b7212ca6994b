"""`evp` as a fresh process: how long it takes, and how much memory it comes to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCHER = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.stderr[-400:] if done.returncode else 0)
"""
"""A small process between us and the one that is measured.

Linux counts what the parent held when it started a child as the child's own peak.
"""


def find_evp() -> list[str]:
    """The installed command, as a user's shell starts it; the module where there is none."""
    script = Path(sys.executable).parent / "evp"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "evpcli"]


def make_environment(home: Path) -> dict[str, str]:
    """The variables of a process whose home is a folder, without the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVP_")}
    return kept | {"EVP_HOME": str(home), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def time_evp(words: Sequence[str], home: Path) -> float:
    """Seconds from the start of a process to its end.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [*find_evp(), *words],
        cwd=home,
        env=make_environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    elapsed_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr))
    return elapsed_s


def measure_peak(words: Sequence[str], home: Path) -> int:
    """Bytes that a process held in memory at its peak, mapped files included.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *find_evp(), *words],
        cwd=home,
        env=make_environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr))
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit


def measure_folder(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def add_variables(found: Mapping[str, str]) -> None:
    """Give this process the same variables, before any library has read them."""
    for name in [name for name in os.environ if name.startswith("EVP_")]:
        del os.environ[name]
    os.environ.update(found)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
