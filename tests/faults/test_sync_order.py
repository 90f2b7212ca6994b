"""Whatever is acknowledged was synchronised before, and each step before the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.engine.files.durable import publish_new, write_durably
from evpcli.engine.files.temporaries import TEMPORARY_PREFIX
from evpcli.engine.prompts.registry.registry import Registry
from tests.faults.actions import ACTIONS, KEY, SECOND, act, copy_home, make_prompt, publish
from tests.faults.injection import between
from tests.faults.ledger import Ledger, list_folders


@pytest.fixture
def home(template, scratch_disk):
    return copy_home(template, scratch_disk / "home")


@pytest.mark.parametrize("name", ACTIONS)
def test_an_acknowledged_action_has_left_nothing_to_a_power_cut(home, name):
    ledger = Ledger(home)
    with between(ledger):
        assert act(name, home).code == 0
    assert ledger.list_unsafe() == []
    assert ledger.too_early == []


def test_the_first_publish_makes_its_folders_safe_too(tmp_path):
    ledger = Ledger(tmp_path)
    with between(ledger):
        assert publish(tmp_path / "new" / "home", 1)[0] == 0
    assert ledger.list_unsafe() == []
    assert ledger.synced >= list_folders(tmp_path, tmp_path / "new" / "home" / "registry")


@pytest.mark.parametrize("write", [publish_new, write_durably])
def test_a_written_file_and_its_name_are_safe(tmp_path, write):
    ledger = Ledger(tmp_path)
    with between(ledger):
        write(tmp_path / "file", b"data")
    assert ledger.list_unsafe() == []
    assert tmp_path in ledger.synced


def test_tags_go_before_their_version_and_the_prompt_file_goes_last(home):
    gone = []

    def hook(number, name, real, args):
        if name == "unlink" and not Path(args[0]).name.startswith(TEMPORARY_PREFIX):
            gone.append(Path(args[0]).relative_to(home / "registry").parts[0])
        return real()

    with between(hook):
        assert act("rm", home).code == 0
    assert gone == ["tags", "entries", "blobs"]


def test_known_prompts_are_synchronised_before_they_are_acknowledged(home):
    """A killed import may have linked them without coming to its fsync."""
    registry, ledger = Registry(home / "registry"), Ledger(home)
    entry = registry.find(SECOND)
    with between(ledger):
        told = act("import again", home).told
    assert told == str(SECOND)
    root, layout = registry.layout.root, registry.layout
    for path in (layout.blob(entry.digest), layout.entry(KEY, 2)):
        assert ledger.synced >= list_folders(root, path.parent)


def test_known_prompts_are_mended_before_they_are_acknowledged(home):
    registry = Registry(home / "registry")
    blob = registry.layout.blob(registry.find(SECOND).digest)
    for damage in (b"cut off", b"\0" * len(make_prompt(2)), None):
        blob.chmod(0o644)
        blob.unlink() if damage is None else blob.write_bytes(damage)
        assert act("import again", home).told == str(SECOND)
        assert registry.read(registry.find(SECOND)) == make_prompt(2)
        assert registry.verify() == []


def test_the_ledger_sees_what_is_missing(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    monkeypatch.setattr("evpcli.engine.files.durable.sync_folder", lambda path: None)
    with between(ledger):
        publish_new(tmp_path / "file", b"data")
    assert ledger.list_unsafe() == [f"{tmp_path}/file"]
