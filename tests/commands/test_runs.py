from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evpcli.cli import main
from evpcli.commands.output import terminal
from evpcli.commands.output.run_rows import say_age, say_size
from evpcli.engine.files.paths import find_runs
from evpcli.engine.training.run_folder import Run
from tests.engine.training.test_run_survey import make_run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def runs() -> dict[str, Run]:
    """One run of each kind, by its state; the finished one is ten days old."""
    found = {
        "stopped": make_run(find_runs()),
        "finished": make_run(find_runs(), "finished", prompt="digits/mini:v1"),
        "failed": make_run(find_runs(), "failed", error="it diverged"),
        "damaged": make_run(find_runs()),
    }
    (found["damaged"].folder / "state.evp").write_bytes(b"junk")
    then = time.time() - 10 * 86_400
    for path in found["finished"].folder.iterdir():
        os.utime(path, (then, then))
    return found


def list_states(capsys: Captured) -> dict[str, str]:
    capsys.readouterr()
    assert main(["runs", "list", "--json"]) == 0
    return {one["run"]: one["state"] for one in json.loads(capsys.readouterr().out)["runs"]}


def test_no_runs_say_how_to_start_one(capsys: Captured) -> None:
    assert main(["runs", "list"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "evp fit" in err
    assert list_states(capsys) == {}


def test_every_run_is_listed_with_state_and_epoch(runs: dict[str, Run], capsys: Captured) -> None:
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run\tdataset\tbackbone\tstate\tepoch\tsize\tchanged"
    rows = {line.split("\t")[0]: line.split("\t")[1:5] for line in lines[1:]}
    assert rows[runs["stopped"].id] == ["digits", "mini", "stopped", "1/3"]
    assert list_states(capsys) == {run.id: state for state, run in runs.items()}


def test_listing_loads_no_torch(runs: dict[str, Run]) -> None:
    script = (
        "import sys; from evpcli.cli import main; code = main(['runs', 'list']);"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules or code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0 and runs["stopped"].id.encode() in done.stdout


def test_a_narrow_terminal_keeps_a_table(
    runs: dict[str, Run], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "is_live", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs", "list"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 6 and max(map(len, out.splitlines())) <= 80
    assert "10 d ago" in out and "just now" in out


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("stopped", "next\tevp fit --resume {}\n"),
        ("finished", "next\tevp fit --resume {} --epochs 6\n"),
        ("finished", "prompt\tdigits/mini:v1\n"),
        ("failed", "problem\tit diverged\n"),
        ("damaged", "next\tevp runs rm {}\n"),
    ],
)
def test_show_says_how_to_go_on(
    runs: dict[str, Run], capsys: Captured, state: str, said: str
) -> None:
    assert main(["runs", "show", runs[state].id]) == 0
    out = capsys.readouterr().out
    assert said.format(runs[state].id) in out
    assert "lr\t0.30000000000000004\tdefault\n" in out
    assert ("train loss\tfirst 0.3" in out) == (state != "damaged")


def test_show_has_everything_in_json(runs: dict[str, Run], capsys: Captured) -> None:
    assert main(["runs", "show", runs["finished"].id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["prompt"]) == ("finished", "digits/mini:v1")
    assert found["settings"]["batch_size"] == 4
    assert [point["epoch"] for point in found["history"]] == [1]


def test_show_takes_last_and_names_what_is_not_there(
    runs: dict[str, Run], capsys: Captured
) -> None:
    assert main(["runs", "show", "last"]) == 0
    assert max(run.id for run in runs.values()) in capsys.readouterr().out
    assert main(["runs", "show", "20200101-000000-abcd"]) == 4
    assert "evp runs list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--finished"], {"finished"}),
        (["--older-than", "7d"], {"finished"}),
        (["--older-than", "2w"], set()),
        (["--older-than", "0m"], {"stopped", "finished", "failed", "damaged"}),
        (["--finished", "--older-than", "2w"], set()),
    ],
)
def test_rm_takes_all_that_are_like_that(
    runs: dict[str, Run], capsys: Captured, words: list[str], gone: set[str]
) -> None:
    for run in runs.values():  # a file system's clock may be a tick behind
        for path in run.folder.iterdir():
            stamp = path.stat().st_mtime - 1
            os.utime(path, (stamp, stamp))
    assert main(["runs", "rm", *words, "--yes"]) == 0
    assert set(list_states(capsys).values()) == set(runs) - gone


def test_rm_takes_names_of_any_kind_of_run(runs: dict[str, Run], capsys: Captured) -> None:
    named = [runs["damaged"].id, runs["stopped"].id, runs["stopped"].id]
    assert main(["runs", "rm", *named, "--yes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["removed"] == named[:2] and found["freed_bytes"] > 0
    assert set(list_states(capsys).values()) == {"finished", "failed"}


def test_rm_keeps_a_running_run(runs: dict[str, Run], capsys: Captured) -> None:
    with runs["finished"].hold():
        assert main(["runs", "rm", "--finished", "--yes"]) == 0
        assert main(["runs", "rm", runs["stopped"].id, runs["finished"].id, "--yes"]) == 2
        assert f"is running (pid {os.getpid()}" in capsys.readouterr().err
    assert len(list_states(capsys)) == 4


def test_rm_asks_a_person_and_refuses_where_nobody_is(
    runs: dict[str, Run], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["runs", "rm", "--older-than", "0m"]) == 2
    err = capsys.readouterr().err
    assert "4 runs" in err and "1 could still be resumed" in err and "--yes" in err
    asked: list[str] = []
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    for answer in (False, True):
        monkeypatch.setattr(
            terminal, "confirm", lambda text, a=answer: bool(asked.append(text)) or a
        )
        assert main(["runs", "rm", runs["stopped"].id]) == 0
        assert (runs["stopped"].id in list_states(capsys)) != answer
    assert len(asked) == 2


@pytest.mark.parametrize(
    "words", [[], ["--older-than", "7"], ["--older-than", "-1d"], ["x", "--finished"]]
)
def test_rm_says_what_it_takes(words: list[str], capsys: Captured) -> None:
    assert main(["runs", "rm", *words]) == 2
    assert "--older-than" in capsys.readouterr().err


def test_sizes_and_ages_are_short() -> None:
    sizes = [say_size(n) for n in (0, 999, 1000, 12_345, 999_600, 5_000_000_000_000)]
    assert sizes == ["0 bytes", "999 bytes", "1.0 kB", "12 kB", "1.0 MB", "5000 GB"]
    assert [say_age(s) for s in (-5, 59, 60, 7200, 86_400 * 3)] == [
        "just now",
        "just now",
        "1 min ago",
        "2 h ago",
        "3 d ago",
    ]


def test_a_real_run_is_shown_as_it_went(tmp_path: Path, capsys: Captured) -> None:
    words = [
        "fit",
        "-d",
        "digits",
        "-b",
        "mini",
        "--epochs",
        "1",
        "--shots",
        "2",
        "--seed",
        "3",
        "--no-probe",
    ]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["runs", "show", "last"]) == 0
    out = capsys.readouterr().out
    assert "state\tfinished\n" in out and "epoch\t1/1\n" in out
    assert "prompt\tdigits/mini:v1\n" in out and "seed\t3\tflag\n" in out
