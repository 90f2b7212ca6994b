from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from evpcli.cli import main
from evpcli.engine.rendering import prediction_files
from tests.shelf import build_mini_manifest, draw_image, encode_image, save_image, store_prompt


@pytest.fixture(autouse=True)
def _stand_in_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    store_prompt(build_mini_manifest())


def predict(*words: str) -> int:
    return main(["predict", "digits/mini", *words, "--device", "cpu", "--offline"])


def read_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def test_one_row_an_image_and_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/b.png", "in/a/c.jpg", "d.png"):
        save_image(Path(name))
    assert predict("in", "d.png", "in/b.png") == 0
    rows = read_rows(capsys.readouterr().out)
    assert [row["path"] for row in rows] == ["in/b.png", "in/a/c.jpg", "d.png"]
    assert {row["class"] for row in rows} <= {"zero", "one", "two"}
    assert all(0 < float(row["probability"]) <= 1 and row["error"] == "" for row in rows)
    assert sorted(path.name for path in Path().rglob("*.png")) == ["b.png", "d.png"]


def test_says_the_same_as_apply(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("x.png"))
    assert main(["apply", "digits/mini", "x.png", "--predict", "--json", "--device", "cpu"]) == 0
    [applied] = json.loads(capsys.readouterr().out)["images"]
    assert predict("x.png", "--top", "3", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompt"] == "digits/mini"
    assert [p["class"] for p in document["images"][0]["top"]] == [
        p["class"] for p in applied["predictions"]
    ]
    for one, other in zip(document["images"][0]["top"], applied["predictions"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_top_k_has_columns_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("x.png"))
    assert predict("x.png", "--top", "9") == 0
    head = capsys.readouterr().out.splitlines()[0].split("\t")
    assert head == [
        *("path", "class", "probability", "class_2", "probability_2"),
        *("class_3", "probability_3", "error"),
    ]


def test_an_unreadable_image_has_a_row_with_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("in/good.png"))
    Path("in/bad.png").write_bytes(b"broken")
    Path("in/notes.txt").touch()
    assert predict("in") == 1
    out, err = capsys.readouterr()
    bad, good = read_rows(out)
    assert "cannot be decoded" in bad["error"] and bad["class"] == ""
    assert good["class"] and not good["error"]
    assert "1 of 2 images could not be read" in err
    assert "1 file was ignored" in err


def test_csv_quotes_what_a_spreadsheet_would_compute() -> None:
    save_image(Path("=1+1, x.png"))
    assert predict("=1+1, x.png", "-o", "out.csv") == 0
    with open("out.csv", newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["path"] == "'=1+1, x.png"
    assert 0 < float(row["probability"]) <= 1


def test_json_lines_keep_exact_values(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("in/a.png"), seed=1)
    save_image(Path("in/b.png"), seed=2)
    assert predict("in", "-o", "out.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == ["in/a.png", "in/b.png"]
    assert rows[0]["probability"] == rows[0]["top"][0]["probability"]


def test_parquet_without_its_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prediction_files, "find_spec", lambda _: None)
    save_image(Path("a.png"))
    assert predict("a.png", "-o", "out.parquet") == 2
    assert "pip install 'evpcli[parquet]'" in capsys.readouterr().err


def test_parquet_has_typed_columns() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    save_image(Path("in/a.png"))
    Path("in/bad.png").write_bytes(b"broken")
    assert predict("in", "-o", "out.parquet", "--top", "2") == 1
    table = parquet.read_table("out.parquet")
    names = ["path", "class", "probability", "class_2", "probability_2", "error"]
    assert table.column_names == names
    assert str(table.schema.field("probability").type) == "double"
    good, bad = table.to_pylist()
    assert good["class"] and good["error"] is None
    assert bad["class"] is None and "cannot be decoded" in bad["error"]


def test_one_image_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = encode_image(draw_image())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert predict("-", "-o", "-") == 0
    assert read_rows(capsys.readouterr().out)[0]["path"] == "stdin"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.png", "-o", "x.txt"], 2, "ends in .csv, .jsonl or .parquet"),
        (["a.png", "-o", "nowhere/x.csv"], 4, "mkdir -p nowhere"),
        (["a.png", "-o", "taken.csv"], 1, "exists already"),
        (["nowhere.png"], 4, "no such image"),
        (["empty"], 4, "there is no image in these folders"),
        (["a.png", "-b", "ViT-B/32"], 5, "learned for another backbone"),
        (["a.png", "--device", "gpu"], 2, "there is no such device"),
    ],
)
def test_wrong_words_are_explained(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(Path("a.png"))
    Path("empty").mkdir()
    Path("taken.csv").write_text("mine")
    assert main(["predict", "digits/mini", *words]) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err and "Traceback" not in err
    assert Path("taken.csv").read_text() == "mine"


def test_a_failure_on_the_way_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(Path("a.png"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction_files, "list_cells", stop)
    assert predict("a.png", "-o", "out.csv") == 130
    assert [path.name for path in Path().iterdir()] == ["a.png"]
