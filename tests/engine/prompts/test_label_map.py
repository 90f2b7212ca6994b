from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from evpcli.domain.errors import UsageError
from evpcli.engine.prompts.label_map import (
    AnswerCounts,
    LabelMap,
    MappedClassifier,
    count_top,
    estimate_map,
    hash_map,
    list_strongest,
    map_by_frequency,
    read_indices,
    weigh_by_answers,
    weigh_by_probability,
)

CPU = torch.device("cpu")
Table = list[list[int]]


def build_counts(answers: Table, mass: Table | None = None) -> AnswerCounts:
    counts = AnswerCounts(len(answers), len(answers[0]), CPU)
    counts.answers.copy_(torch.tensor(answers))
    counts.mass.copy_(torch.tensor(mass or answers))
    return counts


def map_greedily(answers: Table, mass: Table) -> tuple[int, ...]:
    """The most frequent pair first, on dictionaries; then its row and column are gone."""
    places = product(range(len(answers)), range(len(answers[0])))
    left = {(s, t): (answers[s][t], mass[s][t], -s, -t) for s, t in places}
    chosen: dict[int, int] = {}
    while len(chosen) < len(answers[0]):
        source, task = max(left, key=lambda place: left[place])
        chosen[task] = source
        left = {place: v for place, v in left.items() if source != place[0] and task != place[1]}
    return tuple(chosen[task] for task in range(len(answers[0])))


@some.composite
def count_tables(draw: some.DrawFn) -> tuple[Table, Table]:
    """Small counts, so that equal ones are common, with as many source as task classes or more."""
    task = draw(some.integers(1, 6))
    source = draw(some.integers(task, 9))
    row = some.lists(some.integers(0, 3), min_size=task, max_size=task)
    table = some.lists(row, min_size=source, max_size=source)
    return draw(table), draw(table)


@given(count_tables())
def test_frequency_is_one_to_one_and_the_plain_greedy_choice(tables: tuple[Table, Table]) -> None:
    answers, mass = tables
    found = map_by_frequency(build_counts(answers, mass))
    assert len(found) == len(answers[0])
    assert len(set(found)) == len(found)
    assert found == map_greedily(answers, mass)


def test_equal_counts_are_decided_by_probability_then_by_the_lower_number() -> None:
    answers = [[2, 2], [2, 2], [0, 0]]
    assert map_by_frequency(build_counts(answers, [[1, 1], [1, 5], [0, 0]])) == (0, 1)
    assert map_by_frequency(build_counts(answers, [[1, 5], [1, 1], [0, 0]])) == (1, 0)
    assert map_by_frequency(build_counts(answers, [[1, 1], [1, 1], [9, 9]])) == (0, 1)


def test_a_class_that_was_never_answered_gets_a_free_source() -> None:
    assert map_by_frequency(build_counts([[0, 4], [0, 0], [0, 7]])) == (0, 2)


def test_large_probability_never_beats_one_more_answer() -> None:
    answers, mass = [[3, 0], [4, 0]], [[10**6, 0], [0, 0]]
    assert map_by_frequency(build_counts(answers, mass))[0] == 1


@pytest.mark.parametrize("kind", ["frequency", "iterative", "linear"])
def test_fewer_source_than_task_classes_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="as many source classes") as caught:
        estimate_map(kind, build_counts([[1, 2, 3], [4, 5, 6]]))
    assert caught.value.found == "2 source classes for 3 task classes"
    assert caught.value.hint == "use --label-map bayesian or --label-map bayesian+"


@pytest.mark.parametrize("kind", ["bayesian", "bayesian+"])
def test_a_matrix_takes_fewer_source_than_task_classes(kind: str) -> None:
    assert estimate_map(kind, build_counts([[1, 2, 3], [4, 5, 6]])).weight.shape == (3, 2)


def weigh_in_loops(joint: np.ndarray) -> np.ndarray:
    """Counts over the smoothed sum of their source class, then each task class's sum is 1."""
    sources, tasks = joint.shape
    found = np.zeros((tasks, sources))
    for s in range(sources):
        for t in range(tasks):
            found[t, s] = joint[s, t] / (sum(joint[s]) + 1)
    for t in range(tasks):
        found[t] /= sum(found[t])
    return found


def draw_answers(pictures: int = 60, sources: int = 30, tasks: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = 2 * torch.randn(pictures, sources, generator=generator)
    return outputs, torch.arange(pictures) % tasks


def test_bayesian_agrees_with_plain_loops() -> None:
    outputs, labels = draw_answers()
    joint = np.zeros((30, 20))
    for output, label in zip(outputs.numpy(), labels.tolist(), strict=True):
        joint[output.argmax(), label] += 1
    counts = AnswerCounts(30, 20, CPU)
    counts.add(outputs, labels)
    np.testing.assert_allclose(weigh_by_answers(counts), weigh_in_loops(joint), rtol=1e-5)
    np.testing.assert_allclose(estimate_map("bayesian", counts).weight, weigh_by_answers(counts))


def test_bayesian_plus_sums_the_largest_probabilities() -> None:
    outputs, labels = draw_answers()
    joint = np.zeros((30, 20))
    for output, label in zip(outputs.double().numpy(), labels.tolist(), strict=True):
        shares = np.exp(output) / np.exp(output).sum()
        for source in np.argsort(-shares)[:3]:  # int(0.15 * 20)
            joint[source, label] += shares[source]
    counts = AnswerCounts(30, 20, CPU, count_top(20))
    counts.add(outputs, labels)
    np.testing.assert_allclose(weigh_by_probability(counts), weigh_in_loops(joint), rtol=1e-4)
    assert not estimate_map("bayesian+", counts).bias.any()


@pytest.mark.parametrize(
    ("tasks", "top"), [(1, 1), (6, 1), (13, 1), (14, 2), (20, 3), (100, 15), (1000, 150)]
)
def test_how_many_probabilities_count(tasks: int, top: int) -> None:
    assert count_top(tasks) == top


@pytest.mark.parametrize("top", [None, 2])
def test_counting_in_pieces_is_counting_at_once(top: int | None) -> None:
    outputs, labels = draw_answers()
    whole, parts = AnswerCounts(30, 20, CPU, top), AnswerCounts(30, 20, CPU, top)
    whole.add(outputs, labels)
    for part in torch.arange(60).split(7):
        parts.add(outputs[part], labels[part])
    assert torch.equal(parts.answers, whole.answers)
    torch.testing.assert_close(parts.mass, whole.mass)
    torch.testing.assert_close(parts.best, whole.best)
    parts.clear()
    assert not any(table.any() for table in parts.tables.values())


def test_counting_the_largest_probabilities_changes_no_frequency_map() -> None:
    """Equal counts are decided by all of the probability, whatever BLM+ is to learn from."""
    outputs, labels = draw_answers(pictures=25)
    plain, top = AnswerCounts(30, 20, CPU), AnswerCounts(30, 20, CPU, 3)
    for counts in (plain, top):
        counts.add(outputs, labels)
    assert map_by_frequency(top) == map_by_frequency(plain)
    assert not torch.equal(top.best, plain.best)


def test_a_map_of_indices_selects_the_very_same_numbers() -> None:
    outputs, _ = draw_answers()
    indices = (7, 0, 29, 3)
    label_map = LabelMap.from_indices(indices, 30)
    assert torch.equal(label_map(outputs), outputs[:, list(indices)])
    assert read_indices(label_map) == indices
    mapped = MappedClassifier(lambda canvas: canvas.flatten(1), label_map)
    assert torch.equal(mapped(outputs.view(60, 3, 2, 5)), outputs[:, list(indices)])


def test_the_hash_is_over_weight_then_bias_as_little_endian_floats() -> None:
    weight, bias = draw_answers()[0], torch.arange(60.0)
    data = weight.numpy().astype("<f4").tobytes() + bias.numpy().astype("<f4").tobytes()
    assert hash_map(weight, bias) == hashlib.sha256(data).hexdigest()
    turned = weight.T.contiguous().T  # the same values lying otherwise in memory
    assert hash_map(turned.requires_grad_(), bias) == hash_map(weight, bias)
    assert hash_map(weight + 1, bias) != hash_map(weight, bias)


def test_the_strongest_sources_are_named_first_and_unused_ones_not_at_all() -> None:
    weight = torch.tensor([[0.1, 0.0, 0.6, 0.3], [0.0, 1.0, 0.0, -2.0]])
    found = list_strongest(LabelMap(weight, torch.zeros(2)), ("a", "b", "c", "d"), 2)
    assert found == (("c", "d"), ("b",))
    assert list_strongest(LabelMap(weight, torch.zeros(2)), ("a", "b", "c", "d"), 9)[0] == (
        "c",
        "d",
        "a",
    )
