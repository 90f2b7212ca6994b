from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from evpcli.domain.errors import DamagedError, NotFoundError, StorageError, UsageError
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.training.run_folder import Run, RunConfig, create_run, find_run, list_unfinished
from evpcli.engine.training.state import TrainingState
from evpcli.engine.training.state_file import encode_state
from tests.builders import build_pixels

SETTINGS = FitSettings(lr=0.1 + 0.2, epochs=3, batch_size=4)
REQUEST = FitRequest(dataset="digits", backbone="mini", settings=SETTINGS, class_names=("a", "ß"))
CONFIG = RunConfig(evp="1", request=REQUEST, dataset_fingerprint="f", weights_sha256=None)
RECORD = EpochRecord(epoch=1, lr=5.0, train_loss=0.1 + 0.2, train_top1=0.5, val_top1=None)
STATE = TrainingState(
    pixels=build_pixels(seed=1),
    best_pixels=build_pixels(seed=2),
    best_score=SplitScore(Accuracy(3, 7), 0.1 + 0.2),
    best_epoch=1,
    epochs_done=1,
    losses=(1 / 3, 2e-300),
    correct=11,
    seen=128,
    history=(RECORD,),
    elapsed_s=1.25,
)


def test_state_comes_back_exactly(tmp_path: Path) -> None:
    run = create_run(tmp_path, CONFIG)
    assert run.load_state() is None
    run.save_state(replace(STATE, losses=()))
    run.save_state(STATE)
    loaded = run.load_state()
    assert loaded is not None
    assert torch.equal(loaded.pixels, STATE.pixels)
    assert torch.equal(loaded.best_pixels, STATE.best_pixels)
    plain = {"pixels": None, "best_pixels": None}
    assert replace(loaded, **plain) == replace(STATE, **plain)  # type: ignore[arg-type]


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    run = create_run(tmp_path, CONFIG)
    run.save_state(STATE)
    path = run.folder / "state.evp"
    whole = path.read_bytes()
    generator = random.Random(0)
    for _ in range(300):
        place = generator.randrange(len(whole))
        flipped = bytes([whole[place] ^ (1 << generator.randrange(8))])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        with pytest.raises(DamagedError):
            run.load_state()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            run.load_state()


def test_configuration_comes_back_exactly(tmp_path: Path) -> None:
    assert create_run(tmp_path, CONFIG).read_config() == CONFIG


def test_unfinished_runs_are_listed_newest_first_without_failed_ones(tmp_path: Path) -> None:
    for number, status in enumerate(("stopped", "failed", "running", "finished")):
        run = Run(tmp_path / f"2026010{number}-000000-aaaa")
        run.folder.mkdir()
        run.write_status(status)
    (tmp_path / "2-is-a-file").touch()
    (tmp_path / "20270101-000000-aaaa").mkdir()
    found = [run.id for run in list_unfinished(tmp_path)]
    assert found == ["20260102-000000-aaaa", "20260100-000000-aaaa"]


def test_a_held_run_is_refused_with_its_process_and_free_afterwards(tmp_path: Path) -> None:
    run = create_run(tmp_path, CONFIG)
    refused = pytest.raises(UsageError, match=rf"is running \(pid {os.getpid()} on ")
    with run.hold(), refused, run.hold():
        pass
    with run.hold():
        pass


def test_a_planted_lock_is_refused(tmp_path: Path) -> None:
    run = create_run(tmp_path, CONFIG)
    for plant in (os.mkfifo, os.mkdir):
        plant(run.folder / "run.lock")
        with pytest.raises(StorageError), run.hold():
            pass
        shutil.move(run.folder / "run.lock", tmp_path / plant.__name__)


@pytest.mark.parametrize("name", ["config.json", "state.evp", "status.json", "metrics.jsonl"])
@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_no_planted_file_is_waited_for(
    tmp_path: Path, name: str, plant: Callable[[Path], None]
) -> None:
    run = create_run(tmp_path, CONFIG)
    (run.folder / name).unlink(missing_ok=True)
    plant(run.folder / name)
    assert run.read_status() == "unknown"
    reads = {"config.json": run.read_config, "state.evp": run.load_state}
    if name in reads:
        with pytest.raises(DamagedError):
            reads[name]()
    if name == "metrics.jsonl":
        with pytest.raises(OSError, match="metrics"):
            run.append_metrics(RECORD)


JUNK = [
    "",
    "{}",
    '{"request":{"a":1}}',
    "[" * 100_000,
    "null",
    "[1]",
    '"\\ud800"',
    "1" * 5_000,
    json.dumps({**CONFIG.model_dump(), "dataset_fingerprint": 5}),
    json.dumps({**CONFIG.model_dump(), "request": {**REQUEST.model_dump(), "threads": "x"}}),
]


@pytest.mark.parametrize("text", JUNK, ids=range(len(JUNK)))
def test_junk_in_a_run_folder_is_damage(tmp_path: Path, text: str) -> None:
    run = create_run(tmp_path, CONFIG)
    (run.folder / "config.json").write_text(text)
    (run.folder / "status.json").write_text(text)
    with pytest.raises(DamagedError, match="configuration of run"):
        run.read_config()
    assert run.read_status() == "unknown"


def write_payload(run: Run, payload: bytes) -> None:
    digest = hashlib.sha256(payload).hexdigest().encode()
    (run.folder / "state.evp").write_bytes(digest + b"\n" + payload)


def build_payload(text: str, **tensors: torch.Tensor) -> bytes:
    whole = {"pixels": STATE.pixels, "best_pixels": STATE.best_pixels, **tensors}
    return bytes(save(whole, {"state": text}))


def change_numbers(**changes: object) -> str:
    payload = encode_state(STATE)[65:]
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    return json.dumps({**json.loads(header["__metadata__"]["state"]), **changes})


FORGED = [
    b"",
    b"junk",
    b"\xff" * 100,
    (2).to_bytes(8, "little") + b"{}",
    (100_000).to_bytes(8, "little") + b"[" * 100_000,
    build_payload("[" * 100_000),
    build_payload("{}"),
    build_payload(change_numbers(epochs_done="many")),
    build_payload(change_numbers(history=[])),
    build_payload(change_numbers(seen=0, correct=0)),
    build_payload(change_numbers(best_epoch=9)),
    build_payload(change_numbers(best_score={"top1": {"correct": 0, "n": 0}, "loss": 1.0})),
    build_payload(change_numbers(), pixels=torch.zeros(3, 4, 5)),
    build_payload(change_numbers(), pixels=torch.full((3, 64, 64), torch.nan)),
    build_payload(change_numbers(), best_pixels=torch.zeros(3, 64, 64, dtype=torch.int8)),
]


@pytest.mark.parametrize("payload", FORGED, ids=range(len(FORGED)))
def test_a_right_digest_over_junk_is_damage(tmp_path: Path, payload: bytes) -> None:
    run = create_run(tmp_path, CONFIG)
    write_payload(run, build_payload(change_numbers()))
    assert run.load_state() is not None
    write_payload(run, payload)
    with pytest.raises(DamagedError, match="no training state"):
        run.load_state()


@pytest.mark.parametrize("name", ["../x", "/etc", "", "a b"])
def test_run_names_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        find_run(tmp_path, name)


def test_unknown_run_and_broken_config(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        find_run(tmp_path, "20260101-000000-abcd")
    run = create_run(tmp_path, CONFIG)
    (run.folder / "config.json").write_text("{")
    with pytest.raises(DamagedError):
        run.read_config()
