"""`evp datasets` as its user meets it: exit codes, stdout and stderr apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evpcli.cli import main
from evpcli.engine.datasets.public.catalog import CATALOG
from tests.dataset_builders import TINY, encode_picture, serve_files


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name in ("wren", "house_sparrow"):
            for number in range(3):
                path = tmp_path / "birds" / split / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_picture(number))
    return tmp_path / "birds"


def test_list_gives_one_line_a_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0] == ["name", "classes", "train", "val", "test", "state", "licence"]
    assert lines[1] == ["digits", "10", "1437", "", "360", "ready", "CC BY 4.0"]
    assert [line[0] for line in lines[1:]] == list(CATALOG)
    assert err == ""


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["dtd"]["sizes"] == {"train": 1880, "val": 1880, "test": 1880}
    assert found["pcam"]["state"] == "absent"
    assert found["pcam"]["download"] == "clip-benchmark/wds_vtab-pcam"


def test_list_never_loads_torch_or_numpy() -> None:
    code = (
        "import sys; from evpcli.cli import main; code = main(['datasets', 'list']);"
        "bad = {'torch', 'torchvision', 'numpy', 'sklearn'} & set(sys.modules);"
        "sys.exit(1 if bad or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_show_a_folder(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (birds / "readme.txt").write_text("x")
    assert main(["datasets", "show", str(birds)]) == 0
    out, err = capsys.readouterr()
    assert "name\tbirds\n" in out
    assert out.endswith("class\ttrain\tval\ttest\nhouse sparrow\t3\t\t3\nwren\t3\t\t3\n")
    note, warning = err.splitlines()
    assert note == "1 file is no image of a class and was ignored: readme.txt"
    assert "6 images of test are in train as well" in warning


def test_show_as_json(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", str(birds), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["sizes"] == {"train": 6, "test": 6}
    assert found["class_counts"][0] == {
        "class": "house sparrow",
        "source": "house_sparrow",
        "train": 3,
        "test": 3,
    }
    assert err == ""


def test_show_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "digits"]) == 0
    out = capsys.readouterr().out
    assert "flip\tFalse" in out
    assert out.splitlines()[-1].startswith("nine\t")


def test_show_what_is_not_here_names_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "pets"]) == 0
    out, err = capsys.readouterr()
    assert "state\tabsent" in out
    assert "evp datasets download pets" in err
    assert main(["datasets", "show", "fer2013"]) == 0
    out, err = capsys.readouterr()
    assert "download\tclip-benchmark/wds_fer2013" in out
    assert "evp datasets download fer2013" in err


def test_bad_pictures_are_refused_or_left_out(
    birds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (birds / "train" / "wren" / "0.jpg").write_bytes(b"broken")
    assert main(["datasets", "show", str(birds)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "train/wren/0.jpg" in err
    assert "--bad-images skip" in err
    assert main(["datasets", "show", str(birds), "--bad-images", "skip"]) == 0
    assert "was left out: train/wren/0.jpg" in capsys.readouterr().err
    assert main(["datasets", "show", str(birds), "--bad-images", "maybe"]) == 2


def test_hostile_class_names_are_escaped(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        os.rename(birds / split / "wren", birds / split / "\x1b[31mwren\u202e")
    assert main(["datasets", "show", str(birds)]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show", "pet"], 4, "did you mean pets?"),
        (["show", "../x"], 4, "evp datasets list"),
        (["download", "nothing"], 4, "evp datasets list"),
        (["download", "fer2013", "--offline"], 6, "clip-benchmark/wds_fer2013"),
        (["download", "pets", "--offline"], 6, "evp datasets download pets"),
        (["show", ""], 2, "evp datasets list"),
        (["show"], 2, "DATASET"),
    ],
)
def test_mistakes_get_one_line_and_their_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_needs_no_download(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "download", str(birds)]) == 2
    assert "needs no download" in capsys.readouterr().err


def test_download_then_show(
    monkeypatch: pytest.MonkeyPatch, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = TINY["dtd"]()
    folder = evp_home / "cache" / "datasets" / "dtd"
    with serve_files() as served:
        served.files = tiny.downloads
        monkeypatch.setitem(CATALOG, "dtd", tiny.to_spec("dtd", served.address))
        assert main(["datasets", "download", "dtd"]) == 0
        assert capsys.readouterr().out == f"name\tdtd\nstate\tready\nfolder\t{folder}\n"
        assert main(["datasets", "download", "dtd", "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["folder"] == str(folder)
        assert err == "dtd is already here\n"
        (folder / "dtd" / "labels" / "test1.txt").unlink()
        assert main(["datasets", "list"]) == 0
        assert "dtd\t2\t2\t2\t2\tpartial" in capsys.readouterr().out
        assert main(["datasets", "download", "dtd"]) == 0
        assert "not complete" in capsys.readouterr().err
    assert main(["datasets", "show", "dtd"]) == 0
    assert "banded\t1\t1\t1" in capsys.readouterr().out


def test_a_wrong_download_exits_6_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = TINY["dtd"]()
    with serve_files() as served:
        served.files = dict.fromkeys(tiny.downloads, b"<html>")
        monkeypatch.setitem(CATALOG, "dtd", tiny.to_spec("dtd", served.address))
        assert main(["datasets", "download", "dtd"]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert "md5" in err
    assert not list(evp_home.rglob("*.tar.gz"))
