"""Eight at once: publishers, importers of one prompt, taggers, a remover and readers; and kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from functools import partial

import pytest

from evpcli.domain.reference import KeyRef
from evpcli.engine.prompts.prompt_file import decode_prompt
from evpcli.engine.prompts.registry import layout as registry_layout
from evpcli.engine.prompts.registry.registry import Registry
from tests.faults.actions import KEY, make_home, make_prompt, publish, type_evp
from tests.faults.conftest import FULL
from tests.faults.injection import Child
from tests.faults.promises import find_unsound

ROUNDS = 60 if FULL else 6
KILLS = 200 if FULL else 12
SAME = 900


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Eight that take turns may wait for each other."""
    monkeypatch.setattr(registry_layout, "LOCK_WAIT_S", 60.0)


@pytest.fixture
def home(scratch_disk):
    folder = scratch_disk / "crowd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    make_home(folder)
    (folder / "same.pt").write_bytes(make_prompt(SAME))
    return folder


def publish_new(home, writer, count):
    code, out, err = publish(home, 1000 + 1000 * writer + count)
    return code, out, err, 1000 + 1000 * writer + count


def import_same(home, writer, count):
    return *type_evp(home, "import", str(home / "same.pt")), SAME


def tag_newest(home, writer, count):
    """Move one of two tags to whatever is newest; it may be removed at that moment."""
    return *type_evp(home, "tag", str(KEY), f"shared-{writer % 2}"), None


def forget(home, writer, count):
    return *type_evp(home, "tag", str(KEY), f"shared-{count % 2}", "--delete"), None


def remove_own(home, writer, count):
    """File a prompt, give it a tag, remove it."""
    code, out, err = publish(home, 500_000 + count)
    if code == 0:
        type_evp(home, "tag", out, f"short-lived-{count}")
        code, out, err = type_evp(home, "rm", out, "--yes")
    return code, out, err, None


def look(home, writer, count):
    verb = ("verify", "list")[count % 2]
    return *type_evp(home, verb, "--json"), None


CROWD = (publish_new, publish_new, import_same, import_same, tag_newest, forget, remove_own, look)
MAY_BE_GONE = {tag_newest: {0, 4}, forget: {0, 4}}


def work(role, writer, home, pipe, rounds):
    """Do a role's part again and again, telling each end as one line."""
    for count in rounds:
        code, out, err, seed = role(home, writer, count)
        fine = code in MAY_BE_GONE.get(role, {0})
        line = {"seed": seed, "ref": out.strip(), "wrong": None if fine else f"{code}: {err}"}
        os.write(pipe, (json.dumps(line if seed or not fine else {}) + "\n").encode())
    return ""


def start_crowd(home, rounds):
    """All eight, and the end of a pipe on which they tell what was acknowledged."""
    reading, writing = os.pipe()
    children = [
        Child(partial(work, role, writer, home, writing, rounds))
        for writer, role in enumerate(CROWD)
    ]
    os.close(writing)
    return children, reading


def check_told(home, told):
    """Nothing acknowledged is lost, and nothing dangles or stands twice."""
    registry = Registry(home / "registry")
    assert find_unsound(registry) == []
    kept = {str(entry.ref): registry.read(entry) for entry in registry.entries()}
    assert [line["wrong"] for line in told if line.get("wrong")] == []
    lost = [line for line in told if line and kept.get(line["ref"]) != make_prompt(line["seed"])]
    assert lost == []
    assert len({line["ref"] for line in told if line and line["seed"] == SAME}) == 1
    return kept


def read_lines(reading):
    with os.fdopen(reading) as pipe:
        return [json.loads(line) for line in pipe if line.endswith("\n")]


def test_eight_at_once_lose_nothing(home, count):
    children, reading = start_crowd(home, range(ROUNDS))
    told = read_lines(reading)
    assert [child.join() for child in children] == [""] * len(CROWD)
    kept = check_told(home, told)
    assert len(told) == len(CROWD) * ROUNDS
    count("actions of eight at once", len(told))
    assert len(kept) == 2 + 2 * ROUNDS + 1


def import_file(home, path):
    """What an import acknowledges."""
    return type_evp(home, "import", str(path))[1].strip()


def test_eight_imports_of_one_prompt_make_one_version(home):
    for number in range(ROUNDS):
        path = home / f"round-{number}.pt"
        path.write_bytes(make_prompt(2_000 + number))
        children = [Child(partial(import_file, home, path)) for _ in range(8)]
        assert {child.join() for child in children} == {f"{KEY}:v{3 + number}"}
    assert len(Registry(home / "registry").entries()) == 2 + ROUNDS


def test_eight_kills_at_random_lose_nothing_acknowledged(home, count):
    """All are killed at a random moment, then the next eight come; dead writers leave nothing."""
    dice, told = random.Random(0), []
    for batch in range(KILLS // len(CROWD) + 1):
        children, reading = start_crowd(home, range(1000 * batch, 1000 * batch + 1000))
        time.sleep(dice.uniform(0.02, 0.3))
        for child in dice.sample(children, len(children)):
            child.kill()
        told += [line for line in read_lines(reading) if line]
    check_told(home, told)
    assert told
    count("kills", len(CROWD) * (KILLS // len(CROWD) + 1))
    count("acknowledged before a kill", len(told))
    data = make_prompt(7)
    entry = Registry(home / "registry").publish(data, decode_prompt(data).manifest)
    assert entry.ref != KeyRef(KEY, 1)
    assert os.listdir(home / "registry" / "tmp") == []
