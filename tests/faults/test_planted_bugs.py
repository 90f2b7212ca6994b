"""Bugs planted in a copy of the sources: the tests that guard against each must fail on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES, GUARD, PROMPTS = "engine/files", "engine/guard", "engine/prompts"


@dataclass(frozen=True)
class Bug:
    """A change that a tired colleague could make.

    Args:
        file: below `src/evpcli/`.
        sound: what stands there, once.
        broken: what stands there then.
        guards: the tests that must notice, as pytest names them.
    """

    file: str
    sound: str
    broken: str
    guards: tuple[str, ...]


SYNC = "tests/faults/test_sync_order.py"
READING = "tests/engine/prompts/registry/test_registry.py"
BUGS = {
    "the folder of a new name is not synchronised": Bug(
        f"{FILES}/durable.py",
        "            os.unlink(temporary)\n        sync_folder(path.parent)\n",
        "            os.unlink(temporary)\n",
        (SYNC,),
    ),
    "the pickle guard lets one more global through": Bug(
        f"{GUARD}/pickle_guard.py",
        "if name not in self._rules.globals:",
        'if name not in self._rules.globals | {"builtins getattr"}:',
        ("tests/engine/guard/test_pickle_guard.py",),
    ),
    "the rules let one more storage through": Bug(
        f"{GUARD}/pickle_rules.py",
        '        "torch BoolStorage": ("bool", 1),\n',
        '        "torch BoolStorage": ("bool", 1),\n        "builtins bytearray": ("uint8", 1),\n',
        ("tests/engine/guard/test_pickle_guard.py",),
    ),
    "a writer goes on without the lock": Bug(
        f"{FILES}/locks.py",
        "            raise LockHeldError(path, holder)\n",
        "            return _open(path)\n",
        ("tests/engine/files/test_locks.py",),
    ),
    "rm removes the version before its tags": Bug(
        f"{PROMPTS}/registry/registry.py",
        "            for tag in tags:\n                self._unlink(layout.tag(key, tag))\n",
        "            self._unlink(layout.entry(key, version))\n"
        "            for tag in tags:\n                self._unlink(layout.tag(key, tag))\n",
        (SYNC,),
    ),
    "every file that is being written is swept": Bug(
        f"{FILES}/temporaries.py",
        "        return not is_running(int(name[2]))\n    age_s",
        "        return True\n    age_s",
        ("tests/engine/files/test_durable.py",),
    ),
    "a known prompt is acknowledged unsynchronised": Bug(
        f"{PROMPTS}/registry/registry.py",
        "                    sync_file(layout.entry(key, kept.version))\n",
        "                    pass\n",
        (SYNC,),
    ),
    "the digest over a safetensors file is not compared": Bug(
        f"{PROMPTS}/safetensors_seal.py",
        "    if told is None:\n        return\n",
        "    return\n",
        ("tests/engine/prompts/test_exporters.py",),
    ),
    "an unreadable prompt file counts as missing": Bug(
        f"{PROMPTS}/registry/reading.py",
        "        except (FileNotFoundError, NotADirectoryError) as error:\n",
        "        except OSError as error:\n",
        (READING,),
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project; each test mends again what it broke."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "templates-cache")
        shutil.copytree(PROJECT / name, place / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", place)
    return place


def run_guards(copy, guards):
    """Exit code and output of pytest in the copy: 0 passed, 1 failed, more for anything else."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *guards],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_a_planted_bug_is_caught(copy, bug):
    path = copy / "src" / "evpcli" / bug.file
    sound = path.read_text()
    assert sound.count(bug.sound) == 1, "the sources have changed: plant the bug anew"
    path.write_text(sound.replace(bug.sound, bug.broken))
    try:
        code, told = run_guards(copy, bug.guards)
    finally:
        path.write_text(sound)
    assert code == 1, told[-2000:]


@pytest.mark.slow
def test_the_guards_pass_where_nothing_is_planted(copy):
    guards = sorted({guard for bug in BUGS.values() for guard in bug.guards})
    code, told = run_guards(copy, guards)
    assert code == 0, told[-2000:]
