"""What shells offer, asked through the script that `--install-completion` writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evpcli.cli import main
from evpcli.commands.options import completion
from tests.shelf import build_mini_manifest, store_prompt


@pytest.fixture
def shelf(evp_home: Path) -> Path:
    store_prompt(build_mini_manifest())
    assert main(["tag", "digits/mini", "prod"]) == 0
    (evp_home / "runs" / "20260101-000000-abcd").mkdir(parents=True)
    return evp_home


def test_names_that_this_machine_knows(shelf: Path) -> None:
    assert completion.complete_datasets("fl") == ["flowers102"]
    assert completion.complete_backbones("ViT-L") == ["ViT-L/14", "ViT-L/14@336px"]
    assert completion.complete_prompts("dig") == ["digits/mini"]
    assert completion.complete_prompts("digits/mini:") == [
        *("digits/mini:v1", "digits/mini:prod", "digits/mini:best")
    ]
    assert completion.complete_runs("2026") == ["20260101-000000-abcd"]
    assert completion.complete_runs("l") == ["last"]
    assert completion.complete_corruptions("jp") == ["jpeg:1..5"]
    assert completion.complete_baselines("n") == ["noise"]
    assert "noise,linear-probe" in completion.complete_baselines("noise,")
    assert "noise,noise" not in completion.complete_baselines("noise,")


def test_a_registry_that_cannot_be_read_offers_nothing(
    evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evp_home.mkdir(parents=True)
    (evp_home / "registry").write_text("a file")
    assert completion.complete_prompts("d") == []
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """A folder with an `evp` that a shell finds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "evp"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m evpcli "$@"\n')
    script.chmod(0o755)
    return folder


def run_shell(
    shell: str, script: str, tmp_path: Path, command: Path
) -> subprocess.CompletedProcess[str]:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    path = f"{command}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [found, "-c", script],
        env={**os.environ, "HOME": str(home), "PATH": path, "SHELL": found},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installing_it_is_no_error(shell: str, tmp_path: Path, command: Path) -> None:
    done = run_shell(shell, "evp --install-completion && echo fine", tmp_path, command)
    assert f"{shell} completion installed" in done.stdout and done.stdout.endswith("fine\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("evp fit -d fl", ["flowers102"]),
        ("evp fit -b ViT-L", ["ViT-L/14", "ViT-L/14@336px"]),
        ("evp inspect dig", ["digits/mini"]),
        ("evp evaluate --baseline n", ["noise"]),
        ("evp ins", ["inspect"]),
    ],
)
def test_bash_offers_them(
    words: str, offered: list[str], shelf: Path, tmp_path: Path, command: Path
) -> None:
    count = len(words.split())
    script = (
        "evp --install-completion bash >/dev/null; source ~/.bash_completions/evp.sh;"
        f" COMP_WORDS=({words}); COMP_CWORD={count - 1}; _evp_completion evp;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = run_shell("bash", script, tmp_path, command)
    assert done.stdout.split() == offered and done.stderr == ""


def test_fish_offers_versions_and_tags(shelf: Path, tmp_path: Path, command: Path) -> None:
    script = (
        "evp --install-completion fish >/dev/null; source ~/.config/fish/completions/evp.fish;"
        " complete -C 'evp inspect digits/mini:'"
    )
    done = run_shell("fish", script, tmp_path, command)
    offered = {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert offered == {"digits/mini:v1", "digits/mini:prod", "digits/mini:best"}
