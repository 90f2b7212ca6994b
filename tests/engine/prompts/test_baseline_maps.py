from __future__ import annotations

import pytest
import torch

from evpcli.domain.manifest import WEIGHTED, LabelMapKind
from evpcli.engine.prompts.baseline_maps import BaselineMaps, StartCounts
from evpcli.engine.prompts.label_map import AnswerCounts, estimate_map

SOURCES, TASKS, N = 7, 3, 40


def count(seed: int) -> AnswerCounts:
    generator = torch.Generator().manual_seed(seed)
    counts = AnswerCounts(SOURCES, TASKS, torch.device("cpu"), top=1)
    outputs = 3 * torch.randn(N, SOURCES, generator=generator)
    counts.add(outputs, torch.arange(N) % TASKS)
    return counts


START = StartCounts(full=count(0), blank=count(1))


@pytest.mark.parametrize("kind", WEIGHTED)
def test_each_image_has_a_map_of_the_prompts_kind_from_its_own_counts(kind: LabelMapKind) -> None:
    found = BaselineMaps.estimate(kind, START)
    assert found is not None
    assert torch.equal(found.full, estimate_map(kind, START.full).weight)
    assert torch.equal(found.blank, estimate_map(kind, START.blank).weight)
    assert not torch.equal(found.full, found.blank)
    torch.testing.assert_close(found.full.sum(1), torch.ones(TASKS))


@pytest.mark.parametrize("kind", ["none", "frequency", "iterative", "linear"])
def test_other_kinds_are_compared_with_indices(kind: LabelMapKind) -> None:
    assert BaselineMaps.estimate(kind, START) is None


def test_a_clip_has_none() -> None:
    assert BaselineMaps.estimate("bayesian", None) is None


def test_the_digest_tells_the_order_of_both() -> None:
    found = BaselineMaps.estimate("bayesian", START)
    assert found is not None
    swapped = BaselineMaps(found.blank, found.full)
    assert found.sha256 != swapped.sha256
    assert len(found.sha256) == 64
