"""How many CPUs this process may use, which in a container or under a scheduler are not all."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

MOST_DECODING_THREADS = 16
"""More of them wait for each other: Pillow lets go of Python's lock for a part of the work only."""

_OPENMP_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUPS = Path("/sys/fs/cgroup")


def count_usable_cpus() -> int:
    """CPUs that this process may use, by its affinity and its cgroup's quota; at least 1."""
    with suppress(AttributeError, OSError):  # not every system has affinities
        return min(len(os.sched_getaffinity(0)), _read_quota())
    return os.cpu_count() or 1


def count_decoding_threads() -> int:
    """Threads that decode pictures unless somebody says otherwise."""
    return min(count_usable_cpus(), MOST_DECODING_THREADS)


def settle_openmp() -> None:
    """Settle how torch's threads wait and how many they are; only before torch is loaded.

    Threads that spin while they wait take the CPUs that the others need: on a busy machine that
    costs more than half of the time, on a quiet one waiting passively costs nothing
    (`benchmarks/busy.py`). torch heeds the affinity by itself, but not a cgroup's quota. Whatever
    the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    usable, seen = count_usable_cpus(), os.cpu_count() or 1
    if usable < seen and not any(name in os.environ for name in _OPENMP_THREADS):
        os.environ["OMP_NUM_THREADS"] = str(usable)


def _read_quota() -> int:
    """CPUs by the quota of the process's cgroup and those above it; very many without one."""
    quotas = [quota for folder in _list_cgroups() if (quota := _read_quota_of(folder))]
    return max(1, math.ceil(min(quotas, default=1e6)))


def _list_cgroups() -> list[Path]:
    """The folders that may hold a quota: of version 2, and of version 1's `cpu` controller."""
    folders = [_CGROUPS, _CGROUPS / "cpu"]
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        top = _CGROUPS if not controllers else _CGROUPS / "cpu"
        if not controllers or "cpu" in controllers.split(","):
            inner = Path(path.lstrip("/"))
            folders += [top / part for part in (inner, *inner.parents)]
    return folders


def _read_quota_of(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        return int(quota) / int(period)
    return None  # "max", or -1: no limit


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
