from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import LabelMapRecord
from evpcli.engine.evaluation.classifiers import TaskClassifiers, build_classifiers
from evpcli.engine.prompts.baseline_maps import BaselineMaps
from evpcli.engine.prompts.label_map import LabelMap

CPU = torch.device("cpu")
CANVAS = torch.arange(10.0).view(2, 5, 1, 1)


def source(canvas: Tensor) -> Tensor:
    return canvas.flatten(1)


def build_record(**changes: Any) -> LabelMapRecord:
    values = {"kind": "frequency", "source_classes": 5, "indices": (0, 1)}
    return LabelMapRecord.model_validate(values | changes)


def test_without_a_map_one_model_answers_all_three() -> None:
    found = build_classifiers(source, None, None, CPU)
    assert (found.full, found.blank, found.prompted) == (source, source, source)
    assert found.baseline == "zero-shot"


def test_each_picture_is_answered_through_its_own_frequency_map() -> None:
    record = build_record(full_indices=(4, 3), blank_indices=(2, 1))
    found = build_classifiers(source, LabelMap.from_indices((0, 1), 5), record, CPU)
    assert found.full(CANVAS).tolist() == [[4, 3], [9, 8]]
    assert found.blank(CANVAS).tolist() == [[2, 1], [7, 6]]
    assert found.prompted(CANVAS).tolist() == [[0, 1], [5, 6]]
    assert found.baseline == "mapped"


def test_the_prompts_own_map_answers_where_no_other_was_kept() -> None:
    label_map = LabelMap(torch.ones(2, 5), torch.tensor([0.0, 7.0]))
    record = build_record(kind="bayesian", indices=(), sha256="0" * 64)
    found = build_classifiers(source, label_map, record, CPU)
    for classifier in (found.full, found.blank, found.prompted):
        assert classifier(CANVAS).tolist() == [[10, 17], [35, 42]]


def test_a_weighted_map_is_compared_with_its_own_kind_and_a_one_to_one_map_beside_it() -> None:
    label_map = LabelMap(torch.ones(2, 5), torch.tensor([0.0, 7.0]))
    record = build_record(kind="bayesian", indices=(), sha256="0" * 64, full_indices=(4, 3))
    full, blank = torch.zeros(2, 5), torch.zeros(2, 5)
    full[0, 0] = full[1, 1] = 2.0
    blank[0, 2] = 3.0
    found = build_classifiers(source, label_map, record, CPU, BaselineMaps(full, blank))
    assert found.full(CANVAS).tolist() == [[0, 2], [10, 12]]
    assert found.blank(CANVAS).tolist() == [[6, 0], [21, 0]]
    assert found.one_to_one is not None
    assert found.one_to_one(CANVAS).tolist() == [[4, 3], [9, 8]]
    chosen = found.choose([1])
    assert chosen.one_to_one is not None
    assert chosen.one_to_one(CANVAS).tolist() == [[3], [8]]
    many = record.model_copy(update={"full_indices": ()})  # more task classes than source classes
    assert (
        build_classifiers(source, label_map, many, CPU, BaselineMaps(full, blank)).one_to_one
        is None
    )


@pytest.mark.parametrize("field", ["full_indices", "blank_indices"])
def test_a_strangers_baseline_map_of_another_size_is_damage(field: str) -> None:
    record = build_record(**{field: (4, 3, 2)})
    with pytest.raises(DamagedError, match="do not fit its classes"):
        build_classifiers(source, LabelMap.from_indices((0, 1), 5), record, CPU)


def test_a_residual_matrix_on_a_clip_answers_for_the_prompt_alone() -> None:
    record = build_record(kind="none", residual=True, indices=(), sha256="0" * 64)
    found = build_classifiers(source, LabelMap(2 * torch.eye(5), torch.zeros(5)), record, CPU)
    assert (found.full, found.blank, found.baseline) == (source, source, "zero-shot")
    assert torch.equal(found.prompted(CANVAS), 2 * source(CANVAS))


def test_some_classes_are_chosen_in_their_order() -> None:
    found = TaskClassifiers.without_map(source).choose([3, 0])
    assert found.full(CANVAS).tolist() == [[3, 0], [8, 5]]
    assert found.prompted(CANVAS).tolist() == found.blank(CANVAS).tolist() == [[3, 0], [8, 5]]
