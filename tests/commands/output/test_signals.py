"""The real command, really stopped: signals, kill -9, and going on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from evpcli.domain.reference import parse_prompt_ref
from evpcli.engine.prompts.prompt_file import decode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.small_data import write_digit_folder

EPOCHS = "6"


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "EVP_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "evpcli", "fit", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(home: Path, *words: str) -> None:
    process = start(home, *words)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def read_pixels(home: Path) -> torch.Tensor:
    registry = Registry(home / "registry")
    entry = registry.find(parse_prompt_ref("numbers/mini"))
    assert registry.verify() == []
    return decode_prompt(registry.read(entry)).pixels


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_digit_folder(tmp_path_factory.mktemp("data") / "numbers", 10, 8)
    return ["-d", str(folder), "-b", "mini", "--epochs", EPOCHS, "--batch-size", "8"]


@pytest.fixture(scope="module")
def uninterrupted(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    home = tmp_path_factory.mktemp("whole")
    finish(home, *words)
    return read_pixels(home)


def wait_until_training(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training;"):
            return
    raise AssertionError("training never began")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_resuming_reaches_the_same_bits(
    number: signal.Signals,
    code: int,
    words: list[str],
    uninterrupted: torch.Tensor,
    tmp_path: Path,
) -> None:
    process = start(tmp_path, *words)
    wait_until_training(process)
    time.sleep(random.Random(code).uniform(0, 0.3))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert "evp fit --resume 2" in err
    assert "Traceback" not in err
    finish(tmp_path, "--resume", "last")
    assert torch.equal(read_pixels(tmp_path), uninterrupted)


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 0.9])
def test_kill_9_loses_nothing_that_was_saved(
    delay_s: float, words: list[str], uninterrupted: torch.Tensor, tmp_path: Path
) -> None:
    process = start(tmp_path, *words)
    wait_until_training(process)
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=60)
    run = next((tmp_path / "runs").iterdir())
    if run.joinpath("status.json").read_text().find("finished") < 0:
        finish(tmp_path, "--resume", run.name)
    assert torch.equal(read_pixels(tmp_path), uninterrupted)


def test_a_second_signal_ends_at_once(words: list[str], tmp_path: Path) -> None:
    process = start(tmp_path, *words, "--epochs", "9999")
    wait_until_training(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_an_ignored_signal_stays_ignored(
    number: signal.Signals, words: list[str], uninterrupted: torch.Tensor, tmp_path: Path
) -> None:
    """As `nohup` ignores HUP, and a script INT for what it starts in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = start(tmp_path, *words)
    finally:
        signal.signal(number, before)
    wait_until_training(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert torch.equal(read_pixels(tmp_path), uninterrupted)
