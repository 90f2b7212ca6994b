"""The registry when calls fail, processes die and disks are full."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from evpcli.domain.errors import EvpError
from evpcli.domain.reference import KeyRef
from evpcli.engine.storage import registry as registry_module
from evpcli.engine.storage.durable import TEMPORARY_PREFIX
from evpcli.engine.storage.registry import Registry
from tests.builders import build_manifest
from tests.faults import WAYS, check_readable, find_violations

MANIFEST = build_manifest()
KEY = MANIFEST.key
FIRST, SECOND, THIRD = b"first prompt" * 20, b"second prompt" * 20, b"third prompt" * 20


@pytest.fixture
def fresh_root(tmp_path):
    """A function that gives an empty folder each time; in memory, where fsync costs nothing."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place, prefix="evp-test-") as folder:

        def make():
            shutil.rmtree(Path(folder) / "registry", ignore_errors=True)
            return Path(folder) / "registry"

        yield make


def check_after_publish(registry, ended):
    expected = {KeyRef(KEY, 1): FIRST} | ({KeyRef(KEY, 2): SECOND} if ended == "done" else {})
    wrong = check_readable(registry, expected)
    wrong += ["half visible"] * (len(registry.entries()) > 2)
    try:
        entry = registry.publish(THIRD, MANIFEST)
        expected[entry.ref] = THIRD
        wrong += check_readable(registry, expected)
        left = registry.layout.list_names(registry.layout.scratch)
        wrong += ["left-overs"] * any(n.startswith(TEMPORARY_PREFIX) for n in left)
    except EvpError as error:
        wrong.append(f"the next publish fails: {error.found}")
    return wrong


def try_publish(fresh_root, way):
    return find_violations(
        fresh_root,
        lambda registry: registry.publish(FIRST, MANIFEST),
        lambda registry: registry.publish(SECOND, MANIFEST),
        check_after_publish,
        way,
    )


@pytest.mark.parametrize("way", WAYS)
def test_publish_survives_a_fault_at_every_call(fresh_root, way):
    points, violations = try_publish(fresh_root, way)
    assert violations == []
    assert points > 40


@pytest.mark.parametrize("way", ["EIO", "dies before", "dies after"])
def test_the_first_publish_survives_a_fault_at_every_call(fresh_root, way):
    def check(registry, ended):
        wrong = check_readable(registry, {KeyRef(KEY, 1): SECOND} if ended == "done" else {})
        registry.publish(THIRD, MANIFEST)
        return wrong + check_readable(registry, {})

    points, violations = find_violations(
        fresh_root, lambda _: None, lambda r: r.publish(SECOND, MANIFEST), check, way
    )
    assert violations == []
    assert points > 40


@pytest.mark.parametrize("way", ["ENOSPC", "ctrl-c", "dies after"])
def test_remove_and_tag_survive_a_fault_at_every_call(fresh_root, way):
    def prepare(registry):
        registry.tag(registry.publish(FIRST, MANIFEST), "kept")
        registry.publish(SECOND, MANIFEST)

    def act(registry):
        registry.tag(registry.find(KeyRef(KEY, 1)), "kept")
        registry.remove(registry.find(KeyRef(KEY, 2)))

    def check(registry, ended):
        wrong = check_readable(registry, {KeyRef(KEY, 1): FIRST})
        wrong += ["still there"] * (ended == "done" and len(registry.entries()) != 1)
        wrong += ["number given again"] * (registry.publish(THIRD, MANIFEST).version != 3)
        return wrong + ["tag lost"] * (registry.find(KeyRef(KEY, tag="kept")).version != 1)

    points, violations = find_violations(fresh_root, prepare, act, check, way)
    assert violations == []
    assert points > 60


def write_in_place(path, data, mode=0o644, scratch=None):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for start in range(0, len(data), 100):
        os.write(handle, data[start : start + 100])
    os.close(handle)


def write_and_hope(path, data, mode=0o644, scratch=None):
    try:
        write_in_place(path, data)
    except OSError:
        return


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("publish_new", write_in_place),
        ("write_durably", write_in_place),
        ("publish_new", write_and_hope),
    ],
    ids=["entry in place", "blob in place", "errors swallowed"],
)
def test_the_fault_harness_goes_red(fresh_root, monkeypatch, name, broken):
    monkeypatch.setattr(registry_module, name, broken)
    assert any(try_publish(fresh_root, way)[1] for way in ("EIO", "short write", "dies before"))


def publish_many(root, writer, count):
    for number in range(count):
        Registry(root).publish(f"{writer} {number}".encode() * 50, MANIFEST)


def fork(action):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


def test_four_writers_keep_every_version(fresh_root):
    root = fresh_root()
    children = [fork(lambda w=writer: publish_many(root, w, 10)) for writer in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    registry = Registry(root)
    assert [entry.version for entry in registry.entries()] == list(range(1, 41))
    wanted = {f"{w} {n}".encode() * 50 for w in range(4) for n in range(10)}
    assert {registry.read(entry) for entry in registry.entries()} == wanted
    assert registry.verify() == []


def test_four_writers_without_locks_keep_every_version(fresh_root, monkeypatch):
    """As on a network file system that has none: link() alone keeps the versions apart."""

    def refuse(*args):
        raise OSError("no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    root = fresh_root()
    children = [fork(lambda w=writer: publish_many(root, w, 10)) for writer in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(Registry(root).entries()) == 40
    assert Registry(root).verify() == []


def test_kill_at_random_times_loses_nothing_acknowledged(fresh_root):
    """Two publishers and one cleaner on one key, killed together, 15 times."""
    root, dice = fresh_root(), random.Random(0)
    promised = {}

    def publish(pipe, writer):
        while True:
            data = f"{writer} {time.monotonic_ns()}".encode() * 30
            entry = Registry(root).publish(data, MANIFEST)
            os.write(pipe, f"{entry.version} {data.decode()[:30]}\n".encode())

    def clean():
        while True:
            registry = Registry(root)
            other = registry.publish(str(time.monotonic_ns()).encode(), build_manifest(dataset="x"))
            registry.remove(other)

    for _ in range(15):
        reading, writing = os.pipe()
        children = [fork(lambda w=w: publish(writing, w)) for w in "ab"]  # noqa: B023
        children.append(fork(clean))
        os.close(writing)
        time.sleep(dice.uniform(0.01, 0.06))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        with os.fdopen(reading) as told:
            promised |= dict(line.rstrip("\n").split(" ", 1) for line in told if line[-1] == "\n")
    registry = Registry(root)
    assert [found for found in registry.verify() if found.level == "damaged"] == []
    kept = {e.version: registry.read(e).decode() for e in registry.entries() if e.key == KEY}
    assert len(promised) > 50
    assert all(kept[int(version)].startswith(start) for version, start in promised.items())


def run_on_small_disk(tmp_path, options, code):
    """Run code with a small file system at ./disk, in a user's own mount namespace."""
    (tmp_path / "disk").mkdir()
    script = f"mount -t tmpfs -o {options} tmpfs disk && exec {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no small file system here: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


FILL = textwrap.dedent("""
    import sys
    from pathlib import Path
    from evpcli.domain.errors import StorageError
    from evpcli.domain.manifest import Manifest
    from evpcli.engine.storage.registry import Registry
    manifest = Manifest.model_validate_json(Path("manifest.json").read_text())
    registry, published, refused = Registry(Path("disk/r")), 0, 0
    for size in [20_000 + 997 * n for n in range(40)]:
        try:
            registry.publish(bytes([size % 251]) * size, manifest)
            published += 1
        except StorageError as error:
            refused += 1
            assert error.exit_code == 8 and error.hint, error
    entries = registry.entries()
    assert [len(registry.read(entry)) for entry in entries] == [e.size_bytes for e in entries]
    assert all(found.level == "unused" for found in registry.verify()), registry.verify()
    assert len(entries) == published
    print(published, refused)
""")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
@pytest.mark.parametrize("options", ["size=300k", "size=1m,nr_inodes=24"])
def test_a_full_disk_is_told_and_tears_nothing(tmp_path, options):
    (tmp_path / "manifest.json").write_text(MANIFEST.model_dump_json())
    published, refused = map(int, run_on_small_disk(tmp_path, options, FILL).split())
    assert published > 0
    assert refused > 0


READ_ONLY = textwrap.dedent("""
    import subprocess
    from pathlib import Path
    from evpcli.domain.errors import StorageError
    from evpcli.domain.manifest import Manifest
    from evpcli.engine.storage.registry import Registry
    manifest = Manifest.model_validate_json(Path("manifest.json").read_text())
    registry = Registry(Path("disk/r"))
    entry = registry.publish(b"data", manifest)
    subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
    assert registry.read(registry.find(entry.ref)) == b"data"
    def remove(): registry.remove(entry)
    def publish(): registry.publish(b"more", manifest)
    def tag(): registry.tag(entry, "x")
    for action in (registry.check_writable, publish, remove, tag):
        try:
            action()
        except StorageError as error:
            print(error.found)
""")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_read_only_registry_is_read_and_not_written(tmp_path):
    (tmp_path / "manifest.json").write_text(MANIFEST.model_dump_json())
    told = run_on_small_disk(tmp_path, "size=1m", READ_ONLY).splitlines()
    assert len(told) == 4
    assert all("Read-only file system" in line for line in told)
