"""The bytes of a training state: never more than are read again."""

from __future__ import annotations

import pytest

from evpcli.domain.errors import StorageError
from evpcli.engine.backbones.canvas_size import MAX_CANVAS_PX
from evpcli.engine.prompts.label_map import MAX_MAP_VALUES
from evpcli.engine.training import state_file as run_state
from evpcli.engine.training.loop import start_state
from evpcli.engine.training.state_file import MAX_STATE_BYTES, encode_state
from tests.engine.training.test_heads import SOURCES, TASKS, WAYS, build_learner

MAPS = 5
"""How many tables of a label map's size `MAX_MAP_VALUES` says that a state holds."""


@pytest.mark.parametrize("way", WAYS)
def test_no_head_keeps_more_tables_than_the_bound_allows(way: str) -> None:
    learner, task = build_learner(way)
    state = start_state(learner, task)
    kept = [*state.memory.values()]
    if state.best_map:
        kept += [state.best_map.weight, state.best_map.bias]
    pixels = state.pixels.numel() if "rule.velocity" in state.memory else 0
    vectors = MAPS * TASKS + 2  # biases, and Adam's counts of steps
    assert sum(v.numel() for v in kept) <= pixels + MAPS * SOURCES * TASKS + vectors


def test_the_largest_state_can_be_read_again() -> None:
    canvases = 3 * 3 * MAX_CANVAS_PX**2
    told = 32 << 20  # ten thousand epochs and a million losses
    assert 4 * (canvases + MAPS * MAX_MAP_VALUES) + told <= MAX_STATE_BYTES


def test_a_state_that_could_not_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    state = start_state(*build_learner("bayesian+"))
    data = encode_state(state)
    monkeypatch.setattr(run_state, "MAX_STATE_BYTES", len(data))
    assert encode_state(state) == data
    monkeypatch.setattr(run_state, "MAX_STATE_BYTES", len(data) - 1)
    with pytest.raises(StorageError, match="too large to be kept"):
        encode_state(state)
