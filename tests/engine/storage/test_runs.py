from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evpcli.domain.errors import DamagedError, NotFoundError, UsageError
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.storage.runs import create_run, find_run
from evpcli.engine.training import TrainingState
from tests.builders import build_pixels

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
    run = create_run(tmp_path, {"a": 1})
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
    run = create_run(tmp_path, {})
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


def test_last_is_the_newest_run_that_is_not_finished(tmp_path: Path) -> None:
    older, newer = create_run(tmp_path / "runs", {"n": 1}), create_run(tmp_path / "runs", {"n": 2})
    ordered = sorted([older, newer], key=lambda run: run.id)
    ordered[1].write_status("finished")
    assert find_run(tmp_path / "runs", "last").id == ordered[0].id
    ordered[0].write_status("finished")
    with pytest.raises(NotFoundError, match="unfinished"):
        find_run(tmp_path / "runs", "last")


@pytest.mark.parametrize("name", ["../x", "/etc", "", "a b"])
def test_run_names_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        find_run(tmp_path, name)


def test_unknown_run_and_broken_config(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        find_run(tmp_path, "20260101-000000-abcd")
    run = create_run(tmp_path, {})
    (run.folder / "config.json").write_text("{")
    with pytest.raises(DamagedError):
        run.read_config()
