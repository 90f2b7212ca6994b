"""The registry on real disks that are full or read-only; tests/faults breaks single calls."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests.builders import build_manifest

MANIFEST = build_manifest()


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
    from evpcli.engine.prompts.registry.registry import Registry
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
    from evpcli.engine.prompts.registry.registry import Registry
    manifest = Manifest.model_validate_json(Path("manifest.json").read_text())
    registry = Registry(Path("disk/r"))
    entry = registry.publish(b"data", manifest)
    subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
    assert registry.read(registry.find(entry.ref)) == b"data"
    def remove(): registry.remove(entry.key, entry.version)
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
