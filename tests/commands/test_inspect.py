from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from evpcli.cli import main
from evpcli.domain.card import list_accuracies
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.files import durable
from evpcli.engine.prompts.prompt_file import encode_prompt
from tests.builders import SMALL, build_manifest, build_pixels
from tests.shelf import save_image, store_prompt

ANSI = "\x1b[31mred\x1b[0m\x07"
MARKUP = "[bold]loud[/bold]"


@pytest.fixture(autouse=True)
def _stand_in_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def read_fields(text: str) -> dict[str, str]:
    pairs = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {cells[0]: cells[1] for cells in pairs if len(cells) == 2}


def watch_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdout pass for a terminal of unknown width."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_card_names_everything_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt()
    assert main(["inspect", "digits/mini"]) == 0
    out, err = capsys.readouterr()
    fields = read_fields(out)
    assert fields["prompt"] == "digits/mini:v1"
    assert fields["digest"] == stored.digest
    assert fields["selection"] == "selected on val, epoch 3 of 5"
    assert fields["lr"] == "2.0 (catalog)"
    assert fields["train_loss"] == "first 1.5, best 1.5, last 1.5"
    assert "test\tblank\t\tnot measured" in out
    assert "\x1b" not in out + err
    assert "▀" not in out


def test_every_side_and_channel_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    assert main(["inspect", "digits/mini"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    sides = {tuple(row[:2]) for row in rows if len(row) == 8 and row[0] != "side"}
    channels = ("red", "green", "blue")
    wanted = {(s, c) for s in ("top", "bottom", "left", "right", "all") for c in channels}
    assert wanted | {("all", "all")} <= sides


def test_without_a_name_the_newest_prompt_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt(seed=1, manifest=build_manifest(pixels=build_pixels(seed=1)))
    store_prompt(seed=2, manifest=build_manifest(pixels=build_pixels(seed=2)))
    assert main(["inspect"]) == 0
    assert read_fields(capsys.readouterr().out)["prompt"] == "digits/mini:v2"


def test_an_empty_registry_says_how_to_fill_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 4
    assert "evp fit -d digits -b mini" in capsys.readouterr().err


def test_a_damaged_version_is_told_not_skipped_silently(
    capsys: pytest.CaptureFixture[str], evp_home: Path
) -> None:
    store_prompt(build_manifest(dataset="first"))
    store_prompt(build_manifest(dataset="second"))
    entry = next((evp_home / "registry" / "entries").glob("second*/v*.json"))
    entry.chmod(0o644)
    entry.write_bytes(entry.read_bytes()[:-20])
    assert main(["inspect"]) == 0
    out, err = capsys.readouterr()
    assert read_fields(out)["prompt"] == "first/mini:v1"
    assert "evp verify" in err


def test_json_holds_manifest_intervals_and_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt()
    assert main(["inspect", stored.digest[:8], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ref"] == "digits/mini:v1"
    assert document["manifest"] == stored.manifest.model_dump(mode="json")
    taken = [row.measurement for row in list_accuracies(stored.manifest) if row.measurement]
    assert [item["top1_interval"] for item in document["accuracies"]] == [
        list(measured.interval) for measured in taken
    ]
    assert len(document["statistics"]) == 16
    assert document["statistics"][-1]["count"] == SMALL.learned_values


def test_a_prompt_file_is_shown_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "my.pt"
    file.write_bytes(encode_prompt(build_pixels(), build_manifest()))
    assert main(["inspect", str(file)]) == 0
    assert read_fields(capsys.readouterr().out)["prompt"] == str(file)


def test_a_person_sees_the_border_and_the_curve(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = {"lr": 1.0, "train_loss": 1.0, "val_top1": 0.5}
    history = tuple({"epoch": i, "train_top1": i / 8, **point} for i in range(1, 9))
    store_prompt(build_manifest(history=history))
    watch_stdout(monkeypatch)
    assert main(["inspect", "--all"]) == 0
    out = capsys.readouterr().out
    assert out.count("▀") == 16 * 16 // 2
    assert "▁▂▃▄▅▆▇█" in out


def list_titles(out: str, wanted: tuple[str, ...]) -> list[str]:
    lines = [line.removeprefix("# ") for line in out.splitlines()]
    return [line for line in lines if line.startswith(wanted)]


def test_accuracy_comes_first_in_a_pipe_and_last_for_a_person(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = ("Accuracy", "Prompt", "Made with", "Learning curve", "Border values")
    store_prompt()
    assert main(["inspect"]) == 0
    out, err = capsys.readouterr()
    found = list_titles(out, titles)
    assert [title.split(" before")[0] for title in found] == list(titles)
    assert err == ""
    watch_stdout(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    for words, more in ((["--all"], ""), ([], "; evp inspect digits/mini:v1 --all")):
        assert main(["inspect", *words]) == 0
        out, err = capsys.readouterr()
        assert list_titles(out, titles)[-1] == "Accuracy"
        assert ("Made with" in out) is ("--all" in words)
        assert out.splitlines()[-1].startswith("summary")
        steps = "evp apply digits/mini:v1 IMAGE --predict; evp evaluate digits/mini:v1"
        assert err == f"next: {steps}{more}\n"


def test_a_person_with_24_rows_sees_it_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = {"split": "test", "n": 360, "top1_correct": 300, "top5_correct": 350}
    metrics = tuple(
        {"what": what, "mean_per_class": 0.75, **full}
        for what in ("zero-shot", "blank", "prompted")
    )
    store_prompt(build_manifest(metrics=metrics))
    watch_stdout(monkeypatch)
    assert main(["inspect"]) == 0
    out, err = capsys.readouterr()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out + err)
    assert sum(max(1, -(-len(line) // 80)) for line in plain.splitlines()) < 24


def test_the_next_command_names_local_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = build_manifest()
    record = manifest.backbone.model_copy(update={"weights": "local"})
    store_prompt(manifest.model_copy(update={"backbone": record}))
    watch_stdout(monkeypatch)
    assert main(["inspect", "--all"]) == 0
    err = capsys.readouterr().err.rstrip()
    assert "IMAGE --predict --weights FILE;" in err
    assert err.endswith("evaluate digits/mini:v1 --weights FILE")


@pytest.mark.parametrize("columns", [80, 100])
def test_a_person_with_50_rows_ends_on_picture_and_accuracy(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_prompt(build_manifest(geometry=FrameGeometry(224, 30)))
    watch_stdout(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["inspect"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if "▀" in line)
    wrapped = sum(len(line) > columns and "▀" not in line for line in lines[first:])
    assert len(lines) - first + wrapped + 2 <= 50  # the next commands and the shell's prompt


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_preview_where_colours_are_not_wanted(
    name: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_prompt()
    watch_stdout(monkeypatch)
    monkeypatch.setenv(name, value)
    assert main(["inspect"]) == 0
    assert "▀" not in capsys.readouterr().out


def test_figure_and_report_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    image = str(save_image(Path("cat.jpg")))
    words = ["inspect", "--png", "card.png", "--html", "card.html", "--image", image, "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["files"] == {"png": "card.png", "html": "card.html"}
    assert "written: card.png" in err
    with Image.open("card.png") as figure:
        assert figure.width == 1320
    page = Path("card.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/png;base64,") == 6


def test_nothing_is_overwritten_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    Path("card.html").write_text("mine")
    assert main(["inspect", "--html", "card.html", "--png", "card.png"]) == 1
    err = capsys.readouterr().err
    assert "add --force to replace it, or choose another place with --html" in err
    assert Path("card.html").read_text() == "mine"
    assert os.listdir() == ["card.html"]
    assert main(["inspect", "--html", "card.html", "--force"]) == 0
    assert Path("card.html").read_text() != "mine"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--png", "x.jpg"], 2, "ends in .png"),
        (["--html", "x.png"], 2, "ends in .html"),
        (["--image", "cat.jpg"], 2, "add --png or --html"),
        (["--image", "bad.jpg", "--png", "x.png"], 1, "bad.jpg cannot be decoded"),
        (["--image", "none.jpg", "--png", "x.png"], 4, "no such image"),
        (["--png", "cat.jpg/x.png"], 8, "must be a real folder"),
        (["digits/other"], 4, "digits/other"),
        (["./none.pt"], 4, "none.pt"),
        (["bad.pt"], 5, "bad.pt"),
    ],
)
def test_wrong_words_are_explained(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store_prompt()
    save_image(Path("cat.jpg"))
    Path("bad.jpg").write_bytes(b"no picture")
    Path("bad.pt").write_bytes(b"no prompt")
    before = sorted(os.listdir())
    assert main(["inspect", *words]) == code
    err = capsys.readouterr().err.lower()
    assert said.lower() in err
    assert "traceback" not in err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("live", [False, True])
def test_hostile_texts_cannot_reach_the_terminal(
    live: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_prompt(
        build_manifest(
            class_names=(ANSI, MARKUP, "a\tb\nc"),
            templates=(f"{ANSI}{{}}",),
            source=f"{MARKUP}{ANSI}",
            settings={ANSI: {"value": ANSI, "source": "flag"}},
            provenance={"evp": ANSI, "device": MARKUP},
        )
    )
    if live:
        watch_stdout(monkeypatch)
    assert main(["inspect", "--all"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b[31m" not in out + err
    assert "\x07" not in out + err
    assert MARKUP in out


def test_hostile_texts_stay_texts_in_the_report() -> None:
    script = "<script>alert(1)</script>"
    store_prompt(build_manifest(class_names=(script, "two"), source=script))
    assert main(["inspect", "--html", "card.html"]) == 0
    page = Path("card.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_target_is_looked_at_before_anything_else(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even the prompt, which is not there, is not looked for."""
    name = f"x.{option[2:]}"
    (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    cases = [
        (tmp_path / "no-such-folder" / name, 4, "no such folder"),
        (tmp_path / name, 2, "only a file can be replaced"),
        (tmp_path / "file" / name, 8, "must be a real folder"),
    ]
    for target, code, said in cases:
        assert main(["inspect", "nothing/mini", option, str(target), "--force"]) == code
        assert said in capsys.readouterr().err

    def refuse(folder: Path, data: bytes, mode: int) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(durable, "write_temporary", refuse)
    target = tmp_path / f"other.{option[2:]}"
    assert main(["inspect", "nothing/mini", option, str(target)]) == 8
    err = capsys.readouterr().err
    assert "Read-only file system" in err and "bytes" not in err


def test_looking_at_a_target_leaves_nothing_there() -> None:
    assert main(["inspect", "nothing/mini", "--html", "x.html"]) == 4
    assert os.listdir() == []
