"""list, rm, tag, export, import and verify on the command line."""

import errno
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from evpcli.cli import main
from evpcli.commands.output import terminal
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.files.paths import find_registry
from evpcli.engine.prompts.prompt_file import encode_prompt, read_prompt_file
from evpcli.engine.prompts.registry.registry import Registry
from tests.builders import build_manifest, build_pixels
from tests.engine.prompts.importers.checkpoints import Pads, Program, build_blm, build_vp
from tests.hostile_files import build_code_pickles, build_pickle_zip, save, save_prompt

PIXELS = build_pixels()


@pytest.fixture
def registry():
    """The registry that the commands use, with two versions of digits/mini."""
    registry = Registry(find_registry())
    for correct in (150, 160):
        manifest = build_manifest(correct=correct)
        registry.publish(encode_prompt(PIXELS, manifest), manifest)
    return registry


@pytest.fixture
def run(capsys):
    """A function that runs one command line and gives exit code, stdout and stderr."""

    def call(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return call


def test_list_without_a_registry_says_what_to_do(run, evp_home):
    code, out, err = run("list")
    assert (code, out) == (0, "")
    assert "evp fit" in err
    assert not evp_home.exists()


def test_list_shows_accuracy_with_interval_and_baseline(run, registry):
    registry.tag(registry.entries()[0], "old")
    code, out, err = run("list")
    header, first, second = (line.split("\t") for line in out.splitlines())
    assert (code, err) == (0, "")
    assert header[:4] == ["prompt", "tags", "test accuracy", "no prompt"]
    assert first[:3] == ["digits/mini:v1", "old", "75.0 % [68.6, 80.5] (n=200)"]
    assert second[3:5] == ["60.0 % [53.1, 66.5] (n=200)", "selected on val, epoch 3 of 5"]
    assert second[5] == registry.entries()[1].digest[:12]


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_list_keeps_references_whole_on_a_terminal(run, registry, monkeypatch, columns):
    for tag in ("a-rather-long-tag", "prod"):
        registry.tag(registry.entries()[0], tag)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    _, out, err = run("list")
    for entry in registry.entries():
        assert str(entry.ref) in out
        assert (entry.digest[:12] in out) is ("digest" not in err)
    assert max(map(len, out.splitlines())) <= columns
    assert "2026-01-02T" not in out
    assert ("val 3/5" in out) is (columns >= 80)


def test_list_is_a_table_within_100_columns(run, registry, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    lines = run("list")[1].splitlines()
    assert len(lines) == 4
    assert lines[2].split()[0] == "digits/mini:v1"


def test_list_as_json(run, registry):
    code, out, err = run("list", "--json")
    first, second = json.loads(out)["prompts"]
    assert (code, err) == (0, "")
    assert (first["ref"], second["version"]) == ("digits/mini:v1", 2)
    assert second["metrics"][2]["top1"] == 0.8
    assert second["metrics"][2]["top1_interval"][0] == pytest.approx(0.739, abs=1e-3)


def test_list_warns_of_damage_and_goes_on(run, registry):
    damage(registry.layout.entry(registry.entries()[1].key, 2))
    code, out, err = run("list")
    assert code == 0
    assert "digits/mini:v1" in out
    assert "warning: digits/mini:v2" in err


def damage(path):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_rm_removes_one_version(run, registry):
    code, out, _ = run("rm", "digits/mini:v1", "--yes")
    assert (code, out) == (0, "removed digits/mini:v1\n")
    assert [str(entry.ref) for entry in registry.entries()] == ["digits/mini:v2"]


def test_rm_tells_which_tags_went_with_a_version(run, registry):
    first, second = registry.entries()
    for entry, tag in ((first, "prod"), (first, "a"), (second, "kept"), (second, "old")):
        registry.tag(entry, tag)
    assert "digits/mini:v1 (tags: a, prod)" in run("rm", "digits/mini:v1")[2]
    code, out, err = run("rm", "digits/mini:v1", "--yes")
    assert (code, out) == (0, "removed digits/mini:v1\n")
    assert err == "gone with digits/mini:v1: tags a, prod\n"
    damage(registry.layout.entry(second.key, 2))
    code, out, err = run("rm", "digits/mini:v2", "--yes", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tags"] == {"digits/mini:v2": ["kept", "old"]}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["digits/mini:v1"], 2),
        (["digits/mini", "--yes"], 2),
        (["digits/mini:v1", "digits/mini:v9", "--yes"], 4),
        (["digits/nano:v1", "--yes"], 4),
        (["./prompt.pt", "--yes"], 2),
        (["../x", "--yes"], 2),
        (["digits/mini:../x", "--yes"], 2),
        ([], 2),
    ],
)
def test_rm_that_is_not_sure_removes_nothing(run, registry, words, code):
    assert run("rm", *words)[0] == code
    assert len(registry.entries()) == 2


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("n\n", 2), ("", 2)])
def test_rm_asks_a_person(run, registry, monkeypatch, answer, left):
    monkeypatch.setattr(terminal, "is_live", lambda stream: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    code, _, err = run("rm", "digits/mini:v1")
    assert "Remove digits/mini:v1?" in err
    assert (code, len(registry.entries())) == (0, left)
    assert ("nothing was removed" in err) == (left == 2)


def test_rm_takes_a_whole_key_when_told(run, registry):
    code, out, _ = run("rm", "digits/mini", "--all-versions", "--yes", "--json")
    assert code == 0
    assert json.loads(out)["removed"] == ["digits/mini:v1", "digits/mini:v2"]
    assert registry.entries() == []


def test_rm_takes_digests_and_damaged_versions(run, registry):
    first, second = registry.entries()
    damage(registry.layout.entry(second.key, 2))
    assert run("rm", first.digest[:12], "digits/mini:v2", "--yes")[0] == 0
    assert (registry.entries(), registry.survey().faults) == ([], ())


def test_tag_names_moves_and_forgets(run, registry):
    assert run("tag", "digits/mini:v1", "prod") == (0, "digits/mini:v1\tprod\n", "")
    code, out, _ = run("tag", "digits/mini", "prod", "--json")
    assert (code, json.loads(out)["tags"]) == (0, ["prod"])
    assert run("tag", "digits/mini:prod", "prod", "--delete")[0] == 0
    assert run("tag", "digits/mini", "prod", "--delete")[0] == 4


@pytest.mark.parametrize("name", ["../x", "v1", "best", "", "a b"])
def test_odd_tags_are_refused(run, registry, name):
    code, out, err = run("tag", "digits/mini", name)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert not registry.layout.tags.exists()


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("p.pt", b"PK\x03\x04"),
        ("p.pth", b"PK\x03\x04"),
        ("p.npz", b"PK\x03\x04"),
        ("p.png", b"\x89PNG"),
        ("p.safetensors", b""),
    ],
)
def test_export_chooses_the_format_by_the_name(run, registry, tmp_path, name, start):
    code, out, err = run("export", "digits/mini:v1", "-o", tmp_path / name)
    assert (code, out) == (0, f"{tmp_path / name}\n")
    assert (tmp_path / name).read_bytes().startswith(start)
    assert ("outside [0, 1]" in err) == (name == "p.png")


def test_export_names_the_file_for_the_prompt(run, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", "digits/mini")[:2] == (0, "digits-mini-v2.pt\n")
    digest = registry.entries()[1].digest
    assert read_prompt_file(tmp_path / "digits-mini-v2.pt").digest == digest


def test_export_never_replaces_unasked(run, registry, tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"mine")
    code, out, err = run("export", "digits/mini", "-o", path)
    assert (code, out) == (1, "")
    assert "--force" in err
    assert path.read_bytes() == b"mine"
    assert run("export", "digits/mini", "-o", path, "--force")[0] == 0
    assert read_prompt_file(path)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-o", "p.jpg"], 2),
        (["-o", "p"], 2),
        (["--format", "exe"], 2),
        (["-o", "q.npz", "--format", "png"], 2),
        (["-o", "q.PT", "--format", "reference"], 2),
        (["-o", "q.jpg", "--format", "png"], 2),
        (["-o", "absent/p.pt"], 4),
        (["-o", "/dev/null", "--format", "pt", "--force"], 2),
    ],
)
def test_export_refuses_odd_outputs(run, registry, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    assert run("export", "digits/mini", *words)[0] == code
    assert [p.name for p in tmp_path.iterdir()] == ["evp-home"]


@pytest.mark.parametrize(("backbone", "warned"), [("mini", True), ("ViT-B/32", False)])
def test_export_warns_of_a_pth_that_has_no_way_back(run, tmp_path, backbone, warned):
    geometry = FrameGeometry(224, 30)
    pixels = build_pixels(geometry)
    manifest = build_manifest(backbone=backbone, geometry=geometry, pixels=pixels)
    Registry(find_registry()).publish(encode_prompt(pixels, manifest), manifest)
    path = tmp_path / "p.pth"
    code, out, err = run("export", f"digits/{backbone}", "-o", path, "--json")
    assert code == 0
    assert json.loads(out)["importable"] is not warned
    assert ("never be imported again" in err) is warned
    words = ("import", path, "--dataset", "digits", "--backbone", backbone)
    assert (run(*words)[0] != 0) is warned


def test_import_files_a_prompt_from_elsewhere(run, tmp_path):
    path = tmp_path / "theirs.pt"
    path.write_bytes(encode_prompt(PIXELS, build_manifest(dataset="theirs")))
    code, out, err = run("import", path, "--tag", "new")
    assert (code, out, err) == (0, "theirs/mini:v1\n", "")
    code, out, err = run("import", path)
    assert (code, out) == (0, "theirs/mini:v1\n")
    assert "already" in err
    assert run("export", "theirs/mini:new", "-o", tmp_path / "again.pt")[0] == 0
    assert (tmp_path / "again.pt").read_bytes() == path.read_bytes()


def test_import_of_a_checkpoint_needs_names(run, tmp_path):
    path = tmp_path / "reference.pth"
    path.write_bytes(save({"perturbation": build_pixels(FrameGeometry(224, 30))}))
    names = tmp_path / "names.txt"
    names.write_text("Tabby_Cat\nDog\n")
    assert run("import", path)[0] == 2
    assert run("import", path, "--dataset", "pets")[0] == 2
    assert run("import", path, "--dataset", "../x", "--backbone", "ViT-B/32")[0] == 2
    assert Registry(find_registry()).entries() == []
    words = ("--dataset", "pets", "--backbone", "ViT-B/32", "--classnames", names)
    assert run("import", path, *words)[:2] == (0, "pets/ViT-B/32:v1\n")
    assert Registry(find_registry()).entries()[0].manifest.class_names == ("tabby cat", "dog")


def test_import_finds_the_layout_by_itself(run, tmp_path):
    path = tmp_path / "best.pth"
    path.write_bytes(save(build_vp(Pads(224, 30))))
    words = ("import", path, "--dataset", "pets", "--backbone", "ViT-B/32")
    code, out, err = run(*words)
    assert (code, out) == (0, "pets/ViT-B/32:v1\n")
    assert "layout: VP for CLIP" in err
    manifest = Registry(find_registry()).entries()[0].manifest
    assert (manifest.method, manifest.composition) == ("vp", "overlay")
    code, out, err = run("export", "pets/ViT-B/32", "-o", tmp_path / "p.pth")
    assert (code, out) == (2, "")
    assert "on top of the picture" in err
    assert not (tmp_path / "p.pth").exists()


def test_import_tells_what_differs(run, tmp_path):
    path, names = tmp_path / "best.pth", tmp_path / "names.txt"
    mapping = torch.rand(1000, 2)
    path.write_bytes(save(build_blm(Program(224, 48), mapping)))
    names.write_text("cat\ndog\n")
    words = ("--dataset", "pets", "--backbone", "torchvision/resnet18", "--classnames", names)
    code, out, err = run("import", path, *words)
    assert (code, out) == (0, "pets/torchvision/resnet18:v1\n")
    assert "layout: BLM for classifiers" in err
    assert "stretched" in err
    code, out, err = run("export", "pets/torchvision/resnet18", "-o", tmp_path / "p.pt")
    stored = read_prompt_file(tmp_path / "p.pt")
    assert torch.equal(stored.label_map.weight, mapping.T)


def test_import_without_class_names_says_so(run, tmp_path):
    path = tmp_path / "reference.pth"
    path.write_bytes(save({"perturbation": build_pixels(FrameGeometry(224, 30))}))
    code, out, err = run("import", path, "--dataset", "pets", "--backbone", "ViT-B/32")
    assert (code, out) == (0, "pets/ViT-B/32:v1\n")
    assert "--classnames FILE" in err
    assert run("list")[1].splitlines()[1].split("\t")[4] == "imported"


HOSTILE = {
    "code": lambda: build_pickle_zip(build_code_pickles("touch canary")["reduce"]),
    "truncated": lambda: encode_prompt(PIXELS, build_manifest())[:-100],
    "wrong shape": lambda: save_prompt(PIXELS[:, :-1], build_manifest()),
    "nan": lambda: save_prompt(PIXELS * float("nan"), build_manifest()),
    "empty": lambda: b"",
    "html": lambda: b"<!DOCTYPE html>",
    "numpy": lambda: save({"perturb_dict": {}, "output_mapping": [[np.int64(3)]]}),
    "unknown layout": lambda: save({"weights": PIXELS}),
    "live backbone": lambda: encode_prompt(PIXELS, build_manifest(backbone="hf-hub:attacker/x")),
    "terminal codes": lambda: encode_prompt(PIXELS, build_manifest(dataset="\x1b[2Jx")),
    "dataset as path": lambda: encode_prompt(PIXELS, build_manifest(dataset="../../x")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line_and_leave_the_registry(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pt").write_bytes(HOSTILE[name]())
    code, out, err = run("import", "bad.pt")
    assert (code, out) == (5, "")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pt"]


def test_import_of_nothing_is_not_found(run):
    assert run("import", "absent.pt")[0] == 4


def test_strange_text_in_a_manifest_is_shown_escaped(run, tmp_path):
    manifest = build_manifest(created_at="\x1b]0;owned\x07[red]")
    path = tmp_path / "odd.pt"
    path.write_bytes(encode_prompt(PIXELS, manifest))
    assert run("import", path)[0] == 0
    out = run("list")[1]
    assert "\x1b" not in out
    assert "\\x1b]0;owned" in out


def test_verify_is_quiet_when_all_is_well(run, registry):
    code, out, err = run("verify")
    assert (code, out) == (0, "")
    assert "2" in err


def test_verify_exits_5_with_a_table(run, registry):
    damage(registry.layout.blob(registry.entries()[0].digest))
    code, out, err = run("verify")
    assert code == 5
    assert out.splitlines()[1].startswith("damaged\tdigits/mini:v1\t")
    assert out.count(str(registry.layout.blob(registry.entries()[0].digest))) == 1
    assert "damaged: 1" in err


def test_verify_as_json_says_nothing_twice(run, registry):
    code, out, err = run("verify", "--json")
    assert (code, json.loads(out)["findings"], err) == (0, [], "")
    blob = registry.layout.blob(registry.entries()[0].digest)
    damage(blob)
    code, out, err = run("verify", "--json")
    finding = json.loads(out)["findings"][0]
    assert (code, finding["level"], finding["path"], err) == (5, "damaged", str(blob), "")
    assert out.count(str(blob)) == 1


def test_a_damaged_newest_version_names_the_older_one(run, registry, tmp_path):
    damage(registry.layout.blob(registry.entries()[1].digest))
    code, _, err = run("export", "digits/mini", "-o", tmp_path / "p.pt")
    assert code == 5
    assert "use digits/mini:v1" in err.lower()


def test_a_file_in_the_registrys_place_is_a_storage_error(run, evp_home, tmp_path):
    evp_home.write_bytes(b"")
    path = tmp_path / "p.pt"
    path.write_bytes(encode_prompt(PIXELS, build_manifest()))
    assert run("import", path)[0] == 8


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["rm", "--help"], ["tag", "--help"], ["list", "--json"]]
)
def test_light_commands_load_neither_torch_nor_numpy(registry, words):
    code = (
        "import sys; from evpcli.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'torchvision'} & set(sys.modules);"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "set()"
    assert time.monotonic() - started < 5  # 0.4 s are promised for a machine that is not busy


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "nosuch/x"],
        ["inspect", "./nosuch.pt"],
        ["inspect", "digits/mini:v9"],
        ["export", "nosuch/x"],
        ["export", "abcdef0123"],
        ["export", "digits/mini", "--format", "png", "-o", "q.npz"],
    ],
)
def test_a_wrong_name_is_told_before_torch_is_loaded(registry, words):
    code = (
        "import sys; from evpcli.cli import main; code = main(sys.argv[1:]);"
        "print(sorted({'torch', 'numpy'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode in (2, 4)
    assert done.stdout == "[]\n"
    assert done.stderr.startswith("error: ")


def test_a_dangling_tag_is_told_as_a_note_and_can_be_forgotten(run, registry):
    registry.tag(registry.entries()[0], "gone")
    path = registry.layout.tag(registry.entries()[0].key, "gone")
    data = path.read_bytes()
    run("rm", "digits/mini:v1", "--yes")
    path.write_bytes(data)
    code, out, _ = run("verify")
    assert code == 0
    assert "dangling" in out
    code, out, _ = run("tag", "digits/mini:v1", "gone", "--delete")
    assert (code, out) == (0, "forgot digits/mini:gone\n")
    assert run("verify")[:2] == (0, "")


@pytest.mark.parametrize("ref", ["digits/mini", "digits/mini:v1", "digits/mini:old"])
def test_a_tag_is_forgotten_by_its_key_its_version_or_itself(run, registry, ref):
    registry.tag(registry.entries()[0], "old")
    assert run("tag", ref, "old", "--delete", "--json")[0] == 0
    assert run("tag", ref.partition(":")[0], "old", "--delete")[0] == 4


def test_a_tag_of_another_version_stays(run, registry):
    registry.tag(registry.entries()[0], "old")
    assert run("tag", "digits/mini:v2", "old", "--delete")[0] == 4
    assert registry.tags_of(registry.entries()[0].key, 1) == ("old",)


def test_list_and_verify_exit_8_where_something_cannot_be_read(run, registry, monkeypatch):
    path, real = registry.layout.entry(registry.entries()[0].key, 1), os.open

    def refuse(asked, *args, **kwargs):
        if not isinstance(asked, int) and os.fspath(asked) == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(asked, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    for words in (("list",), ("verify",), ("verify", "--json"), ("list", "--json")):
        code, out, err = run(*words)
        assert code == 8
        assert "Permission denied" in err
        assert "digits/mini:v2" in out or "unreadable" in out
    assert run("inspect", "digits/mini:v1")[0] == 8


def test_export_sweeps_what_a_killed_export_left(run, registry, tmp_path):
    child = os.fork()
    if child == 0:
        os.rename = lambda *_: os._exit(0)
        main(["export", "digits/mini", "-o", str(tmp_path / "a.pt")])
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob(".evp-*"))) == 1
    assert run("export", "digits/mini", "-o", tmp_path / "b.pt")[0] == 0
    assert not list(tmp_path.glob(".evp-*"))


def test_list_shows_the_versions_though_tags_are_damaged_or_unreadable(run, registry, monkeypatch):
    key = registry.entries()[0].key
    registry.tag(registry.entries()[0], "old")
    path, real = registry.layout.tag(key, "old"), os.open
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"version":1', b'"version":2'))
    code, out, err = run("list")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "old.json" in err

    def refuse(asked, *args, **kwargs):
        if not isinstance(asked, int) and os.fspath(asked) == str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(asked, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    code, out, err = run("list")
    assert (code, len(out.splitlines())) == (8, 3)
    assert "old.json" in err
