"""The registry: keep, find, list and remove."""

import errno
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, StorageError, UsageError
from evpcli.domain.reference import DigestRef, KeyRef, PromptKey
from evpcli.engine.prompts.registry.layout import RegistryLayout, name_folder
from evpcli.engine.prompts.registry.record import decode_entry, encode_entry
from evpcli.engine.prompts.registry.registry import Registry
from tests.builders import build_manifest

MANIFEST = build_manifest()
KEY = MANIFEST.key
NEWEST = KeyRef(KEY)


@pytest.fixture
def registry(tmp_path):
    """A registry in a folder that does not exist yet."""
    return Registry(tmp_path / "registry")


def flip(path: Path, place: int) -> None:
    """Change one bit of a file, whatever its mode."""
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.chmod(0o644)
    path.write_bytes(data)


def damage_entry(registry, version):
    flip(registry.layout.entry(KEY, version), 800)


def test_reading_an_absent_registry_finds_nothing_and_makes_nothing(registry):
    assert registry.entries() == []
    assert registry.survey().faults == ()
    assert registry.verify() == []
    assert not registry.layout.root.exists()


def test_a_published_prompt_is_found_and_read(registry):
    entry = registry.publish(b"data", MANIFEST)
    assert registry.find(NEWEST) == entry
    assert registry.read(entry) == b"data"
    assert entry.manifest == MANIFEST
    assert str(entry.ref) == "digits/mini:v1"


def test_files_lie_where_the_design_says(registry):
    entry = registry.publish(b"data", MANIFEST)
    blob = registry.layout.root / "blobs" / "sha256" / entry.digest[:2] / entry.digest
    assert blob.read_bytes() == b"data"
    assert blob.stat().st_mode & 0o777 == 0o444
    (folder,) = (registry.layout.root / "entries").iterdir()
    assert folder.name.startswith("digits-mini--")
    assert [path.name for path in folder.iterdir()] == ["v000001.json"]
    assert list((registry.layout.root / "tmp").iterdir()) == []


def test_versions_count_up_within_a_key(registry):
    versions = [registry.publish(bytes([n]), MANIFEST).version for n in range(3)]
    other = registry.publish(b"other", build_manifest(dataset="other"))
    assert versions == [1, 2, 3]
    assert other.version == 1
    assert registry.find(NEWEST).version == 3


def test_equal_bytes_share_one_blob(registry):
    first = registry.publish(b"same", MANIFEST)
    second = registry.publish(b"same", build_manifest(dataset="other"))
    assert first.digest == second.digest
    registry.remove(first.key, first.version)
    assert registry.read(second) == b"same"


def test_publishing_mends_a_damaged_blob(registry):
    entry = registry.publish(b"same", MANIFEST)
    flip(registry.layout.blob(entry.digest), 3)
    registry.publish(b"same", MANIFEST)
    assert registry.read(entry) == b"same"


def test_a_missing_key_suggests_a_near_one(registry):
    registry.publish(b"data", MANIFEST)
    with pytest.raises(NotFoundError) as caught:
        registry.find(KeyRef(PromptKey("digit", "mini")))
    assert caught.value.hint == "did you mean digits/mini?"


def test_a_missing_version_names_the_newest(registry):
    registry.publish(b"data", MANIFEST)
    with pytest.raises(NotFoundError) as caught:
        registry.find(KeyRef(KEY, 7))
    assert "digits/mini:v1" in caught.value.hint


def test_a_digest_prefix_finds_its_prompt(registry):
    entry = registry.publish(b"data", MANIFEST)
    assert registry.find(DigestRef(entry.digest[:6])) == entry
    with pytest.raises(NotFoundError):
        registry.find(DigestRef("0123456789"))


def test_an_ambiguous_digest_is_refused(registry):
    registry.publish(b"one", MANIFEST)
    registry.publish(b"two", MANIFEST)
    with pytest.raises(UsageError, match="several prompts"):
        registry.find(DigestRef(""))


def test_best_is_the_highest_lower_bound_on_validation(registry):
    def publish(correct, n):
        metrics = [{"what": "prompted", "split": "val", "n": n, "top1_correct": correct}]
        registry.publish(bytes([correct]), build_manifest(metrics=metrics))

    publish(150, 200)
    publish(170, 200)
    publish(3, 3)  # all right, but of three
    publish(160, 200)
    assert registry.find(KeyRef(KEY, tag="best")).version == 2


def test_best_falls_back_to_test_and_needs_a_measurement(registry):
    registry.publish(b"none", build_manifest(metrics=()))
    with pytest.raises(NotFoundError, match="measured"):
        registry.find(KeyRef(KEY, tag="best"))
    metrics = [{"what": "prompted", "split": "test", "n": 9, "top1_correct": 5}]
    registry.publish(b"some", build_manifest(metrics=metrics))
    assert registry.find(KeyRef(KEY, tag="best")).version == 2


def test_a_tag_names_a_version_until_it_moves(registry):
    first, second = registry.publish(b"1", MANIFEST), registry.publish(b"2", MANIFEST)
    registry.tag(first, "prod")
    assert registry.find(KeyRef(KEY, tag="prod")) == first
    registry.tag(second, "prod")
    assert registry.find(KeyRef(KEY, tag="prod")) == second
    assert (registry.tags_of(KEY, first.version), registry.tags_of(KEY, second.version)) == (
        (),
        ("prod",),
    )
    registry.untag(KEY, "prod")
    with pytest.raises(NotFoundError, match="no such tag"):
        registry.find(KeyRef(KEY, tag="prod"))


@pytest.mark.parametrize("name", ["../x", "v3", "best", "", "-rf", ".hidden", "a/b", "a\0b", "é"])
def test_odd_tags_are_refused_and_nothing_is_made(registry, tmp_path, name):
    entry = registry.publish(b"data", MANIFEST)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        registry.tag(entry, name)
    assert sorted(tmp_path.rglob("*")) == before


def test_rm_keeps_other_prompts(registry):
    doomed, kept = registry.publish(b"1", MANIFEST), registry.publish(b"2", MANIFEST)
    registry.tag(doomed, "old")
    registry.remove(doomed.key, doomed.version)
    assert registry.entries() == [kept]
    assert registry.read(kept) == b"2"
    assert not registry.layout.blob(doomed.digest).exists()
    assert registry.verify() == []


def test_a_removed_number_is_never_given_again(registry):
    registry.publish(b"1", MANIFEST)
    registry.remove(KEY, registry.publish(b"2", MANIFEST).version)
    assert registry.publish(b"3", MANIFEST).version == 3


def test_a_damaged_version_can_be_discarded(registry):
    registry.publish(b"1", MANIFEST)
    registry.publish(b"2", MANIFEST)
    damage_entry(registry, 2)
    registry.remove(KEY, 2)
    assert registry.find(NEWEST).version == 1
    assert [found.level for found in registry.verify()] == ["unused"]


def test_removing_spares_prompt_files_while_an_entry_is_damaged(registry):
    first = registry.publish(b"1", MANIFEST)
    registry.publish(b"2", MANIFEST)
    damage_entry(registry, 2)
    registry.remove(first.key, first.version)
    assert registry.layout.blob(first.digest).exists()


def test_damage_is_told_and_the_older_version_named(registry):
    registry.publish(b"1", MANIFEST)
    registry.publish(b"2", MANIFEST)
    damage_entry(registry, 2)
    assert [entry.version for entry in registry.entries()] == [1]
    (found,) = registry.survey().faults
    assert found.ref == KeyRef(KEY, 2)
    for ref in (NEWEST, KeyRef(KEY, 2), KeyRef(KEY, tag="best")):
        with pytest.raises(DamagedError) as caught:
            registry.find(ref)
        assert "digits/mini:v1" in caught.value.hint
    assert registry.find(KeyRef(KEY, 1)).version == 1


def test_a_damaged_blob_is_told_and_the_older_version_named(registry):
    registry.publish(b"1" * 99, MANIFEST)
    newest = registry.publish(b"2" * 99, MANIFEST)
    flip(registry.layout.blob(newest.digest), 5)
    with pytest.raises(DamagedError) as caught:
        registry.read(registry.find(NEWEST))
    assert "use digits/mini:v1" in caught.value.hint
    (found,) = registry.verify()
    assert (found.level, found.ref) == ("damaged", newest.ref)


def test_every_flipped_bit_of_an_entry_is_noticed(registry):
    data = encode_entry(registry.publish(b"data", MANIFEST))
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            decode_entry(bytes(flipped), KEY, 1)


def test_flipped_bits_of_blobs_and_tags_are_noticed(registry):
    entry = registry.publish(random.Random(0).randbytes(5_000), MANIFEST)
    registry.tag(entry, "prod")
    blob, tag = registry.layout.blob(entry.digest), registry.layout.tag(KEY, "prod")
    dice = random.Random(1)
    for _ in range(150):
        for path, check in ((blob, registry.read), (tag, lambda _: find_prod(registry))):
            sound = path.read_bytes()
            flip(path, dice.randrange(8 * len(sound)))
            with pytest.raises(DamagedError):
                check(entry)
            assert registry.verify()
            path.write_bytes(sound)
    assert registry.verify() == []


def find_prod(registry):
    return registry.find(KeyRef(KEY, tag="prod"))


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_cut_off_files_are_noticed(registry, percent):
    entry = registry.publish(bytes(1_000), MANIFEST)
    for path in (registry.layout.blob(entry.digest), registry.layout.entry(KEY, 1)):
        sound = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(sound[: len(sound) * percent // 100])
        with pytest.raises(DamagedError):
            registry.find(NEWEST)
        assert registry.verify()
        path.write_bytes(sound)


def test_a_missing_blob_is_damage(registry):
    entry = registry.publish(b"data", MANIFEST)
    registry.layout.blob(entry.digest).unlink()
    assert registry.entries() == []
    with pytest.raises(DamagedError):
        registry.find(NEWEST)


def test_an_entry_copied_elsewhere_is_damage(registry):
    registry.publish(b"data", MANIFEST)
    data = registry.layout.entry(KEY, 1).read_bytes()
    registry.layout.entry(KEY, 5).write_bytes(data)
    other = registry.layout.entry(PromptKey("other", "mini"), 1)
    other.parent.mkdir()
    other.write_bytes(data)
    assert len(registry.survey().faults) == 2
    assert len(registry.entries()) == 1


def test_an_entry_of_a_newer_evp_is_told(registry):
    registry.publish(b"data", MANIFEST)
    path = registry.layout.entry(KEY, 1)
    path.chmod(0o644)
    text = path.read_text().replace('"schema_version":1,"sha256"', '"schema_version":2,"sha256"')
    path.write_text(text)
    with pytest.raises(DamagedError) as caught:
        registry.find(NEWEST)
    assert "newer evp" in caught.value.found


PLANTS = {
    "link": lambda path, canary: path.symlink_to(canary),
    "hard link": lambda path, canary: os.link(canary, path),
    "pipe": lambda path, canary: os.mkfifo(path),
    "folder": lambda path, canary: path.mkdir(),
    "socket": lambda path, canary: bind(path),
}


def bind(path):
    here = Path.cwd()
    os.chdir(path.parent)  # socket names are limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("place", ["blob", "entry", "tag", "lock", "scratch", "key folder"])
def test_planted_files_are_refused_and_canaries_live(registry, tmp_path, plant, place):
    canary = tmp_path / "canary"
    canary.write_bytes(b"canary")
    first = registry.publish(b"1", MANIFEST)
    entry = registry.publish(b"data", MANIFEST)
    registry.tag(entry, "prod")
    layout = registry.layout
    path = {
        "blob": layout.blob(entry.digest),
        "entry": layout.entry(KEY, 2),
        "tag": layout.tag(KEY, "prod"),
        "lock": layout.root / "lock",
        "scratch": layout.scratch,
        "key folder": layout.entry(KEY, 1).parent,
    }[place]
    path.rename(tmp_path / "moved")
    PLANTS[plant](path, canary)
    for act in (
        lambda: registry.read(registry.find(NEWEST)),
        lambda: find_prod(registry),
        registry.verify,
        lambda: registry.publish(b"more", MANIFEST),
        lambda: registry.remove(first.key, first.version),
        lambda: registry.tag(first, "prod"),
    ):
        try:
            act()
        except EvpError:
            continue
    assert canary.read_bytes() == b"canary"
    assert canary.stat().st_mode & 0o777 == 0o644


def test_a_linked_folder_leads_nowhere(registry, tmp_path):
    entry = registry.publish(b"data", MANIFEST)
    folder = registry.layout.blob(entry.digest).parent
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="real folder"):
        registry.read(entry)
    with pytest.raises(StorageError, match="real folder"):
        registry.publish(b"data", MANIFEST)
    assert (tmp_path / "outside" / entry.digest).read_bytes() == b"data"


@pytest.mark.parametrize("name", ["notes.txt", "v1.json", "v000001.json~", "..json"])
def test_foreign_files_are_told(registry, name):
    registry.publish(b"data", MANIFEST)
    (registry.layout.entry(KEY, 1).parent / name).write_text("{}")
    assert [found.path.name for found in registry.survey().faults] == [name]


def test_check_writable_tells_before_training(registry, tmp_path):
    registry.check_writable()
    assert list(registry.layout.scratch.iterdir()) == []
    with pytest.raises(StorageError, match="too full"):
        registry.check_writable(1 << 60)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        Registry(tmp_path / "file" / "registry").check_writable()


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from(
    ["CON", "..", "../../x", "C:\\x", "-rf", "a.", "K", "\u212a", "e\u0301", "\u00e9", "x" * 200]
)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
def test_keys_never_collide_and_never_leave_the_root(first, second):
    layout = RegistryLayout(Path("/registry"))
    one, two = PromptKey(*first), PromptKey(*second)
    folder = layout.entry(one, 1).parent
    assert folder.parent == layout.entries
    assert folder.name not in (".", "..")
    assert len(folder.name) < 64
    assert folder.name.isascii()
    assert (name_folder(one) == name_folder(two)) == (one == two)


def test_the_registry_loads_neither_torch_nor_numpy():
    module = "evpcli.engine.prompts.registry.registry"
    code = f"import sys, {module}; print({{'torch', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_prompt_that_is_there_keeps_its_version(registry):
    first = registry.file_once(b"data", MANIFEST)
    again = registry.file_once(b"data", MANIFEST)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.entry == first.entry
    assert registry.list_versions(KEY) == [1]


def test_a_removed_prompt_can_be_filed_again_under_a_new_number(registry):
    registry.publish(b"data", MANIFEST)
    registry.remove(KEY, 1)
    filed = registry.file_once(b"data", MANIFEST)
    assert (filed.is_new, filed.entry.version) == (True, 2)


def test_removing_gives_the_tags_that_went_and_only_once(registry):
    registry.tag(registry.publish(b"1", MANIFEST), "prod")
    assert registry.remove(KEY, 1) == ("prod",)
    with pytest.raises(NotFoundError):
        registry.remove(KEY, 1)


def test_a_removed_version_can_no_longer_be_tagged(registry):
    entry = registry.publish(b"1", MANIFEST)
    registry.remove(KEY, 1)
    with pytest.raises(NotFoundError):
        registry.tag(entry, "prod")
    assert registry.verify() == []


def leave_dangling(registry):
    entry = registry.publish(b"1", MANIFEST)
    registry.publish(b"2", MANIFEST)
    registry.tag(entry, "gone")
    path = registry.layout.tag(KEY, "gone")
    data = path.read_bytes()
    registry.remove(KEY, 1)
    path.write_bytes(data)
    return path


def test_a_dangling_tag_is_a_note_that_can_be_forgotten(registry):
    path = leave_dangling(registry)
    (found,) = registry.verify()
    assert (found.level, found.path, found.is_fault) == ("dangling", path, False)
    with pytest.raises(NotFoundError) as caught:
        registry.find(KeyRef(KEY, tag="gone"))
    assert "tag digits/mini gone --delete" in caught.value.hint
    registry.untag(KEY, "gone")
    assert registry.verify() == []


def test_a_damaged_tag_can_be_forgotten(registry):
    registry.tag(registry.publish(b"1", MANIFEST), "prod")
    flip(registry.layout.tag(KEY, "prod"), 100)
    registry.untag(KEY, "prod")
    assert registry.verify() == []


def test_only_the_tag_of_the_named_version_is_forgotten(registry):
    first, _ = registry.publish(b"1", MANIFEST), registry.publish(b"2", MANIFEST)
    registry.tag(first, "prod")
    with pytest.raises(NotFoundError, match="v2 has no such tag"):
        registry.untag(KEY, "prod", 2)
    registry.untag(KEY, "prod", 1)
    assert registry.tags_of(KEY, 1) == ()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("place", ["blob", "entry", "tag", "entries", "tags", "blobs"])
def test_what_cannot_be_read_is_never_called_missing_or_damaged(
    registry, monkeypatch, place, number
):
    """As root a test cannot take its own rights away: the call itself refuses."""
    entry = registry.publish(b"data", MANIFEST)
    registry.tag(entry, "prod")
    layout = registry.layout
    path = {
        "blob": layout.blob(entry.digest),
        "entry": layout.entry(KEY, 1),
        "tag": layout.tag(KEY, "prod"),
        "entries": layout.entry(KEY, 1).parent,
        "tags": layout.tag(KEY, "prod").parent,
        "blobs": layout.blob(entry.digest).parent,
    }[place]
    for name in ("stat", "open", "listdir"):
        refuse_path(monkeypatch, name, path, number)
    if place not in ("tag", "tags"):
        with pytest.raises(StorageError, match="cannot read"):
            registry.read(registry.find(NEWEST))
    else:
        with pytest.raises(StorageError, match="cannot read"):
            registry.find(KeyRef(KEY, tag="prod"))
        with pytest.raises(StorageError, match="cannot read"):
            registry.tags_of(KEY, 1)
    assert {found.level for found in registry.verify()} <= {"unreadable", "unused"}
    assert any(found.level == "unreadable" for found in registry.verify())


def refuse_path(monkeypatch, name, path, number):
    real = getattr(os, name)

    def call(asked, *args, **kwargs):
        if not isinstance(asked, int) and path in (Path(asked), *Path(asked).parents):
            raise OSError(number, os.strerror(number))
        return real(asked, *args, **kwargs)

    monkeypatch.setattr(os, name, call)


def test_a_folder_without_locks_is_refused_before_training(registry, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError, match="no locks"):
        registry.check_writable()
    with pytest.raises(StorageError, match="no locks"):
        registry.publish(b"data", MANIFEST)
    assert registry.entries() == []


def test_another_writer_does_not_keep_training_from_starting(registry):
    with registry.layout.write():
        registry.check_writable()


@pytest.mark.parametrize("name", ["v0000002.json", "v0000007.json", "v00000.json"])
def test_a_number_has_one_name(registry, name):
    """A second name for a number once made every look-up run for ever."""
    registry.publish(b"1", MANIFEST)
    path = registry.layout.entry(KEY, 1)
    (path.parent / name).write_bytes(path.read_bytes())
    assert registry.find(NEWEST).version == 1
    assert [found.level for found in registry.verify()] == ["damaged"]


def test_a_root_that_leads_nowhere_is_told(tmp_path):
    (tmp_path / "registry").symlink_to(tmp_path / "not mounted")
    registry = Registry(tmp_path / "registry")
    for look in (registry.entries, lambda: registry.find(NEWEST), registry.check_writable):
        with pytest.raises(StorageError, match="leads nowhere"):
            look()
    assert {finding.level for finding in registry.verify()} == {"damaged"}


def test_nothing_is_called_unused_while_a_version_cannot_be_read(registry, monkeypatch):
    registry.publish(b"1", MANIFEST)
    refuse_path(monkeypatch, "open", registry.layout.entry(KEY, 1), errno.EIO)
    assert [found.level for found in registry.verify()] == ["unreadable"]


def test_a_file_system_without_hard_links_is_refused_before_training(registry, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="no hard links"):
        registry.check_writable()
    assert list(registry.layout.scratch.iterdir()) == []


def test_a_tag_that_moved_meanwhile_removes_nothing(registry):
    first, second = registry.publish(b"1", MANIFEST), registry.publish(b"2", MANIFEST)
    registry.tag(second, "latest")
    with pytest.raises(NotFoundError, match="moved"):
        registry.remove(KEY, first.version, "latest")
    assert registry.list_versions(KEY) == [1, 2]


def test_a_damaged_tag_is_named_with_the_way_out(registry):
    registry.tag(registry.publish(b"1", MANIFEST), "prod")
    flip(registry.layout.tag(KEY, "prod"), 100)
    with pytest.raises(DamagedError, match="digits/mini:prod") as caught:
        find_prod(registry)
    assert "--delete" in caught.value.hint
    path = registry.layout.tag(KEY, "prod")
    path.rename(path.with_suffix(""))
    assert [found.level for found in registry.verify()] == ["damaged"]
    assert registry.tags_of(KEY, 1) == ()
