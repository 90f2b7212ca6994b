"""How many CPUs a process may use."""

import os
import subprocess
import sys

import pytest

from evpcli.engine.compute import usable_cpus
from evpcli.engine.compute.usable_cpus import (
    count_decoding_threads,
    count_usable_cpus,
    settle_openmp,
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 CPUs whose control groups are files below a folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(usable_cpus, "_CGROUPS", tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "usable"),
    [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("", 64)],
)
def test_a_quota_of_version_2_counts(machine, quota, usable):
    write(machine / "cpu.max", quota)
    assert count_usable_cpus() == usable


@pytest.mark.parametrize(("quota", "usable"), [("-1", 64), ("400000", 4)])
def test_a_quota_of_version_1_counts(machine, quota, usable):
    write(machine / "cpu" / "cpu.cfs_quota_us", quota)
    write(machine / "cpu" / "cpu.cfs_period_us", "100000")
    assert count_usable_cpus() == usable


def test_the_smallest_quota_above_the_process_counts(machine, monkeypatch):
    write(machine / "a" / "cpu.max", "300000 100000")
    write(machine / "a" / "b" / "cpu.max", "max 100000")
    real = usable_cpus._read
    told = {"/proc/self/cgroup": "0::/a/b\n"}
    monkeypatch.setattr(usable_cpus, "_read", lambda path: told.get(str(path)) or real(path))
    assert count_usable_cpus() == 3


def test_the_affinity_counts(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert count_usable_cpus() == 2
    assert count_decoding_threads() == 2


def test_a_large_machine_decodes_with_sixteen_threads(machine):
    assert count_decoding_threads() == 16


def test_threads_are_set_only_below_what_torch_would_take(machine, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    settle_openmp()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("OMP_NUM_THREADS")) == ("PASSIVE", None)
    write(machine / "cpu.max", "200000 100000")
    settle_openmp()
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_what_the_user_has_set_stays(machine, monkeypatch):
    write(machine / "cpu.max", "200000 100000")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    settle_openmp()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"]) == ("ACTIVE", "7")


def test_the_command_settles_it_before_torch_is_loaded():
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); sys.argv[1:] = ['--version']\n"
        "import evpcli.cli as cli\n"
        "try: cli.run()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["PASSIVE", "False"]
