"""Several processes on one machine, started by torchrun as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from evpcli.domain.errors import UsageError
from evpcli.engine.compute.distributed import ALONE, World, join_world
from evpcli.engine.compute.launcher import count_restarts, name_launch, read_rank
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.small_data import write_digit_folder

FIT = ["fit", "-d", "digits", "-b", "mini", "--device", "cpu", "--no-probe"]
FIT += ["--epochs", "2", "--lr", "0.3"]


def build_environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVP_", "TORCHELASTIC"))}
    return {**kept, "EVP_HOME": str(home), "OMP_NUM_THREADS": "1"}


def start(home: Path, words: list[str], *launcher: str) -> subprocess.Popen[str]:
    run = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", *launcher, "-m"]
    command = [sys.executable, "-m", *(run if launcher else []), "evpcli", *words]
    pipe = subprocess.PIPE
    environment = build_environment(home)
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def run_together(home: Path, words: list[str]) -> tuple[int, str, str]:
    return finish(start(home, words, "--max-restarts", "0"))


def read_prompt(home: Path) -> tuple[torch.Tensor, dict[str, Any]]:
    """Pixels and manifest of the only prompt in a registry."""
    (blob,) = [path for path in (home / "registry/blobs").rglob("*") if path.is_file()]
    found = torch.load(blob, weights_only=True)
    (pixels,) = found["tensors"].values()
    return pixels, json.loads(found["manifest"])


def measure_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("alone")
    code, _, err = finish(start(home, FIT))
    assert code == 0, err
    return home


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("together")
    code, out, err = run_together(home, FIT)
    assert code == 0, err
    assert out.count("prompted") == 2 and err.count("saved digits/mini") == 1  # one process speaks
    assert len(list((home / "runs").iterdir())) == 1
    return home


def test_two_processes_learn_the_prompt_of_one(alone: Path, together: Path) -> None:
    (one, told), (two, told_together) = read_prompt(alone), read_prompt(together)
    assert measure_distance(one, two) < 1e-5
    assert told["metrics"] == told_together["metrics"]
    assert told["selection"]["epoch"] == told_together["selection"]["epoch"]


def test_two_processes_start_from_the_prompt_that_the_first_one_reads(
    alone: Path, tmp_path: Path
) -> None:
    (blob,) = [path for path in (alone / "registry/blobs").rglob("*") if path.is_file()]
    start_file = tmp_path / "start.pt"
    start_file.write_bytes(blob.read_bytes())
    words = [*FIT[:-3], "1", "--lr", "0.3", "--from", str(start_file)]
    for name, run in (("one", lambda *w: finish(start(*w))), ("two", run_together)):
        code, _, err = run(tmp_path / name, words)
        assert code == 0, err
    (one, told), (two, told_together) = read_prompt(tmp_path / "one"), read_prompt(tmp_path / "two")
    assert measure_distance(one, two) < 1e-3  # rounding grows: 7e-5 here, 5e-3 after four epochs
    assert measure_distance(one, read_prompt(alone)[0]) > 1e-2
    assert told["parents"] == told_together["parents"] == [blob.name]


def test_a_prompt_without_the_store_is_the_same(alone: Path, tmp_path: Path) -> None:
    code, _, err = finish(start(tmp_path, [*FIT, "--no-store"]))
    assert code == 0, err
    assert torch.equal(read_prompt(tmp_path)[0], read_prompt(alone)[0])
    assert not (tmp_path / "cache" / "pixels").exists()


def test_two_processes_measure_and_apply_as_one(together: Path, tmp_path: Path) -> None:
    words = ["evaluate", "digits/mini", "--device", "cpu", "--json"]
    _, one, _ = finish(start(together, words))
    code, two, err = run_together(together, [*words, "--batch-size", "1"])  # fewer than processes
    assert code == 0, err
    assert json.loads(one)["metrics"] == json.loads(two)["metrics"]
    images = write_digit_folder(tmp_path / "numbers", 2, 4)
    odd = images / os.fsdecode(b"odd\xff.png")  # a name that is no text
    odd.write_bytes(next(images.rglob("*.png")).read_bytes())
    results = []
    for name, runner in (("one", lambda w: finish(start(together, w))), ("two", None)):
        out = tmp_path / name
        out.mkdir()
        words = ["apply", "digits/mini", str(images), "-o", str(out), "--predict", "--json"]
        code, text, err = runner(words) if runner else run_together(together, words)
        assert code == 0, err
        rows = json.loads(text)["images"]
        results.append([(Path(r["output"]).name, r["predictions"][0]["class"]) for r in rows])
        assert {p.name for p in out.iterdir()} == {name for name, _ in results[-1]}
    assert results[0] == results[1] and len(results[0]) == 9


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def list_workers(launcher: int) -> list[int]:
    """Processes that torchrun started, by what the kernel says of their parents."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[1]) == launcher and stat[0] != "Z":
                found.append(int(folder.name))
    return sorted(found)


def count_epochs(home: Path) -> int:
    files = list((home / "runs").glob("*/metrics.jsonl"))
    return len(files[0].read_text().splitlines()) if files else 0


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@linux_only
def test_a_killed_worker_starts_again_from_the_last_state(tmp_path: Path) -> None:
    words = [*FIT[:-3], "6", "--lr", "0.3"]
    code, _, err = run_together(tmp_path / "whole", words)
    assert code == 0, err
    process = start(tmp_path / "killed", words, "--max-restarts", "2")
    wait_for(lambda: count_epochs(tmp_path / "killed") >= 2)
    os.kill(list_workers(process.pid)[-1], signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 0, err
    assert len(list((tmp_path / "killed/runs").iterdir())) == 1
    whole, again = read_prompt(tmp_path / "whole")[0], read_prompt(tmp_path / "killed")[0]
    assert torch.equal(whole, again)


@linux_only
def test_workers_are_gone_soon_after_their_launcher(tmp_path: Path) -> None:
    process = start(tmp_path, [*FIT[:-3], "400", "--lr", "0.3"], "--max-restarts", "0")
    wait_for(lambda: count_epochs(tmp_path) >= 1)
    workers = list_workers(process.pid)
    assert len(workers) == 2
    process.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)
    finish(process)


@linux_only
def test_a_signal_stops_all_and_one_process_goes_on(tmp_path: Path, together: Path) -> None:
    process = start(tmp_path, [*FIT[:-3], "400", "--lr", "0.3"], "--max-restarts", "0")
    wait_for(lambda: count_epochs(tmp_path) >= 1)
    process.terminate()
    finish(process)
    (run,) = (tmp_path / "runs").iterdir()
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["exit_code"]) == ("stopped", 143)
    again = start(tmp_path, ["fit", "--resume", "last"])
    before = count_epochs(tmp_path)
    wait_for(lambda: count_epochs(tmp_path) > before)
    again.terminate()
    assert finish(again)[0] == 143


@pytest.mark.parametrize("kind", ["bayesian+", "iterative", "linear"])
def test_label_maps_are_estimated_from_all_processes(tmp_path: Path, kind: str) -> None:
    folder = write_digit_folder(tmp_path / "numbers", 3, 9)
    model = make_folder(tmp_path / "model", classes=9)
    words = ["fit", "-d", str(folder), "-b", NAME, "--weights", str(model), "--device", "cpu"]
    words += ["--lr", "0.1", "--epochs", "2", "--batch-size", "8", "--label-map", kind]
    manifests, tensors = [], []
    for name, runner in (("one", None), ("two", run_together)):
        home = tmp_path / name
        code, _, err = runner(home, words) if runner else finish(start(home, words))
        assert code == 0, err
        (blob,) = [path for path in (home / "registry/blobs").rglob("*") if path.is_file()]
        found = torch.load(blob, weights_only=True)
        tensors.append(found["tensors"])
        manifests.append(json.loads(found["manifest"]))
    assert manifests[0]["metrics"] == manifests[1]["metrics"]
    for name, values in tensors[0].items():
        assert torch.allclose(values, tensors[1][name], rtol=1e-4, atol=1e-6), name


def test_other_verbs_refuse_company(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from evpcli.cli import main

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["list"]) == 2
    assert "does not share its work" in capsys.readouterr().err


def test_incomplete_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="incomplete"), join_world("cpu"):
        pass


def test_a_process_alone_needs_nobody() -> None:
    values = torch.arange(3.0)
    ALONE.sum_in_place(values)
    ALONE.copy_from_first(values)
    ALONE.wait()
    assert values.tolist() == [0, 1, 2]
    assert ALONE.share_bytes(b"x") == b"x" and ALONE.gather_bytes(b"y") == [b"y"]
    assert ALONE.find_largest(1, 2.5) == (1, 2.5)
    assert (read_rank(), count_restarts(), name_launch()) == (0, 0, None)


def exchange(rank: int, folder: str) -> None:
    """What each of three processes says and hears."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=3
    )
    world = World(rank, 3, rank, 3)
    one, two = torch.full((2, 2), float(rank)), torch.tensor([10.0 * rank])
    world.sum_in_place(one, two)
    assert one.tolist() == [[3, 3], [3, 3]] and two.tolist() == [30]
    assert world.share_bytes(b"first" if rank == 0 else None) == b"first"
    assert world.share_bytes(b"") == b""
    assert world.gather_bytes(b"r" * rank) == [b"", b"r", b"rr"]
    assert world.find_largest(rank, -rank) == (2, 0)
    torch.distributed.destroy_process_group()


def test_three_processes_exchange_tensors_and_bytes(tmp_path: Path) -> None:
    multiprocessing.spawn(exchange, (str(tmp_path),), nprocs=3)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
