"""The command line as a whole: exit codes, streams, odd terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evpcli import __version__, cli
from evpcli.cli import main
from evpcli.domain import errors

VERBS = [
    "fit",
    "evaluate",
    "apply",
    "predict",
    "inspect",
    "list",
    "rm",
    "tag",
    "export",
    "import",
    "verify",
    "datasets",
    "backbones",
    "doctor",
]


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evpcli", *words], text=True, check=False, **options
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"evp {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_says_what_it_does(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"evp {verb}" in out
    assert err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.EvpError("x"), 1),
        (errors.UsageError("x"), 2),
        (RuntimeError("x"), 3),
        (errors.NotFoundError("x"), 4),
        (errors.DamagedError("x"), 5),
        (errors.IncompatibleError("x"), 5),
        (errors.NetworkError("x"), 6),
        (errors.CheckFailedError("x"), 7),
        (errors.StorageError("x"), 8),
        (errors.OutOfMemoryError("x"), 9),
        (errors.DivergedError("x"), 10),
        (errors.StoppedError(1, "x"), 129),
        (errors.StoppedError(15, "x"), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Failing:
        def main(self, *words: object, **options: object) -> None:
            raise error

    monkeypatch.setattr(cli, "build_command", Failing)
    assert main(["list"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Traceback" in err) is (code == 3)


def test_errors_are_one_line_with_control_characters_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fit", "-d", "evil\x1b[31m\nname"]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_closed_pipe_gives_no_traceback(evp_home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run("backbones", "list", stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_a_storage_error() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run("backbones", "list", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 8
    assert "Traceback" not in done.stderr


def test_a_pipe_gets_whole_tab_separated_lines_and_no_colour() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "xterm-256color"}
    done = run("backbones", "list", capture_output=True, env=environment)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(cells) for cells in lines} == {7}
    assert lines[1][0] == "mini"
    assert "\x1b" not in done.stdout + done.stderr


def test_a_fake_torch_in_the_working_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('the fake was run')")
    evp = Path(sys.executable).parent / "evp"
    if not evp.exists():
        pytest.skip("the evp script is not installed beside this Python")
    done = subprocess.run(
        [evp, "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "the fake was run" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_errors_page_lists_every_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    used = {kind.exit_code for kind in kinds if issubclass(kind, errors.EvpError)}
    assert used | {0, 3, 129, 130, 141, 143} <= documented


def test_command_page_is_what_help_says() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, root / "tools" / "make_command_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("closed", "has_result"),
    [("<&-", True), ("2>&-", True), (">&-", False), ("<&- >&- 2>&-", False)],
)
def test_missing_streams_are_no_bug(closed: str, has_result: bool) -> None:
    command = f"{sys.executable} -m evpcli backbones list {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name\tkind\tcanvas") is has_result


def test_help_into_a_full_disk_or_a_closed_pipe_gives_no_traceback() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert run("--help", stdout=full, stderr=subprocess.PIPE).returncode == 8
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run("--help", stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_fake_library_in_the_working_folder_is_not_run_with_m(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('the fake was run')")
    done = run("--version", cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [[], ["datasets"], ["backbones"]])
def test_no_verb_is_a_question_for_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "Usage: evp" in out + err
    assert words or all(verb in out + err for verb in VERBS)
    assert "error" not in err
