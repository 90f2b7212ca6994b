from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from evpcli.cli import main
from evpcli.commands.benchmark_plan import BenchmarkPlan, Question, plan_benchmark
from evpcli.engine.benchmark.cell import Cell
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.small_data import write_digit_folder

QUICK = "--epochs 1 --batch-size 16"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_digit_folder(tmp_path / "numbers", 6, 8)


def benchmark(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str
) -> tuple[int, list[list[str]], str]:
    """Exit code, rows without the header, stderr."""
    capsys.readouterr()
    output = str(tmp_path / "bench")
    code = main(["benchmark", "--with", QUICK, "--device", "cpu", "-o", output, *words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, [line.split("\t") for line in out.splitlines()[1:]], err


def read_table(tmp_path: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(
        (tmp_path / "bench" / "table.json").read_text()
    )
    return found


def test_methods_stand_beside_their_baseline_and_a_second_start_measures_nothing(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("-d", str(folder), "--methods", "zero-shot,evp --lr 5")
    code, rows, err = benchmark(capsys, tmp_path, *words)
    assert code == 0 and "plan: 2 cells" in err and "2 to measure" in err
    assert [row[1] for row in rows] == ["zero-shot", "evp --lr 5"]
    assert rows[1][13] == f"evp fit -d {folder} -b mini --method evp {QUICK} --lr 5 --seed 0"
    assert rows[1][11].startswith("selected on val, epoch ")
    files = sorted((tmp_path / "bench" / "cells").iterdir())
    cells = [json.loads(file.read_text()) for file in files]
    zero_shot = [
        {m["split"]: m["top1_correct"] for m in cell["measurements"] if m["what"] == "zero-shot"}
        for cell in cells
    ]
    assert zero_shot[0] == zero_shot[1]  # the fit measured the same by itself
    before = [file.stat().st_mtime_ns for file in files]
    code, again, err = benchmark(capsys, tmp_path, *words)
    assert (code, again) == (0, rows) and "0 to measure" in err
    assert [file.stat().st_mtime_ns for file in files] == before
    monkeypatch.setenv("EVP_HOME", str(tmp_path / "bench"))
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("numbers/mini:v1")


def test_a_smaller_call_keeps_the_table_and_validation_chooses(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-d", str(folder), "--methods", "zero-shot,evp --lr 5,blank")
    assert benchmark(capsys, tmp_path, *words)[0] == 0
    whole = read_table(tmp_path)["rows"]
    sheet, paper = tmp_path / "t.csv", tmp_path / "t.tex"
    code, rows, err = benchmark(
        capsys,
        tmp_path,
        *(*words[:2], "--methods", "zero-shot", "--csv", str(sheet), "--latex", str(paper)),
    )
    assert code == 0 and len(rows) == 1
    assert read_table(tmp_path)["rows"] == whole
    assert len(sheet.read_text().splitlines()) == 2 and "zero-shot" in paper.read_text()
    assert len((tmp_path / "bench" / "table.csv").read_text().splitlines()) == 4
    code, rows, err = benchmark(capsys, tmp_path, *words, "--choose")
    best = max(whole, key=lambda row: row["validation"])
    assert code == 0 and [row[1] for row in rows] == [best["method"]]
    assert f"{best['method']} has the highest validation accuracy of 3 methods" in err


def test_every_method_is_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = "noise,blank,evp,vp,linear-probe,fine-tune"
    page = tmp_path / "page.html"
    words = ("-d", str(folder), "--methods", methods, "--seeds", "2", "--html", str(page))
    code, rows, err = benchmark(capsys, tmp_path, *words)
    assert code == 0, err
    assert [(row[1], row[6]) for row in rows] == [
        ("blank", ""),
        ("evp", "0, 1"),
        ("vp", "0, 1"),
        ("linear-probe", ""),
        ("fine-tune", "0, 1"),
        ("noise", "0, 1"),
    ]
    assert all(float(row[9]) is not None for row in rows)  # against the fits' own zero-shot
    assert page.read_text() == (tmp_path / "bench" / "table.html").read_text()


def test_more_classes_than_the_backbone_has_are_answered_through_the_map_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = make_folder(tmp_path / "model", classes=4)
    methods = "zero-shot,blank,evp --label-map bayesian,noise"
    words = ["-d", str(folder), "-b", NAME, "--weights", str(weights), "--methods", methods]
    code, rows, err = benchmark(capsys, tmp_path, *words, "--with", f"{QUICK} --canvas 32")
    assert code == 1 and [row[3] == "missing" for row in rows] == [True, True, False, False]
    assert "use --label-map bayesian" in err
    shared = ["--with", f"{QUICK} --canvas 32 --label-map bayesian"]
    code, rows, err = benchmark(capsys, tmp_path, *words, *shared)
    assert code == 0, err
    assert rows[0][9] == "+0.0 against mapped"


def test_a_map_that_is_not_needed_leaves_the_baselines_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = make_folder(tmp_path / "model", classes=12)
    words = ["-d", str(folder), "-b", NAME, "--weights", str(weights), "--methods"]
    found = []
    for kind in ("frequency", "bayesian"):
        shared = ["--with", f"{QUICK} --canvas 32 --label-map {kind}"]
        code, rows, err = benchmark(capsys, tmp_path, *words, "zero-shot,blank", *shared)
        assert code == 0, err
        found.append([row[3] for row in rows])
    assert found[0] == found[1]


def test_a_failing_cell_leaves_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-d", str(folder), "--methods", "blank,evp --border 40,evp")
    code, rows, err = benchmark(capsys, tmp_path, *words)
    assert code == 1
    assert [row[3] == "missing" for row in rows] == [False, True, False]
    assert "does not fit a canvas" in err and "--retry-failed" in err.splitlines()[-1]
    gaps = read_table(tmp_path)["gaps"]
    assert [(gap["method"], gap["status"]) for gap in gaps] == [("evp --border 40", "failed")]
    assert "0 to measure" in benchmark(capsys, tmp_path, *words)[2]
    assert "1 to measure" in benchmark(capsys, tmp_path, *words, "--retry-failed")[2]


def test_absent_data_is_named_with_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-d", str(folder), "-d", "pets", "--offline", "--methods", "zero-shot")
    code, rows, err = benchmark(capsys, tmp_path, *words)
    assert code == 0
    assert [row[0] for row in rows] == [str(folder), "pets", "average of 1 of 2 datasets"]
    assert "evp datasets download pets" in err
    code, _, err = benchmark(capsys, tmp_path, *words[2:])
    assert code == 4 and "no cell could be measured" in err


def test_a_suite_names_the_datasets_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--suite", "paper12", "-b", "mini", "--offline", "--methods", "zero-shot")
    code, rows, err = benchmark(capsys, tmp_path, *words)
    assert code == 4 and len(rows) == 13
    assert err.count("state absent") == 12


def plan_cells(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Cell, ...]:
    """The cells that would be measured."""
    plans: list[BenchmarkPlan] = []

    def plan(context: typer.Context, question: Question) -> BenchmarkPlan:
        plans.append(plan_benchmark(context, question))
        return plans[-1]

    with monkeypatch.context() as patch:
        patch.setattr("evpcli.commands.benchmark.plan_benchmark", plan)
        assert main(["benchmark", *words, "--dry-run"]) == 0
    return plans[0].cells


@pytest.mark.parametrize("way", ["flag", "environment", "config"])
def test_every_method_has_seeds_where_pictures_are_drawn(
    way: str, tmp_path: Path, evp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-d", "digits", "--methods", "linear-probe", "--seeds", "2"]
    assert [cell.seed for cell in plan_cells(monkeypatch, *words)] == [None]
    if way == "flag":
        words += ["--with", "--shots 2"]
    elif way == "environment":
        monkeypatch.setenv("EVP_FIT_SHOTS", "2")
    else:
        Path("evp.toml").write_text("[fit]\nfraction = 0.5\n")
    assert [cell.seed for cell in plan_cells(monkeypatch, *words)] == [0, 1]


@pytest.mark.parametrize("way", ["flag", "environment", "config", "nowhere"])
def test_fine_tuning_takes_the_epochs_that_a_person_gave(
    way: str, tmp_path: Path, evp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-d", "digits", "--methods", "fine-tune"]
    if way == "flag":
        words += ["--with", "--epochs 3"]
    elif way == "environment":
        monkeypatch.setenv("EVP_FIT_EPOCHS", "3")
    elif way == "config":
        Path("evp.toml").write_text("[fit]\nepochs = 3\n")
    (cell,) = plan_cells(monkeypatch, *words)
    assert cell.request.settings.epochs == (30 if way == "nowhere" else 3)


def test_the_command_of_a_cell_plans_that_very_cell(
    evp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "zero-shot,evp --augment trivial,fine-tune,noise"
    words = ["-d", "digits", "--methods", methods, "--seeds", "2", "--with", "--val-fraction 0.2"]
    cells = plan_cells(monkeypatch, *words, "--batch-size", "8")
    benched = [cell for cell in cells if not cell.method.is_fitted]
    assert len(benched) == 5
    for cell in benched:
        again = plan_cells(monkeypatch, *shlex.split(cell.command)[2:])
        assert cell.id in {one.id for one in again}
    assert "'evp --augment trivial,noise'" in cells[-1].command


@pytest.mark.parametrize("place", ["weights.safetensors", "model/model.safetensors"])
def test_other_bytes_in_the_weights_are_other_cells(
    place: str, tmp_path: Path, evp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    weights = file if file.parent == tmp_path else file.parent
    words = ["-d", "digits", "--methods", "zero-shot,evp", "--weights", str(weights)]
    found = []
    for data in (b"", b"one", b"one", b"two"):
        if data:
            file.write_bytes(data)
        (file.parent / "README.md").write_text(f"of no effect: {len(found)}")
        found.append({cell.id for cell in plan_cells(monkeypatch, *words)})
    assert found[1] == found[2]
    assert len(set.union(*found)) == 6


def list_page_commands() -> list[str]:
    """The benchmarks that the page about the paper names."""
    text = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
    return [found.replace(" K", " 2") for found in re.findall(r"`evp (benchmark [^`]+)`", text)]


@pytest.mark.parametrize("command", list_page_commands())
def test_the_pages_comparisons_select_every_row_on_the_same_split(
    command: str, evp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = plan_cells(monkeypatch, *shlex.split(command)[1:])
    assert cells and len({cell.request.settings.protocol for cell in cells}) == 1


def test_a_dry_run_shows_states_and_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-d", str(folder), "--methods", "zero-shot,evp", "--seeds", "2")
    code, rows, _ = benchmark(capsys, tmp_path, *words, "--dry-run")
    assert code == 0 and [row[3:5] for row in rows] == [
        ["", "waiting"],
        ["0", "waiting"],
        ["1", "waiting"],
    ]
    assert not (tmp_path / "bench").exists()


def test_more_methods_and_seeds_go_on_in_the_same_folder(
    evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = set()
    for words in (["--seeds", "2"], ["--methods", "blank"], ["-b", "RN50"], ["-d", "pets"]):
        given = ["-d", "digits", "--dry-run", "--json", *words]
        assert main(["benchmark", *given]) == 0
        folders.add(json.loads(capsys.readouterr().out)["folder"])
    assert len(folders) == 3
    assert all(Path(folder).parent == evp_home / "benchmarks" for folder in folders)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no dataset"),
        (["-d", "digts"], 4, "did you mean digits"),
        (["-d", "digits", "-b", "minni"], 4, "did you mean mini"),
        (["-d", "digits", "--methods", "epv"], 2, "did you mean evp"),
        (["-d", "digits", "--methods", "evp --epoch 3"], 2, "No such option"),
        (["-d", "digits", "--methods", "evp --seed 3"], 2, "--seed cannot be"),
        (["-d", "digits", "--with", "--device cpu"], 2, "--device cannot be"),
        (["-d", "digits", "--with", "--lr -3"], 2, "--lr"),
        (["-d", "digits", "--methods", "noise,vp"], 2, "add evp"),
        (["-d", "digits", "-b", "mini", "-b", "RN50", "--weights", "w.safetensors"], 2, "one back"),
        (["-d", "digits", "--html", "no/such/page.html"], 4, "no such folder"),
        (["--suite", "all"], 2, "--suite"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(
    words: list[str], code: int, said: str, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words]) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err.splitlines()[-1]
    assert not (evp_home / "benchmarks").exists()
